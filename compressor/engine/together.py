"""What each site contributes to the time that is saved where all sites of a plugin are rewritten.

A layer in integers between layers in floats pays for the way in and out, and its neighbours in integers do not: its
time alone says little of its time in a region. So the file of the whole network rewritten is profiled beside the file
as it was, and every node of a file counts with the site it belongs to, else with the site before it. Two files are
timed, however many sites there are; their paired comparison says what all sites save together.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from compressor.engine.apply import acting, apply_edit
from compressor.engine.plan import Edit
from compressor.errors import ExportError, Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.network import Network
from compressor.measure.latency import QUICK, compare
from compressor.measure.layers import owned_events


def saved_together(
    network: Network, onnx: bytes, edits: Sequence[Edit], evidence: Evidence, batch: int = 1
) -> dict[str, float] | None:
    """Share of the time that each site saves (negative: costs), by path; None where that cannot be said.

    ``onnx``: the file of ``network``; ``edits``: one per site. Refused edits save nothing.
    """
    rewritten = network.fork()
    done = [edit.site for edit in edits if _applies(rewritten, edit, evidence)]
    if not done:
        return None
    with acting(edits[0].plugin):
        evidence.calibrate(rewritten, since=network)
        try:
            file = to_onnx(rewritten)
        except ExportError:
            return None
    before, after = (_by_site(model, done, batch) for model in (onnx, file))
    speedup = compare(onnx, file, batch=batch, protocol=QUICK).speedup
    whole, rest = sum(before.values()), sum(after.values())
    if not (whole and rest and speedup):
        return None
    scale = whole / (speedup * rest)  # what a profile adds to each node counts no more
    return {site: (before[site] - scale * after[site]) / whole for site in done}


def _applies(network: Network, edit: Edit, evidence: Evidence) -> bool:
    try:
        apply_edit(network, edit, evidence)
    except Refusal:
        return False
    return True


def _by_site(model: bytes, sites: Sequence[str], batch: int) -> Mapping[str, float]:
    """Microseconds by site; what comes before the first site counts with it."""
    times: dict[str, float] = defaultdict(float)
    current = sites[0]
    for owner, microseconds in owned_events(model, batch=batch):
        current = owner if owner in sites else current
        times[current] += microseconds
    return times
