"""The search space of a recipe on one network: parameters with their conditions, and values back into a plan."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from compressor.engine.plan import Decision, Gate, Phase, Plan
from compressor.engine.policy import POLICIES, admitted
from compressor.errors import PluginError, RecipeError
from compressor.graph.network import Network
from compressor.knobs import Choice, Knob, Value
from compressor.plugin import refusals_of, sites_of
from compressor.registry import make
from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class PluginUse:
    """One plugin in a phase: a ``[[phases.plugins]]`` table."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the plugin."""
    policy: Literal["spread", "each", "all"] = "spread"
    required: bool = False
    """Always on; otherwise the search may leave it out."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """Knobs fixed by hand; the search does not see them."""
    only: tuple[str, ...] = ("*",)
    """Shell patterns: sites it may act on."""
    skip: tuple[str, ...] = ()
    """Shell patterns: sites it must leave alone."""


@dataclass(frozen=True)
class PhaseSpec:
    """Some plugins, then some training: a ``[[phases]]`` table."""

    name: str
    plugins: tuple[PluginUse, ...] = ()
    training: TrainingSpec | None = None
    """None: the recipe's own ``[training]``. ``epochs = 0`` means no training."""
    rounds: int = 1
    rewind: Literal["none", "initial"] = "none"
    gate: Gate | None = None


@dataclass(frozen=True)
class Parameter:
    """One dimension of the search; it exists only where the switch named ``when`` is True."""

    name: str
    knob: Knob
    when: str | None = None


@dataclass(frozen=True)
class SearchSpace:
    """Every parameter in the order it is chosen, and what each plan is made of."""

    parameters: tuple[Parameter, ...]
    phases: tuple[PhaseSpec, ...]
    training: TrainingSpec
    notes: tuple[str, ...] = ()
    """Plugins that found nothing to do here, with their reasons."""

    def plan(self, values: Mapping[str, Value]) -> Plan:
        """The plan that ``values`` (by parameter name) describe. Phases in which nothing is chosen are left out."""
        phases = [self._phase(spec, values) for spec in self.phases]
        return Plan(
            tuple(phase for phase, spec in zip(phases, self.phases, strict=True) if phase.steps or not spec.plugins)
        )

    def _phase(self, spec: PhaseSpec, values: Mapping[str, Value]) -> Phase:
        steps = [
            _decision(spec, use, values)
            for use in spec.plugins
            if use.required or values.get(switch_name(spec, use), False)
        ]
        training = spec.training or self.training
        return Phase(
            name=spec.name,
            steps=tuple(steps),
            training=training if training.epochs > 0 or training.function else None,
            rounds=spec.rounds,
            rewind=spec.rewind,
            gate=spec.gate,
        )


def switch_name(phase: PhaseSpec, use: PluginUse) -> str:
    return f"{phase.name}.{use.name}"


def build_space(phases: Sequence[PhaseSpec], network: Network, training: TrainingSpec) -> SearchSpace:
    """The parameters a search over ``phases`` has on ``network``.

    Raises ``RecipeError`` when no plugin of the recipe finds a site, ``PluginError`` for one that cannot be made.
    """
    parameters: list[Parameter] = []
    notes: list[str] = []
    kept: list[PhaseSpec] = []
    for phase in phases:
        uses: list[PluginUse] = []
        for use in phase.plugins:
            found = _parameters(phase, use, network)
            if found is None and use.required and kept:
                found = []  # an earlier phase may bring about the sites it needs
            if found is None:
                notes.append(f"{switch_name(phase, use)}: no site in this network{_why(use, network)}")
                continue
            parameters += found
            uses.append(use)
        if uses or not phase.plugins:
            kept.append(_with_plugins(phase, uses))
    if not any(phase.plugins for phase in kept):
        raise RecipeError(
            "no plugin of the recipe finds a site in this network: " + "; ".join(notes or ["the recipe names none"])
        )
    return SearchSpace(tuple(parameters), tuple(kept), training, tuple(notes))


def _with_plugins(phase: PhaseSpec, uses: Sequence[PluginUse]) -> PhaseSpec:
    return PhaseSpec(phase.name, tuple(uses), phase.training, phase.rounds, phase.rewind, phase.gate)


def _parameters(phase: PhaseSpec, use: PluginUse, network: Network) -> list[Parameter] | None:
    sites = admitted(sites_of(make(use.name, use.options), network), use.only, use.skip)
    if not sites:
        return None
    switch = switch_name(phase, use)
    knobs = POLICIES[use.policy].knobs(sites)
    unknown = sorted(set(use.values) - set(knobs))
    if unknown:
        raise PluginError(f"{switch}: no knob {unknown[0]!r} to fix (known: {', '.join(knobs) or 'none'})")
    inner = [
        Parameter(f"{switch}.{name}", knob, None if use.required else switch)
        for name, knob in knobs.items()
        if name not in use.values and not (isinstance(knob, Choice) and len(knob.options) == 1)
    ]
    return inner if use.required else [Parameter(switch, Choice((False, True))), *inner]


def _why(use: PluginUse, network: Network) -> str:
    refusals = refusals_of(make(use.name, use.options), network)
    return f" ({refusals[0].path}: {refusals[0].reason})" if refusals else ""


def _decision(phase: PhaseSpec, use: PluginUse, values: Mapping[str, Value]) -> Decision:
    prefix = switch_name(phase, use) + "."
    chosen = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    return Decision(use.name, use.policy, {**chosen, **use.values}, use.options, use.only, use.skip)
