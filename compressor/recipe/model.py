"""What a recipe says, as plain frozen data. The tables of the file have the names of these fields."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter

from compressor.data.spec import DataSpec
from compressor.engine.candidate import Constraints
from compressor.engine.space import PhaseSpec
from compressor.engine.survey import PLUGIN_SECONDS
from compressor.knobs import Value
from compressor.task import TaskSpec
from compressor.train.spec import TrainingSpec

Objective = Literal["quality", "size", "latency"]
Sampler = Literal["surrogate", "tpe", "random", "nsga2", "gp"]


@dataclass(frozen=True)
class SearchSpec:
    """How long and how to search: the ``[search]`` table."""

    trials: int = 20
    """Trials to train in all, resumed runs included. What a limit screens out before training, duplicates and proposals
    that change nothing do not count. 0: as many as the budget allows."""
    budget: float = 0.0
    """Seconds that the run may take in all, its final measurement included; 0 means no limit."""
    seed: int = 0
    """Seeds the proposals, and the training of every trial."""
    sampler: Sampler = "tpe"
    """``surrogate`` (a model of regret, bytes and time, over plans that were looked at untrained), or one of Optuna's:
    ``tpe`` (multivariate, grouped), ``random``, ``nsga2``, or ``gp`` (for at most about 100 trials; needs scipy:
    ``pip install 'compressor[gp]'``)."""
    jobs: int = 1
    """Trials that run at the same time. Only with one job are the proposals reproducible."""
    threads: int = 1
    """Threads each trial may use."""
    rungs: tuple[float, ...] = (0.25, 0.5)
    """After these shares of its epochs a trial goes on only where its quality, with the most that earlier trials still
    gained from there on, would keep the limit (``surrogate``: and be on the front); it is not begun anew. Five trials
    have to be complete first. Empty: every trial is trained to its end."""
    executor: str = "local"
    """Where trials run: ``local`` (processes of this machine), ``ray`` (the Ray cluster that this machine belongs to,
    or a new one on it), or ``ray://HOST:PORT`` (a cluster elsewhere); needs ray: ``pip install 'compressor[ray]'``."""
    timeout: float = 0.0
    """Seconds a trial may take before it is ended as failed; 0 means no limit."""
    patience: int = 30
    """The search ends early when this many proposals in a row came to no training: over a limit that is known before,
    tried before, or without a change."""
    seeds: tuple[Mapping[str, Value], ...] = ()
    """Known good settings by parameter name, tried first. Naming a knob switches its plugin on."""
    allow_untrained: bool = False
    """Begin although the network scores no better than by chance: it is to be trained first."""
    automatic_seeds: bool = True
    """After ``seeds``, also try each plugin alone and all together, as far as they go; ``surrogate`` only looks
    at them."""

    @property
    def begins_untrained(self) -> bool:
        """Whether a run with a budget begins with plans that may need no training."""
        return self.sampler == "surrogate" and not self.seeds


@dataclass(frozen=True)
class MeasureSpec:
    """How candidates are timed: the ``[measure]`` table."""

    batch: int = 1
    """Samples per call."""
    finalists: int = 5
    """Candidates of the front that get the final measurement."""


@dataclass(frozen=True)
class ExportSpec:
    """What is put into the ONNX files: the ``[export]`` table."""

    fold_normalisation: bool = False
    """The files normalise by themselves: they take pixels, float32 0…255 (float data: as the data have them)."""


@dataclass(frozen=True)
class ControlsSpec:
    """Control arms for the best candidate, trained once the search is over: the ``[controls]`` table."""

    scratch: bool = False
    """The same architecture with new weights, trained as long."""
    random: bool = False
    """As many edits of each plugin, at sites drawn by chance."""
    undistilled: bool = False
    """The same plan, trained on targets alone."""
    unchanged: bool = False
    """The baseline itself, not edited, trained on as the plan trains."""


@dataclass(frozen=True)
class LimitsSpec:
    """What code that is not the toolkit's own may take: the ``[limits]`` table."""

    plugin_seconds: float = PLUGIN_SECONDS
    """Seconds a plugin may take over one answer: to be imported, to name its sites, to rewrite one. Where the network
    is run over the calibration data besides, twenty times as long as that takes is added. What takes longer is ended,
    named and left out."""


@dataclass(frozen=True)
class PilotSpec:
    """A study before the search that tells whether it is worth beginning: the ``[pilot]`` table."""

    name: str = ""
    """Which pilot study; left out, the one that comes with the toolkit."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Fields of the study."""


@dataclass(frozen=True)
class Recipe:
    """A whole recipe."""

    data: DataSpec
    task: TaskSpec = field(default_factory=TaskSpec)
    training: TrainingSpec = field(default_factory=TrainingSpec)
    """The training of every phase that does not say otherwise."""
    phases: tuple[PhaseSpec, ...] = ()
    objectives: tuple[Objective, ...] = ("quality", "size", "latency")
    constraints: Constraints = field(default_factory=Constraints)
    search: SearchSpec = field(default_factory=SearchSpec)
    measure: MeasureSpec = field(default_factory=MeasureSpec)
    controls: ControlsSpec = field(default_factory=ControlsSpec)
    limits: LimitsSpec = field(default_factory=LimitsSpec)
    export: ExportSpec = field(default_factory=ExportSpec)
    pilot: PilotSpec | None = None
    """None: no study before the search."""

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", use_attribute_docstrings=True)


RECIPE: TypeAdapter[Recipe] = TypeAdapter(Recipe)
"""Validates a whole recipe; unknown keys are errors in every table of it."""
