"""What rewriting each site alone does: measured before the first trial, and what a policy chooses the sites by."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from compressor.engine.sensitivity import Sensitivities, SiteSensitivity
from compressor.report import text
from compressor.report.table import Table, table


def sites_tables(sensitivities: Sensitivities) -> list[Table]:
    """One for each plugin (with its options) of which anything was measured, the most worthwhile first."""
    return [
        table(
            "site, >loss, >bytes saved, >MACs saved, >time saved",
            (_row(path, entry) for path, entry in sorted(_every(entries), key=lambda pair: _efficiency(pair[1]))),
            title=plugin,
        )
        for plugin, entries in sensitivities.entries.items()
        if entries
    ]


def _every(entries: Mapping[str, SiteSensitivity]) -> Iterator[tuple[str, SiteSensitivity]]:
    """At all values of the knobs that were measured, which the name says where there are several."""
    for path, entry in entries.items():
        for one in entry.every:
            shown = ", ".join(f"{name} = {value}" for name, value in one.choice.items()) if entry.others else ""
            yield f"{path} ({shown})" if shown else path, one


def _row(name: str, entry: SiteSensitivity) -> tuple[str, ...]:
    return (
        name,
        text.signed(entry.loss_increase, 4),
        text.percent(entry.bytes_saved, 1),
        text.percent(entry.macs_saved, 1),
        text.percent(entry.latency_saved, 1) if entry.latency_saved else text.NONE,
    )


def _efficiency(entry: SiteSensitivity) -> tuple[bool, float]:
    """As ``rank`` has it where measured sensitivity counts in full; what saves nothing comes last."""
    saves = entry.saving > 0
    return not saves, max(entry.loss_increase, 1e-4) / entry.saving if saves else entry.loss_increase


def covered(site: str, order: Sequence[str]) -> tuple[str, ...]:
    """The layers that a site lies over, of those in ``order``: one, or those of a span ``first..last``."""
    first, span, last = site.partition("..")
    last = last if span else first
    if first not in order or last not in order:
        return tuple(path for path in (first, last) if path in order)[:1]
    return tuple(order[order.index(first) : order.index(last) + 1])
