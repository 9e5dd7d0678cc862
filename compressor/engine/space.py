"""The search space of a recipe on one network: parameters with their conditions, and values back into a plan."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from compressor.engine.candidate import Constraints
from compressor.engine.plan import Decision, Gate, Phase, Plan, Stop
from compressor.engine.policy import POLICIES, admitted
from compressor.engine.survey import Asked, Surveyed, Surveyor
from compressor.errors import PluginError, RecipeError
from compressor.knobs import Choice, Knob, Value
from compressor.plugin import Site
from compressor.train.spec import TrainingSpec


@dataclass(frozen=True)
class PluginUse:
    """One plugin in a phase: a ``[[phases.plugins]]`` table."""

    name: str
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the plugin."""
    policy: Literal["spread", "threshold", "mixed", "each", "all"] = "spread"
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
    """Some plugins, then some training; or a loop over phases of its own: a ``[[phases]]`` table."""

    name: str
    plugins: tuple[PluginUse, ...] = ()
    training: TrainingSpec | None = None
    """None: the recipe's own ``[training]``. ``epochs = 0`` means no training."""
    rounds: int = 1
    rewind: Literal["none", "initial"] = "none"
    gate: Gate | None = None
    phases: tuple[PhaseSpec, ...] = ()
    """Of a loop: what each of its rounds carries out. A loop has no plugins, training or rewind of its own."""
    stop: Stop | None = None
    limits: Constraints | None = None
    """Shares of the baseline's figures that no edit of this phase may take the network over."""
    timed: bool = False
    """Where the phase decides while it runs, it weighs sites by measured time, too. Two runs may then choose
    differently, since measured times differ."""


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
        return Plan(tuple(self._chosen(self.phases, "", values)))

    def _chosen(self, specs: Iterable[PhaseSpec], within: str, values: Mapping[str, Value]) -> Iterator[Phase]:
        for spec in specs:
            phase = self._phase(spec, within, values)
            if any(part.steps for part in phase.parts) or not any(uses_of([spec])):
                yield phase

    def _phase(self, spec: PhaseSpec, within: str, values: Mapping[str, Value]) -> Phase:
        name = f"{within}{spec.name}"
        steps = [
            _decision(switch, use, values)
            for use in spec.plugins
            if values.get(switch := switch_name(name, use), False) or use.required
        ]
        training = None if spec.phases else spec.training or self.training
        return Phase(
            name=spec.name,
            steps=tuple(steps),
            training=training if training and (training.epochs > 0 or training.function) else None,
            rounds=spec.rounds,
            rewind=spec.rewind,
            gate=spec.gate,
            phases=tuple(self._chosen(spec.phases, f"{name}.", values)),
            stop=spec.stop,
            limits=spec.limits,
            timed=spec.timed,
        )


def switch_name(phase: str, use: PluginUse) -> str:
    """The parameter that switches a plugin on; a phase in a loop is called ``loop.phase``."""
    return f"{phase}.{use.name}"


def uses_of(phases: Iterable[PhaseSpec], within: str = "") -> Iterator[tuple[str, PluginUse]]:
    """Every use of a plugin with the name of its switch, in order, those inside loops too."""
    for phase in phases:
        name = f"{within}{phase.name}"
        yield from ((switch_name(name, use), use) for use in phase.plugins)
        yield from uses_of(phase.phases, f"{name}.")


def trainings_of(phases: Iterable[PhaseSpec], training: TrainingSpec) -> Iterator[tuple[int, TrainingSpec]]:
    """How often each training is run when nothing ends a trial early; ``training`` where a phase has none."""
    for phase in phases:
        if phase.phases:
            yield from ((phase.rounds * times, spec) for times, spec in trainings_of(phase.phases, training))
        else:
            yield phase.rounds, phase.training or training


def build_space(phases: Sequence[PhaseSpec], ask: Surveyor, training: TrainingSpec) -> SearchSpace:
    """The parameters a search over ``phases`` has on the network that ``ask`` asks about.

    A plugin that fails is left out, with a note. Raises ``RecipeError`` when no plugin of the recipe finds a site, or
    one fails without which the recipe will not do.
    """
    builder = _Builder(_answers(phases, ask))
    kept = builder.usable(phases, "")
    if not any(uses_of(kept)):
        notes = builder.notes or ["the recipe names none"]
        raise RecipeError("no plugin of the recipe finds a site in this network: " + "; ".join(notes))
    return SearchSpace(tuple(builder.parameters), tuple(kept), training, tuple(builder.notes))


def _answers(phases: Iterable[PhaseSpec], ask: Surveyor) -> Callable[[PluginUse], Surveyed]:
    """What every plugin says, each asked once however often it is used."""
    asked: list[Asked] = []
    for _, use in uses_of(phases):
        if (use.name, use.options) not in asked:
            asked.append((use.name, use.options))
    answers = ask(asked)
    return lambda use: answers[asked.index((use.name, use.options))]


class _Builder:
    """Goes through the phases, gathers the parameters, and notes what finds nothing to do."""

    def __init__(self, answer: Callable[[PluginUse], Surveyed]) -> None:
        self.parameters: list[Parameter] = []
        self.notes: list[str] = []
        self._answer = answer
        self._some = False

    def usable(self, phases: Iterable[PhaseSpec], within: str) -> list[PhaseSpec]:
        """The phases with the plugins that have something to do; those left with none are left out."""
        kept: list[PhaseSpec] = []
        for phase in phases:
            name = f"{within}{phase.name}"
            uses = tuple(use for use in phase.plugins if self._usable(switch_name(name, use), use))
            inner = tuple(self.usable(phase.phases, f"{name}."))
            if uses or inner or not (phase.plugins or phase.phases):
                kept.append(replace(phase, plugins=uses, phases=inner))
                self._some = True
        return kept

    def _usable(self, switch: str, use: PluginUse) -> bool:
        answer = self._answer(use)
        if answer.failure and use.required:
            raise RecipeError(f"{switch} is required, and cannot be used: {answer.failure}")
        if answer.failure:
            self.notes.append(f"{switch} is left out: {answer.failure}")
            return False
        found = _parameters(switch, use, admitted(answer.sites, use.only, use.skip))
        if found is None and use.required and self._some:
            return True  # an earlier phase may bring about the sites it needs
        if found is None:
            self.notes.append(f"{switch}: no site in this network{_why(answer)}")
            return False
        self.parameters += found
        return True


def _parameters(switch: str, use: PluginUse, sites: Sequence[Site]) -> list[Parameter] | None:
    if not sites:
        return None
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


def _why(answer: Surveyed) -> str:
    return f" ({answer.refused[0].path}: {answer.refused[0].reason})" if answer.refused else ""


def _decision(switch: str, use: PluginUse, values: Mapping[str, Value]) -> Decision:
    prefix = f"{switch}."
    chosen = {name.removeprefix(prefix): value for name, value in values.items() if name.startswith(prefix)}
    return Decision(use.name, use.policy, {**chosen, **use.values}, use.options, use.only, use.skip)
