"""Known good settings, tried before the sampler has its say: the recipe's own, then each plugin alone, then all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from compressor.engine.policy import COUNT
from compressor.engine.space import Parameter, SearchSpace, uses_of
from compressor.errors import did_you_mean
from compressor.knobs import Choice, IntRange, Value, describe
from compressor.recipe.model import SearchSpec

Seed = tuple[str, dict[str, Value]]
"""What it is called, and its values by parameter name."""


def seeds_of(search: SearchSpec, space: SearchSpace) -> tuple[list[Seed], list[str]]:
    """All seeds in the order they are tried, each once; and a line about each that does not fit this network."""
    seeds: list[Seed] = []
    notes: list[str] = []
    for index, values in enumerate(search.seeds):
        problem = misfit(values, space)
        if problem:
            notes.append(f"seed {index + 1} is left out: {problem}")
        else:
            seeds.append((f"seed {index + 1}", completed(values, space)))
    if search.automatic_seeds and search.sampler != "surrogate":  # which looks at them, and trains what promises more
        seeds += automatic_seeds(space)
    return [seed for i, seed in enumerate(seeds) if all(seed[1] != earlier[1] for earlier in seeds[:i])], notes


def misfit(values: Mapping[str, Value], space: SearchSpace) -> str:
    """What keeps ``values`` from being chosen in this space; empty when nothing does."""
    known = {parameter.name: parameter for parameter in space.parameters}
    for name, value in values.items():
        if name not in known:
            return f"there is no parameter {name!r} here{did_you_mean(name, known)}"
        if not known[name].knob.contains(value):
            return f"{name} cannot be {value!r} here, only {describe(known[name].knob)}"
        switch = known[name].when
        if switch is not None and values.get(switch) is False:
            return f"{switch} is off, and yet {name} is set"
    return ""


def completed(values: Mapping[str, Value], space: SearchSpace) -> dict[str, Value]:
    """``values`` with a value for every parameter that is active; a knob that is named switches its plugin on."""
    wanted = {parameter.when for parameter in space.parameters if parameter.name in values}
    result: dict[str, Value] = {}
    for parameter in space.parameters:
        if parameter.when is None or result.get(parameter.when) is True:
            result[parameter.name] = values.get(parameter.name, parameter.name in wanted or parameter.knob.default)
    return result


def automatic_seeds(space: SearchSpace) -> Iterator[Seed]:
    """Every plugin alone and all together, each as far as it goes."""
    switches = [parameter.name for parameter in space.parameters if _is_switch(parameter, space)]
    for switch in switches:
        yield f"{switch} alone", _full(space, {switch})
    yield "everything", _full(space, set(switches))


def single_sites(space: SearchSpace) -> Iterator[Seed]:
    """A plugin at one site: at the most worthwhile one where sites are ranked, at each where each has a switch."""
    for switch, use in uses_of(space.phases):
        full, own = _full(space, {switch}), [p for p in space.parameters if p.name.startswith(f"{switch}.")]
        for parameter in own:
            if isinstance(parameter.knob, IntRange) and parameter.name == f"{switch}.{COUNT}":
                yield f"{switch} at one site", {**full, parameter.name: parameter.knob.low}
        sites = [
            p.name for p in own if use.policy == "each" and ":" not in p.name and set(_options(p)) == {False, True}
        ]
        for site in sites:
            yield f"{site} alone", {**full, **{other: other == site for other in sites}}


def _options(parameter: Parameter) -> tuple[Value, ...]:
    return parameter.knob.options if isinstance(parameter.knob, Choice) else ()


def _full(space: SearchSpace, on: set[str]) -> dict[str, Value]:
    result: dict[str, Value] = {}
    for parameter in space.parameters:
        if _is_switch(parameter, space):
            result[parameter.name] = parameter.name in on
        elif parameter.when is None or parameter.when in on:
            result[parameter.name] = _most(parameter)
    return result


def _is_switch(parameter: Parameter, space: SearchSpace) -> bool:
    """A plugin's own switch, named ``phase.plugin``."""
    return parameter.name in {switch for switch, _ in uses_of(space.phases)}


def _most(parameter: Parameter) -> Value:
    """The setting that changes most: every site; other knobs as their plugin prefers them."""
    match parameter.knob:
        case IntRange(high=high) as knob if parameter.name.endswith(f".{COUNT}"):
            return knob.nearest(high)
        case Choice(options) if set(options) == {False, True}:
            return True
        case knob:
            return knob.default
