"""The recipe for whoever has none: what is worth trying, chosen from the network, the task and the time there is.

what the plugins can do    those that offer sites take part, in the order: structure, then widths, then integers
where time and bytes go    a network whose call takes microseconds gains nothing from integers; its bytes do
time                       as many epochs as let ``TRIALS`` trials fit the budget
limits                     a usual loss of the metric (one point of a share, five of numbers that are to stay near), or
                           its standard error on the validation samples where that is larger and a point could not be
                           told; smaller, and not slower
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from compressor.data.dataset import Data
from compressor.engine.trained import Glance
from compressor.graph.network import Network
from compressor.plugin import Suggestion
from compressor.recipe.toml import to_toml, to_value
from compressor.task import Task

BUDGET = 30 * 60.0
"""Seconds, where nobody says."""
TRIALS = 10
"""Trials that should fit the budget."""
_KEPT = 0.25
"""Share of the budget for everything but training."""
_MOST_EPOCHS, _LEAST_STEPS = 12, 40
_SHORT = "{ epochs = 1, lr = 2e-4 }"


def auto_recipe(
    network: Network,
    data: Data,
    chosen: Mapping[str, Suggestion],
    *,
    source: Mapping[str, Any],
    seen: Glance,
    pace: float,
    budget: float = 0.0,
) -> str:
    """A recipe as TOML, with comments that say why.

    ``chosen``: what plugins suggest, by name. ``source``: the tables ``data`` and ``task`` as they stand. ``seen``:
    the metric now, with its standard error. ``pace``: seconds a sample takes to train on here. ``budget``: seconds; 0
    leaves the choice here.
    """
    seconds = budget or BUDGET
    epochs, steps = _training(len(data.train), _batch(len(data.train)), pace, seconds)
    lines = [
        f"# Chosen for {network.source or 'this network'} and {data.name}: change what you know better.",
        "",
        'objectives = ["quality", "size", "latency"]',
        "",
        *_tables(source),
        "[training]",
        f"epochs = {epochs}  # so that about {TRIALS} trials fit {_minutes(seconds)}",
        f"batch = {_batch(len(data.train))}",
        *([f"steps_per_epoch = {steps}"] if steps else []),
        'optimizer = "adamw"',
        "lr = 1e-3",
        "weight_decay = 1e-4",
        'schedule = "cosine"',
        "warmup = 0.1",
        "",
        *_distillation(data),
        *_phase("structure", "what is not needed goes, and the rest learns to do without it", chosen),
        *_phase("bits", "the weights, and where it pays the arithmetic, in fewer bits", chosen, _SHORT),
        "[constraints]",
        _limit(network, data, seen),
        "max_size = 0.95  # smaller…",
        "max_latency = 1.02  # …and not slower, as far as two files of the same speed can be told apart",
        "",
        "[search]",
        'sampler = "surrogate"',
        "trials = 0",
        f"budget = {seconds:g}",
        "",
    ]
    return "\n".join(lines)


def _phase(name: str, about: str, chosen: Mapping[str, Suggestion], training: str = "") -> list[str]:
    mine = {plugin: suggestion for plugin, suggestion in chosen.items() if suggestion.phase == name}
    if not mine:
        return []
    lines = ["[[phases]]", f'name = "{name}"  # {about}', *([f"training = {training}"] if training else []), ""]
    for plugin, suggestion in mine.items():
        lines += ["[[phases.plugins]]", f'name = "{plugin}"  # {" ".join(suggestion.why.split())}']
        lines += [f'policy = "{suggestion.policy}"'] if suggestion.policy != "spread" else []
        lines += [f"options = {to_value(dict(suggestion.options))}"] if suggestion.options else []
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


def _minutes(seconds: float) -> str:
    count = round(seconds / 60)
    return f"{seconds:.0f} seconds" if count < 2 else f"{count} minutes"


def _batch(samples: int) -> int:
    return 64 if samples >= 2000 else 16


def _limit(network: Network, data: Data, seen: Glance) -> str:
    """What the metric may lose: the usual, or its standard error where so few samples tell no more; said which."""
    metric = data.task.metric
    usual, error = data.task.fitted(network).usual_drop(seen.value), seen.error or 0.0
    if not error > usual:
        return f"max_drop = {usual:.3g}  # of {metric.name}, on validation data"
    return (
        f"max_drop = {error:.3g}  # of {metric.name}: one standard error of {len(data.validation):,} validation "
        f"samples, by which {metric.difference(usual)} cannot be told"
    )


def _tables(source: Mapping[str, Any]) -> list[str]:
    return [*to_toml(dict(source)).rstrip().splitlines(), ""]
