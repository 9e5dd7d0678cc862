"""The recipe for whoever has none: what is worth trying, chosen from the network, the task and the time there is.

what the plugins can do    those that offer sites take part, in the order: structure, then widths, then integers
where time and bytes go    a network whose call takes microseconds gains nothing from integers; its bytes do
time                       as many epochs as let ``TRIALS`` trials fit the budget
limits                     a usual loss of the metric (one point of a share), smaller, and not slower
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from compressor.data.dataset import Data
from compressor.engine.survey import Surveyor
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.recipe.toml import to_toml
from compressor.task import Metric, Task

BUDGET = 30 * 60.0
"""Seconds, where nobody says."""
TRIALS = 10
"""Trials that should fit the budget."""
_KEPT = 0.25
"""Share of the budget for everything but training."""
_MOST_EPOCHS, _LEAST_STEPS = 12, 100
_SHORT = "{ epochs = 1, lr = 2e-4 }"
_FEW_MACS = 2e6
"""Below so many multiply-accumulates a call is over in microseconds, and the fixed costs of integer kernels show."""


@dataclass(frozen=True)
class Choice:
    """A plugin that takes part, as the recipe says it, and why."""

    name: str
    why: str
    policy: str = ""
    options: str = ""
    lines: tuple[str, ...] = ()


def auto_recipe(
    network: Network,
    data: Data,
    ask: Surveyor,
    *,
    source: Mapping[str, Any],
    value: float,
    pace: float,
    budget: float = 0.0,
) -> str:
    """A recipe as TOML, with comments that say why.

    ``source``: the tables ``data`` and ``task`` as they stand. ``value``: the metric now. ``pace``: seconds a sample
    takes to train on here. ``budget``: seconds; 0 leaves the choice here.
    """
    seconds = budget or BUDGET
    epochs, steps = _training(len(data.train), _batch(len(data.train)), pace, seconds)
    structure, bits = _chosen(network, ask)
    lines = [
        f"# Chosen for {network.source or 'this network'} and {data.name}: change what you know better.",
        "",
        'objectives = ["quality", "size", "latency"]',
        "",
        *_tables(source),
        "[training]",
        f"epochs = {epochs}  # so that about {TRIALS} trials fit {seconds / 60:.0f} minutes",
        f"batch = {_batch(len(data.train))}",
        *([f"steps_per_epoch = {steps}"] if steps else []),
        'optimizer = "adamw"',
        "lr = 1e-3",
        "weight_decay = 1e-4",
        'schedule = "cosine"',
        "warmup = 0.1",
        "",
        *_distillation(data),
        *_phase("structure", "what is not needed goes, and the rest learns to do without it", structure),
        *_phase(
            "bits", "the weights, and where it pays the arithmetic, in fewer bits", bits, "{ epochs = 1, lr = 2e-4 }"
        ),
        "[constraints]",
        f"max_drop = {_limit(data.task.metric, value)}  # of {data.task.metric.name}, on validation data",
        "max_size = 0.95  # smaller…",
        "max_latency = 1.0  # …and not slower",
        "",
        "[search]",
        'sampler = "surrogate"',
        "trials = 0",
        f"budget = {seconds:g}",
        "",
    ]
    return "\n".join(lines)


def _chosen(network: Network, ask: Surveyor) -> tuple[list[Choice], list[Choice]]:
    """Plugins that have something to do, for the two phases."""
    names = ("layer-removal", "magnitude-prune", "quantize", "quantize-weights")
    answers = dict(zip(names, ask([(name, {}) for name in names]), strict=True))
    sites = {name: len(answer.sites) for name, answer in answers.items()}
    structure = [
        Choice(name, f"{sites[name]} places", policy=policy)
        for name, policy in (("layer-removal", ""), ("magnitude-prune", "each" if sites["magnitude-prune"] < 4 else ""))
        if sites[name]
    ]
    macs = network_cost(network).mac_count
    small = macs < _FEW_MACS
    if small or not sites["quantize"]:
        why = f"{macs / 1e6:.2g} million multiply-accumulates: integers would gain no time, weights gain bytes"
        bits = [Choice("quantize-weights", why, policy="all")] if sites["quantize-weights"] else []
    else:
        bits = [Choice("quantize", f"{sites['quantize']} layers in integers", policy="all")]
    return structure, bits


def _phase(name: str, about: str, chosen: Sequence[Choice], training: str = "") -> list[str]:
    if not chosen:
        return []
    lines = ["[[phases]]", f'name = "{name}"  # {about}', *([f"training = {training}"] if training else []), ""]
    for choice in chosen:
        lines += ["[[phases.plugins]]", f'name = "{choice.name}"  # {choice.why}']
        lines += [f'policy = "{choice.policy}"'] if choice.policy else []
        lines.append("")
    return lines


def _distillation(data: Data) -> list[str]:
    """From the baseline's answers, where the task says what they lose."""
    if data.task.own_answers or type(data.task).distil is Task.distil:
        return []
    return ["[training.distillation]", "logits = 1.0", ""]


def _training(samples: int, batch: int, pace: float, seconds: float) -> tuple[int, int]:
    """Epochs, and the steps of one where a whole pass takes too long (0: a whole pass)."""
    affordable = max(seconds * (1 - _KEPT) / TRIALS / max(pace, 1e-9), _LEAST_STEPS * batch)
    if affordable >= samples:
        return min(int(affordable / samples), _MOST_EPOCHS), 0
    return 1, max(int(affordable / batch), _LEAST_STEPS)


def _batch(samples: int) -> int:
    return 64 if samples >= 2000 else 16


def _limit(metric: Metric, value: float) -> str:
    return f"{metric.usual_drop(value):.3g}"


def _tables(source: Mapping[str, Any]) -> list[str]:
    return [*to_toml(dict(source)).rstrip().splitlines(), ""]
