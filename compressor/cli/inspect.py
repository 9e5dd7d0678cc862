"""``compressor inspect``: what a network costs, layer by layer, and what each plugin could do to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.cli.draw import draw
from compressor.cli.options import RECIPE_OPTION, Input, JsonFlag, Model, Trust, Weights, parse_inputs
from compressor.cli.output import CommandOutput, output
from compressor.report import text
from compressor.report.table import Table, table

if TYPE_CHECKING:
    from compressor.graph.given import InputsGiven
    from compressor.graph.signature import TensorSpec
    from compressor.knobs import Knob
    from compressor.plugin import Refused, Site
    from compressor.recipe.model import Recipe
    from compressor.report.anatomy import Anatomy, LayerShare


def inspect(
    model: Model,
    recipe: Annotated[str | None, RECIPE_OPTION] = None,
    weights: Weights = None,
    inputs: Input = None,
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="D",
            help="Data as for 'compressor train': the shape of one sample, where the model does not say it.",
            show_default=False,
        ),
    ] = "",
    trust: Trust = False,
    as_json: JsonFlag = False,
) -> None:
    """Show the cost of every layer, the sites of every plugin with their knobs, and why others were refused."""
    with output(as_json) as out:
        from compressor.load import load_model
        from compressor.recipe.read import read_recipe
        from compressor.report.anatomy import examine

        read = read_recipe(Path(recipe)) if recipe else None
        network = load_model(
            model,
            weights=weights,
            trust=trust,
            input_shape=parse_inputs(inputs),
            otherwise=_shape_of(data, read),
        )
        anatomy = examine(network, read.phases, read.limits.plugin_seconds) if read else examine(network)
        if as_json:
            out.document(_as_data(anatomy))
        else:
            _show(anatomy, out)


def _shape_of(data: str, recipe: Recipe | None) -> Callable[[], InputsGiven] | None:
    """Asks the data, those that were named or the recipe's, for what one sample is; None without any."""
    if not data and recipe is None:
        return None

    def ask() -> InputsGiven:
        from compressor.data.fit import inputs_of
        from compressor.data.load import load_data
        from compressor.data.open import spec_of
        from compressor.task import make_task

        spec = spec_of(data) if data or recipe is None else recipe.data
        return inputs_of(load_data(spec, None if recipe is None else make_task(recipe.task), check=False))

    return ask


# --- for programs ------------------------------------------------------------------------------------------------


def _as_data(anatomy: Anatomy) -> dict[str, Any]:
    return {
        "source": anatomy.source,
        "input": anatomy.inputs[0].shape,
        "inputs": [_tensor(spec) for spec in anatomy.inputs],
        "outputs": [_tensor(spec) for spec in anatomy.outputs],
        "params": anatomy.params,
        "macs": anatomy.macs,
        "size_bytes": anatomy.size_bytes,
        "layers": [asdict(layer) for layer in anatomy.layers],
        "other_share": anatomy.other_share,
        "sites": {plugin: [_site(site) for site in sites] for plugin, sites in anatomy.sites.items()},
        "refused": {plugin: [asdict(entry) for entry in entries] for plugin, entries in anatomy.refused.items()},
        "broken": dict(anatomy.broken),
        "notes": anatomy.notes,
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "shape": spec.shape, "dtype": spec.type}


def _site(site: Site) -> dict[str, Any]:
    knobs = {name: _knob(knob) for name, knob in site.knobs.items()}
    return {"path": site.path, "knobs": knobs, "about": site.about}


def _knob(knob: Knob) -> dict[str, Any]:
    return {"kind": type(knob).__name__, **asdict(knob)}


# --- for people --------------------------------------------------------------------------------------------------


def _show(anatomy: Anatomy, out: CommandOutput) -> None:
    file = "no ONNX form" if anatomy.size_bytes is None else f"ONNX file {text.size(anatomy.size_bytes)}"
    out.line(
        f"{text.clean(anatomy.source)}: {_signature(anatomy)}, {text.count(anatomy.params)} parameters, "
        f"{text.short_count(anatomy.macs)} MACs, {file}"
    )
    draw(out.results, _layers(anatomy))
    for plugin, sites in anatomy.sites.items():
        draw(out.results, _sites(plugin, sites))
        _show_refusals(anatomy.refused.get(plugin, ()), out)
    for plugin, reason in anatomy.broken.items():
        out.line(text.clean(f"{plugin}: broken: {reason}"))
    for note in anatomy.notes:
        out.line(text.clean(f"note: {note}"))


def _signature(anatomy: Anatomy) -> str:
    """``input 3×32×32`` where that is all, otherwise every input and output by name."""
    inputs, outputs = ([_named(spec) for spec in specs] for specs in (anatomy.inputs, anatomy.outputs))
    if len(inputs) == len(outputs) == 1:
        return f"input {text.shape(anatomy.inputs[0].shape)}"
    return f"inputs {', '.join(inputs)} → outputs {', '.join(outputs)}"


def _named(spec: TensorSpec) -> str:
    size = text.shape(spec.shape) if spec.shape else "one number"
    kind = "" if spec.type == "float32" else f" {spec.type}"
    return f"{text.clean(spec.name)} {size}{kind}"


def _layers(anatomy: Anatomy) -> Table:
    """The column of integers only where there are any."""
    some = any(layer.integers for layer in anatomy.layers)
    rows = [
        (
            layer.path,
            layer.kind,
            text.shape(layer.output),
            text.count(layer.params) if layer.params else "",
            text.short_count(layer.macs) if layer.macs else "",
            text.size(layer.bytes) if layer.bytes else "",
            text.percent(layer.share, 1) if layer.share else "",
            *([_integers(layer)] if some else []),
        )
        for layer in anatomy.layers
    ]
    if anatomy.other_share >= 0.0005:
        rows.append(("(other)", "", "", "", "", "", text.percent(anatomy.other_share, 1), *([""] if some else [])))
    return table("layer, kind, >output, >params, >MACs, >bytes, >time" + (", integers" if some else ""), rows)


def _integers(layer: LayerShare) -> str:
    """``8 bits, region 1, enters``: values of 8 bits; here they come in from floats."""
    place = layer.integers
    if place is None:
        return ""
    ways = [word for word, here in (("enters", place.enters), ("leaves", place.leaves)) if here]
    return ", ".join([f"{place.bits} bits", f"region {place.region}", *ways])


def _sites(plugin: str, sites: Sequence[Site]) -> Table:
    rows = [(site.path, _knobs(site.knobs), site.about) for site in sites]
    return table("site, knobs, about", rows, title=f"{plugin}: {text.plural(len(sites), 'site')}")


def _knobs(knobs: Mapping[str, Knob]) -> str:
    from compressor.knobs import describe

    return ", ".join(f"{name} {describe(knob)}" for name, knob in knobs.items())


def _show_refusals(refused: Sequence[Refused], out: CommandOutput) -> None:
    """Reasons with the places they hold for, each reason once."""
    by_reason: dict[str, list[str]] = {}
    for entry in refused:
        by_reason.setdefault(entry.reason, []).append(entry.path)
    for reason, paths in by_reason.items():
        out.paragraph(f"refused {', '.join(paths)}: {reason}")
