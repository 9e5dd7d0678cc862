"""What a check has to say, and that one cause is said once."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from compressor.foreign import described, origin


@dataclass(frozen=True)
class Trouble:
    """What a plugin raised where it should not have."""

    text: str
    cause: str
    """Kind of the error, and the line of the plugin's code it came from: the same is the same fault."""


def trouble(error: BaseException, module: str, about: str = "raised {}") -> Trouble:
    """``error`` as a message, ``{}`` of which is what it says and the line of ``module`` it came from."""
    return Trouble(about.format(described(error, module)), f"{type(error).__name__} at {origin(error, module)}")


@dataclass(frozen=True)
class Finding:
    """Something a plugin does not do as its contract says."""

    check: str
    """Name of the check, as in ``contract.CHECKS``."""
    network: str
    site: str
    """Path of the site; empty where the finding is about the plugin as a whole."""
    message: str
    cause: str = ""
    """Of an error: its kind and the line of the plugin's code that it came from."""
    places: int = 1
    """How often it was found, here and elsewhere."""
    also: tuple[str, ...] = ()
    """Other checks that met the same error."""

    def __str__(self) -> str:
        where = f"{self.network} {self.site}".strip()
        more = f", and {self.places - 1} times more" if self.places > 1 else ""
        shown = ", ".join(self.also) if len(self.also) <= _SHOWN else f"{len(self.also)} other checks"
        met = f" (the same in {shown})" if self.also else ""
        return f"[{self.check}]{f' {where}' if where else ''}{more}: {self.message}{met}"


_SHOWN = 3


def each_once(findings: Iterable[Finding]) -> list[Finding]:
    """Findings in order, one for each cause: an error of one line of code, or one message of a check."""
    first: dict[object, Finding] = {}
    for finding in findings:
        key = finding.cause or (finding.check, finding.message)
        known = first.get(key)
        if known is None:
            first[key] = finding
            continue
        met = () if finding.check in (known.check, *known.also) else (finding.check,)
        first[key] = replace(known, places=known.places + finding.places, also=(*known.also, *met))
    return list(first.values())
