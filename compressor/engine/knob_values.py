"""At which values of its knobs a site is measured: each option alone, the other knobs at their defaults.

A knob with many values is measured at a few that span it. What a recipe has fixed is measured as it is fixed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from compressor.knobs import Choice, Choices, Knob, Value, defaults

MOST = 4
"""Values of a knob that are measured."""


def knob_values(knobs: Mapping[str, Knob], fixed: Sequence[Choices]) -> list[dict[str, Value]]:
    """The choices to measure, each once. ``fixed``: of each who acts on the site, what it leaves nobody to choose."""
    many = [choice for values in fixed for choice in _of_one(knobs, values)]
    return [choice for index, choice in enumerate(many) if choice not in many[:index]]


def _of_one(knobs: Mapping[str, Knob], fixed: Choices) -> list[dict[str, Value]]:
    """First that of the defaults."""
    held = {name: knobs[name].nearest(value) for name, value in fixed.items() if name in knobs}
    start = {**defaults(knobs), **held}
    free = {name: knob for name, knob in knobs.items() if name not in held}
    return [start, *({**start, name: value} for name, knob in free.items() for value in _spanning(knob))]


def _spanning(knob: Knob) -> list[Value]:
    """The values of a knob, or the ends and what lies evenly between them."""
    if not isinstance(knob, Choice):
        return [knob.low, knob.high]
    count = min(len(knob.options), MOST)
    return [knob.options[round(i * (len(knob.options) - 1) / max(count - 1, 1))] for i in range(count)]
