"""Parameter values as numbers for a regression, and how new values are made of old ones.

A Choice of two values that are switches is one number, any other one number per option, a range one number in 0…1 (on
its own scale). What is switched off is 0: the sum says how much is done to the network. So are the knobs of a site that
is switched off, and a plugin that is on without any of its sites: values that come to the same plan are as good as one.
"""

from __future__ import annotations

import math
import random
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from compressor.engine.space import Parameter
from compressor.knobs import Choice, FloatRange, IntRange, Knob, Value

Values = Mapping[str, Value]


class Encoding:
    """The parameters of one search space, seen as vectors; makes values by chance, by mutation and by crossover."""

    def __init__(self, parameters: Sequence[Parameter], off: Collection[str] = ()) -> None:
        """``off``: switches that are never on in what is made."""
        self._parameters, self._off = tuple(parameters), frozenset(off)
        switches = [parameter for parameter in self._parameters if _is_switch(parameter.knob)]
        self._sites: dict[str, list[str]] = defaultdict(list)
        """The switches of each plugin's sites."""
        for switch in switches:
            if switch.when is not None:
                self._sites[switch.when].append(switch.name)
        self._site_of = {p.name: s.name for p in self._parameters for s in switches if p.name.startswith(f"{s.name}:")}

    def without(self, switch: str) -> Encoding:
        """Makes values in which ``switch`` is off; vectors are as long."""
        return Encoding(self._parameters, {*self._off, switch})

    def vector(self, values: Values) -> list[float]:
        """Of the parameters that have an effect in ``values``."""
        acting = self._acting(values)
        return [number for parameter in self._parameters for number in _numbers(parameter.knob, acting, parameter.name)]

    def plugins(self, values: Values) -> list[str]:
        """The switches of plugins that have something to do; of one that is always on, those of its sites."""
        acting = self._acting(values)
        return [p.name for p in self._parameters if p.when is None and _is_switch(p.knob) and acting.get(p.name)]

    def matrix(self, many: Sequence[Values]) -> NDArray[np.float64]:
        """``(N, D)``."""
        return np.array([self.vector(values) for values in many], dtype=np.float64).reshape(len(many), -1)

    def by_chance(self, rng: random.Random) -> dict[str, Value]:
        """Every active parameter drawn by itself; how many switches are on varies more than by chance alone, and few
        are likelier than many: a network seldom survives what many plugins do to it, or one does at many sites.
        """
        shares: dict[str | None, float] = defaultdict(lambda: rng.random() ** 2)  # of plugins; of each one's sites
        switches = {p.name: rng.random() < shares[p.when] for p in self._parameters if _is_switch(p.knob)}
        return self.completed(switches, rng)

    def mutated(self, values: Values, rng: random.Random) -> dict[str, Value]:
        """The same but for one active parameter or a few, each moved a little or drawn anew."""
        active = [parameter for parameter in self._parameters if parameter.name in values]
        if not active:
            return self.by_chance(rng)
        count = 1 + (rng.random() < 0.5) + (rng.random() < 0.25)
        chosen = rng.sample(active, min(count, len(active)))
        moved = {parameter.name: _moved(parameter.knob, values[parameter.name], rng) for parameter in chosen}
        return self.completed({**values, **moved}, rng)

    def crossed(self, left: Values, right: Values, rng: random.Random) -> dict[str, Value]:
        """Each parameter from one of two parents; what neither has is drawn."""
        mixed: dict[str, Value] = {}
        for parameter in self._parameters:
            first, second = (left, right) if rng.random() < 0.5 else (right, left)
            if parameter.name in first or parameter.name in second:
                mixed[parameter.name] = first.get(parameter.name, second.get(parameter.name, parameter.knob.default))
        return self.completed(mixed, rng)

    def completed(self, wanted: Values, rng: random.Random) -> dict[str, Value]:
        """``wanted`` without what is switched off (here or by itself), and with a value for everything that is on."""
        result: dict[str, Value] = {}
        for parameter in self._parameters:
            if parameter.name in self._off:
                result[parameter.name] = False
            elif parameter.when is None or result.get(parameter.when) is True:
                known = parameter.name in wanted
                result[parameter.name] = wanted[parameter.name] if known else _sample(parameter.knob, rng)
        return result

    def _acting(self, values: Values) -> Values:
        idle = {plugin for plugin, sites in self._sites.items() if not any(values.get(site) for site in sites)}
        off = {name for name, site in self._site_of.items() if not values.get(site)}
        return {name: value for name, value in values.items() if name not in idle and name not in off}


def _is_switch(knob: Knob) -> bool:
    return isinstance(knob, Choice) and len(knob.options) == 2 and all(type(o) is bool for o in knob.options)


def _numbers(knob: Knob, values: Values, name: str) -> list[float]:
    value = values.get(name)
    match knob:
        case Choice() if _is_switch(knob):
            return [float(value is True)]
        case Choice(options):
            return [float(value is not None and value == option) for option in options]
        case IntRange(low=low, high=high, log=log) | FloatRange(low=low, high=high, log=log):
            return [0.0 if value is None else _share(float(value), low, high, log)]


def _share(value: float, low: float, high: float, log: bool) -> float:
    """Where in its range a value lies, 0…1."""
    if high <= low:
        return 0.5
    if log:
        return math.log(value / low) / math.log(high / low)
    return (value - low) / (high - low)


def _sample(knob: Knob, rng: random.Random) -> Value:
    if isinstance(knob, FloatRange) and knob.log:
        return knob.nearest(math.exp(rng.uniform(math.log(knob.low), math.log(knob.high))))
    return knob.sample(rng)


def _moved(knob: Knob, value: Value, rng: random.Random) -> Value:
    """A value near this one on a range; another option of a Choice."""
    match knob:
        case Choice(options):
            return rng.choice([option for option in options if option != value] or list(options))
        case IntRange(low, high, step, _):
            reach = max(step, (high - low) / 6)
            moved = knob.nearest(float(value) + rng.gauss(0, reach))
            return moved if moved != value else knob.nearest(float(value) + rng.choice((-step, step)))
        case FloatRange(low, high, log):
            if log:
                return knob.nearest(float(value) * math.exp(rng.gauss(0, math.log(high / low) / 6)))
            return knob.nearest(float(value) + rng.gauss(0, (high - low) / 6))
