"""Every edit of a plan is held to what its plugin promised, at the cost of a few passes over a few images for all.

Edits in a row that promise the same are compared together, once, with the network before the first of them. Where
together they keep what each has promised, nothing more is asked; where not, the row is carried out again, and each edit
is compared with the network before it alone, so that the one that broke its promise is named, and rounding that only
adds up is no breach. ``TRAINED`` promises nothing before training, so it costs no comparison.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from compressor.engine.apply import acting, apply_edit
from compressor.engine.plan import Edit
from compressor.errors import BrokenPromise
from compressor.evidence import Evidence
from compressor.graph.network import Network
from compressor.graph.verify import check_promise
from compressor.plugin import Promise
from compressor.registry import make

MOST_VALUES = 1 << 20
"""Values of all images compared: 128 images of the first batch at 28×28 or 32×32, six at 3×224×224."""
FEWEST = 2


class Promises:
    """Watches over edits of one network: ``before`` and ``after`` each, ``settle`` at the end."""

    def __init__(self, network: Network, evidence: Evidence) -> None:
        self._network, self._evidence = network, evidence
        self._images = replace(evidence, batches=evidence.batches[:1]).within(MOST_VALUES, least=FEWEST)
        self._promise = Promise.TRAINED
        self._start: Network | None = None
        self._row: list[Edit] = []

    def apply(self, network: Network, edit: Edit, evidence: Evidence) -> None:
        """``apply_edit`` on the network that is watched. Raises what that raises, and ``BrokenPromise``."""
        self.around(edit, lambda: apply_edit(network, edit, evidence))

    def around(self, edit: Edit, carry_out: Callable[[], object]) -> None:
        """Let ``carry_out`` change the network as ``edit`` says."""
        with acting(edit.plugin, edit.site):
            promise = make(edit.plugin, edit.options).promise
        if promise is not self._promise:
            self.settle()
        if promise is not Promise.TRAINED and self._start is None:
            self._promise, self._start = promise, self._network.fork()
        carry_out()
        if promise is not Promise.TRAINED:
            self._row.append(edit)

    def settle(self) -> None:
        """Hold what was done since to its promises. Raises ``BrokenPromise``, which names plugin and site."""
        start, row, promise = self._start, self._row, self._promise
        self._start, self._row, self._promise = None, [], Promise.TRAINED
        if start is None or not row or not self._images.batches:
            return
        try:
            self._check(promise, start, self._network, row[-1])
        except BrokenPromise:
            if len(row) == 1:
                raise
            self._one_by_one(promise, start, row)

    def _one_by_one(self, promise: Promise, network: Network, row: list[Edit]) -> None:
        for edit in row:
            before = network.fork()
            apply_edit(network, edit, self._evidence)
            self._check(promise, before, network, edit)

    def _check(self, promise: Promise, before: Network, after: Network, edit: Edit) -> None:
        with acting(edit.plugin, edit.site):
            check_promise(promise, before, after, self._images)
