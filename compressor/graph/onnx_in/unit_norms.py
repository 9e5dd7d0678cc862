"""ONNX normalisations that are functions here: to length one."""

from __future__ import annotations

import operator

import torch
from torch import fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node


@rule("LpNormalization")
def unit_norm(node: Node) -> fx.Node:
    axis, order = node.axis(node.attributes.get("axis", -1)), node.attributes.get("p", 2)
    if order not in (1, 2):
        raise CaptureError(f"a norm of order {order}")
    norm = node.apply(torch.ops.aten.linalg_vector_norm.default, node.tensor(), order, [axis], True)
    return node.apply(operator.truediv, node.tensor(), norm)
