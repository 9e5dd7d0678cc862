"""ONNX normalisations that are functions here: by the root mean square, and to length one."""

from __future__ import annotations

import operator

import torch
from torch import fx

from compressor.errors import CaptureError
from compressor.graph.onnx_in.rules import rule
from compressor.graph.onnx_node.node import Node


@rule("RMSNormalization")
def root_mean_square_norm(node: Node) -> fx.Node:
    axis, rank = node.axis(node.attributes.get("axis", -1)), len(node.sample()) + 1
    squares = node.apply(torch.square, node.tensor())
    mean = node.apply(torch.mean, squares, list(range(axis, rank)), True)
    spread = node.apply(torch.rsqrt, node.apply(operator.add, mean, node.attributes.get("epsilon", 1e-5)))
    scaled = node.apply(operator.mul, node.tensor(), spread)
    return node.apply(operator.mul, scaled, node.state.operand(node.inputs[1]))


@rule("LpNormalization")
def unit_norm(node: Node) -> fx.Node:
    axis, order = node.axis(node.attributes.get("axis", -1)), node.attributes.get("p", 2)
    if order not in (1, 2):
        raise CaptureError(f"a norm of order {order}")
    norm = node.apply(torch.ops.aten.linalg_vector_norm.default, node.tensor(), order, [axis], True)
    return node.apply(operator.truediv, node.tensor(), norm)
