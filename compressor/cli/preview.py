"""``optimize --dry-run``: what a run would start from, how long it would take, and what it would search."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from compressor.api.prepare import RunSetup
from compressor.cli.draw import draw
from compressor.cli.output import CommandOutput
from compressor.data.dataset import Data
from compressor.engine.space import SearchSpace
from compressor.export.emit import to_onnx
from compressor.graph.cost import network_cost
from compressor.knobs import describe as values_of
from compressor.recipe.read import recipe_data
from compressor.recipe.toml import to_toml
from compressor.report import text
from compressor.report.table import table
from compressor.search.estimate import Estimate, estimate


def preview(prepared: RunSetup, out: CommandOutput) -> None:
    """Show it; nothing is started."""
    space, recipe = prepared.space, recipe_data(prepared.recipe)
    expected = estimate(prepared.recipe, prepared.network, prepared.data)
    if out.as_json:
        out.document(
            {
                "baseline": _baseline(prepared),
                "data": _data(prepared.data),
                "normalisation": asdict(prepared.normalisation),
                "estimate": asdict(expected),
                "parameters": _parameters(space),
                "notes": [*prepared.notes, *space.notes],
                "recipe": recipe,
            }
        )
        return
    draw(out.results, table("start, from", _facts(prepared, expected)))
    rows = [(str(entry["name"]), str(entry["values"]), entry["when"] or "") for entry in _parameters(space)]
    draw(out.results, table("parameter, values, when", rows, title=text.plural(len(rows), "search parameter")))
    for note in space.notes:
        out.paragraph(f"note: {note}")
    out.line("\n# the recipe as run")
    out.line(to_toml(recipe).rstrip())


def _facts(prepared: RunSetup, expected: Estimate) -> list[tuple[str, str]]:
    data, seen, network, search = prepared.data, prepared.glance, prepared.network, prepared.recipe.search
    size = text.shape(network.signature.input.shape)
    base, named = _baseline(prepared), prepared.normalisation
    images = f"{text.count(len(data.train))} for training, {text.count(len(data.validation))} for validation"
    own = "; training functions of your own are not counted" if expected.own_training else ""
    metric, guess = data.task.metric, seen.guess
    without = f"; {guess.about}: {metric.text(guess.value)}" if guess is not None else ""
    about = f"{len(data.classes)} classes; images" if data.classes else "inputs"
    return [
        ("data", f"{data.name}: {about} of {size}, {images}"),
        ("normalisation", f"{named.describe()}: {named.origin}"),
        ("baseline", f"{base['params']:,} parameters, ONNX file {text.size(base['size_bytes'])}"),
        (metric.name, f"{metric.text(seen.value)} on {seen.count:,} validation samples{without}"),
        (
            "time",
            f"about {text.duration(expected.run)}, with this machine as busy as it is: "
            f"{text.plural(expected.trials, 'trial')} of {text.duration(expected.trial)}, {search.jobs} at once{own}",
        ),
    ]


def _baseline(prepared: RunSetup) -> dict[str, Any]:
    cost = network_cost(prepared.network)
    return {
        "validation": prepared.glance.value,
        "looked_at": prepared.glance.count,
        "chance": prepared.glance.guess.value if prepared.glance.guess is not None else None,
        "params": cost.parameter_count,
        "macs": cost.mac_count,
        "size_bytes": len(to_onnx(prepared.network)),
    }


def _data(data: Data) -> dict[str, object]:
    return {
        "name": data.name,
        "source": data.source,
        "classes": list(data.classes),
        "train": len(data.train),
        "validation": len(data.validation),
        "stand_in": data.stand_in,
    }


def _parameters(space: SearchSpace) -> list[dict[str, str | None]]:
    return [{"name": p.name, "values": values_of(p.knob), "when": p.when} for p in space.parameters]
