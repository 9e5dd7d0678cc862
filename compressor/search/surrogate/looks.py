"""The plans that were looked at before training, each kept as it comes (``looks.jsonl``): no run looks at one twice.

Where looks train for some steps, many more plans are sketched: all that their files say, for a tenth of the time.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter

from compressor.engine.untrained import Untrained
from compressor.knobs import Value
from compressor.search.surrogate.encoding import Values
from compressor.stored import whole_lines


@dataclass(frozen=True)
class Look:
    """What a plan with these values came to; without ``found`` it applies nowhere, or looking at it failed."""

    values: Mapping[str, Value]
    found: Untrained | None = None
    reason: str = ""
    failed: bool = False
    """Looking at it failed, which is not the same as being refused."""
    sketch: bool = False
    """Without the short training that looks have here: what it says of the loss is left out."""

    @property
    def digest(self) -> str:
        """Of the effective plan."""
        return "" if self.found is None else self.found.plan.digest


LOOK: TypeAdapter[Look] = TypeAdapter(Look)


class Ask(Protocol):
    """Looks at plans, several at a time; fewer come back than were asked for where the user is leaving."""

    def __call__(self, many: Sequence[Values]) -> Iterable[Look]: ...


class Looks:
    """All looks of a run, and the way to more."""

    def __init__(self, file: Path, ask: Ask, sketch: Ask | None = None) -> None:
        self._file, self._ask, self._sketch = file, ask, sketch
        self._by_values: dict[tuple[tuple[str, Value], ...], Look] = {}
        self._sketches: dict[tuple[tuple[str, Value], ...], Look] = {}
        self._by_digest: dict[str, Untrained] = {}
        self.found: list[Look] = []
        """Those that have figures, in the order they came."""
        self.drawn: list[Look] = []
        """Those and all sketches that have."""
        self.stopped = False
        """Set where a look that was asked for did not come."""
        self.seconds = 0.0
        for look in whole_lines(file, LOOK):
            self._add(look)

    @property
    def count(self) -> int:
        return len(self.found)

    @property
    def asked(self) -> int:
        return len(self._by_values)

    @property
    def trained(self) -> bool:
        """Whether a look trains shortly, which takes most of its time."""
        return bool(self.found) and self.found[-1].found is not None and self.found[-1].found.lost is not None

    def known(self, digest: str) -> Untrained | None:
        """What was found of a plan that other values have come to before; finding it again takes no time."""
        return self._by_digest.get(digest)

    def knows(self, values: Values) -> bool:
        return _key(values) in self._by_values

    def of(self, values: Values) -> Look | None:
        """The look at these values, taken now where there is none; None where it does not come."""
        self.at([values])
        return self._by_values.get(_key(values))

    def at(self, many: Sequence[Values]) -> None:
        """Look at those of ``many`` that nobody has looked at."""
        self._keep(self._ask, {_key(values): values for values in many if not self.knows(values)})

    def sketched(self, many: Sequence[Values]) -> list[Look]:
        """Sketches of the plans they come to, each once, that nobody has looked at; none where looks do not train."""
        if self._sketch is None or not self.trained:
            return []
        keys = {_key(values): values for values in many}
        self._keep(self._sketch, {key: values for key, values in keys.items() if key not in self._sketches})
        found = [self._sketches[key] for key in keys if key in self._sketches]
        new = {look.digest: look for look in reversed(found) if look.found and look.digest not in self._by_digest}
        return list(reversed(new.values()))

    def _keep(self, ask: Ask, new: Mapping[tuple[tuple[str, Value], ...], Values]) -> None:
        if not new:
            return
        came = 0
        for look in ask(list(new.values())):
            came += 1
            self._add(look)
            with self._file.open("ab") as out:
                out.write(b"\n" + LOOK.dump_json(look) + b"\n")  # behind a line that was cut short, a new one begins
        self.stopped = came < len(new)

    def _add(self, look: Look) -> None:
        (self._sketches if look.sketch else self._by_values)[_key(look.values)] = look
        if look.found is None:
            return
        self.drawn.append(look)
        self.seconds += look.found.seconds
        if not look.sketch:
            self.found.append(look)
            self._by_digest.setdefault(look.digest, replace(look.found, seconds=0.0))


def _key(values: Values) -> tuple[tuple[str, Value], ...]:
    return tuple(sorted(values.items()))
