"""``compressor.inspect``: what a network costs, layer by layer, and what each plugin could do to it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

from compressor.graph.capture import capture
from compressor.graph.given import InputsGiven
from compressor.graph.network import Network
from compressor.load import load_model
from compressor.recipe.read import read_recipe
from compressor.report.anatomy import Anatomy, examine


def inspect(
    model: nn.Module | Network | str | Path,
    *,
    inputs: InputsGiven = None,
    recipe: str | Path | None = None,
    weights: str | Path | None = None,
    trust: bool = False,
) -> Anatomy:
    """Layers with their cost, sites by plugin, refusals with their reasons.

    ``inputs``: the shape of one sample where the model does not say it. ``recipe``: with its plugins and options alone.
    Raises ``InputError``.
    """
    if isinstance(model, nn.Module):
        network = capture(model, inputs, type(model).__name__)
    elif isinstance(model, Network):
        network = model
    else:
        file = None if weights is None else Path(weights)
        network = load_model(str(model), weights=file, trust=trust, input_shape=inputs)
    if recipe is None:
        return examine(network)
    read = read_recipe(recipe)
    return examine(network, read.phases, read.limits.plugin_seconds)
