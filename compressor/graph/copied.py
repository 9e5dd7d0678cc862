"""An independent copy of a graph of modules."""

from __future__ import annotations

import copy
from typing import Any

from torch import fx, nn


def copied(module: fx.GraphModule) -> fx.GraphModule:
    """What ``copy.deepcopy`` gives, in half the time: node metadata is data that nobody changes, and is shared.

    Ties between parameters, and the mode of every module, are kept.
    """
    ties: dict[int, Any] = {}
    root = nn.Module()
    for name, child in module.named_children():
        root.add_module(name, copy.deepcopy(child, ties))
    for name, parameter in module.named_parameters(recurse=False):
        root.register_parameter(name, copy.deepcopy(parameter, ties))
    for name, buffer in module.named_buffers(recurse=False):
        root.register_buffer(name, copy.deepcopy(buffer, ties))
    graph = fx.Graph()
    end = graph.output(graph.graph_copy(module.graph, {}))
    end.meta = dict(module.graph.output_node().meta)
    result = fx.GraphModule(root, graph)
    modes = {name: part.training for name, part in module.named_modules(remove_duplicate=False)}
    for name, part in result.named_modules(remove_duplicate=False):
        part.training = modes[name]
    return result
