"""Tensor calls that people write in ``forward``: captured bit for bit, written, read again, and agreeing in ONNX.

Each call stands between a calibrated convolution and the answer; the tables hold what is no layer of its own.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from compressor.errors import CaptureError, ExportError
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.pt2 import read_pt2, write_pt2
from compressor.measure.session import OnnxModel

Call = Callable[["Net", Tensor], Tensor]
IMAGE = (3, 8, 8)


class Net(nn.Module):
    """``x`` of twelve channels goes through the calls, whose answers are joined as rows."""

    def __init__(self, *calls: Call) -> None:
        super().__init__()
        self.calls = calls
        self.conv = nn.Conv2d(3, 12, 3, padding=1)
        self.p = nn.Parameter(torch.randn(12))
        self.q = nn.Parameter(torch.randn(12, 6))
        self.register_buffer("order", torch.tensor([2, 0, 11, 0]))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return torch.cat([call(self, x).flatten(1) for call in self.calls], 1)


ALIASES: dict[str, Call] = {
    "concat": lambda m, x: torch.concat([x, torch.concatenate([x, torch.hstack([x, x])], 1)], 1),
    "arithmetic": lambda m, x: torch.subtract(torch.multiply(x, 2), torch.divide(torch.true_divide(x, 3), 2)),
    "sign": lambda m, x: torch.absolute(torch.negative(x)).clip(0.1, 0.9) + torch.clip(x, max=0.3).positive(),
    "comparison": lambda m, x: x * torch.greater(x, 0.2) + torch.less_equal(x, -0.1),
    "axes": lambda m, x: torch.moveaxis(x, 1, -1).swapaxes(1, 2).swapdims(2, 3).mT.mH.adjoint().softmax(-1),
    "tile": lambda m, x: torch.tile(x, (1, 2, 1, 1)) + x.tile((2, 1, 1)),
    "like another": lambda m, x: (lambda y: x.reshape_as(y).mean(-1) + x.view_as(y).amax(-1))(x.flatten(2)),
    "broadcast_to": lambda m, x: x * torch.broadcast_to(m.p.view(-1, 1, 1), (12, 8, 8)),
    "spread to what it meets": lambda m, x: F.normalize(x, dim=1) + x.mean(1, keepdim=True).expand_as(x) * x,
    "split in parts": lambda m, x: torch.cat(
        [c.mean(1) for c in (*x.tensor_split(5, 1), *x.tensor_split((2, 7), 2))], 1
    ),
    "hsplit": lambda m, x: sum(torch.hsplit(x, 3)) * 0.5,
    "largest by adaptive pooling": lambda m, x: (
        F.adaptive_max_pool2d(x, (3, 5)).mean(2) + F.adaptive_max_pool2d(x, 1)[:, :, 0]
    ),
}
MADE: dict[str, Call] = {
    "zeros": lambda m, x: torch.cat([x, torch.zeros(x.shape[0], 4, 8, 8), x.new_zeros(x.shape[0], 2, 8, 8)], 1),
    "like": lambda m, x: torch.cat([x * torch.ones_like(x[:, :1]), torch.full_like(x, 0.3), torch.zeros_like(x)], 1),
    "fixed": lambda m, x: x + torch.full((1, 12, 1, 1), 0.5) * torch.eye(8) - torch.ones(8),
    "numbers": lambda m, x: (x - torch.tensor([0.5]).view(1, 1, 1, 1)) / torch.tensor(2.0),
    "range": lambda m, x: (x.flatten(2).softmax(-1) * (torch.arange(64.0) / 64)).sum(-1),
    "coordinates": lambda m, x: torch.cat(
        [x, torch.linspace(-1, 1, 8).view(1, 1, 1, 8).expand(x.shape[0], 1, 8, 8)], 1
    ),
    "mesh": lambda m, x: x + torch.stack(torch.meshgrid(torch.arange(8.0), torch.arange(8.0), indexing="ij")).sum(0),
    "parameter per sample": lambda m, x: torch.cat([m.p.view(1, 12, 1).expand(x.shape[0], -1, -1), x.flatten(2)], 2),
}
MASKS: dict[str, Call] = {
    "where": lambda m, x: torch.where(x > 0.5, x, torch.zeros(())) + torch.where(x > 0, x, 0.3),
    "masked_fill": lambda m, x: x.masked_fill(x < 0.2, -1.0) + x.masked_fill(x.mean(1, keepdim=True) > 0, 0.0),
    "factor": lambda m, x: x * (x > 0.3) + x * (x.mean(1, keepdim=True) > 0),
    "product of flags": lambda m, x: x.masked_fill((x > 0) * (x < 0.5), 2.0),
    "logical": lambda m, x: x * ((x > 0) & (x < 1) | ~(x > -1)) + torch.logical_xor(x > 0, x > 0.5),
}
PICKS: dict[str, Call] = {
    "list": lambda m, x: x[:, [2, 1, 0]],
    "buffer": lambda m, x: x[:, m.order] + x[:, :, m.order % 8].mean((1, 2))[:, None, None],
    "two lists": lambda m, x: x[:, :, [0, 1, 5], [7, 2, 2]],
    "matrix of places": lambda m, x: x[:, torch.tensor([[0, 1], [5, 4]])],
    "table": lambda m, x: x.flatten(2).mean(1) * m.q.reshape(-1)[torch.arange(64)],
    "last": lambda m, x: x[:, :, -1] + x[..., -1] + x[:, :, ::2, 1::2].sum(-1).repeat(1, 1, 2),
    "topk": lambda m, x: x.flatten(2).topk(5, -1)[0].mean(-1) + x.topk(2, 2, largest=False).values.mean((2, 3)),
    "sort": lambda m, x: x.flatten(2).sort(-1)[0] + x.flatten(2).sort(stable=True, descending=True).values * 2,
    "extreme places": lambda m, x: x.argmax(1).float() + x.argmin(2, keepdim=True).float().mean((1, 2))[:, None],
    "cumsum": lambda m, x: x.cumsum(2),
    "repeat": lambda m, x: x.repeat(1, 2, 1, 1)[:, ::2] + x.repeat_interleave(2, 1)[:, ::2],
    "unfold": lambda m, x: F.unfold(x, (3, 2), stride=2, padding=1, dilation=1).mean(-1),
    "windows": lambda m, x: x.unfold(2, 3, 2).unfold(3, 2, 2).amax((-1, -2)),
    "fold": lambda m, x: F.fold(F.unfold(x, 2, stride=2), (8, 8), 2, stride=2),
    "triangles": lambda m, x: torch.tril(x) + x.triu(1) * 2,
    "turn": lambda m, x: torch.rot90(x, 1, (2, 3)) - torch.rot90(x, -2, (1, 2)).sum(1, keepdim=True),
    "grid": lambda m, x: F.grid_sample(
        x,
        F.affine_grid(torch.eye(2, 3)[None].expand(x.shape[0], 2, 3) * 0.7, (x.shape[0], 12, 5, 6), False),
        align_corners=False,
    ),
}
ALGEBRA: dict[str, Call] = {
    "einsum": lambda m, x: torch.einsum("nchw,ck->nk", x, m.q) + torch.einsum("nchw,ndhw->ncd", x, x).mean(-1)[:, :6],
    "addcmul": lambda m, x: torch.addcmul(x, x.flip(2), m.p.view(-1, 1, 1), value=0.5) + torch.addcdiv(x, x, x.exp()),
    "addmm": lambda m, x: torch.addmm(m.p[:6], x.mean((2, 3)), m.q, beta=0.5, alpha=2),
    "baddbmm": lambda m, x: torch.baddbmm(x.mean(1), x.amax(1), x.amin(1), alpha=0.3),
    "bilinear": lambda m, x: F.bilinear(x.mean((2, 3)), x.amax((2, 3)), m.q.t()[:, :, None] * m.p),
    "linear of a transposed parameter": lambda m, x: F.linear(x.mean((2, 3)) * x.amax((2, 3)), m.q.t()),
    "lerp": lambda m, x: torch.lerp(x, x.flip(2), 0.3),
    "rms_norm": lambda m, x: F.rms_norm(x.movedim(1, -1), (12,)) + F.rms_norm(x.movedim(1, -1), (12,), m.p, 1e-3),
    "moments": lambda m, x: torch.cat([*torch.var_mean(x, (2, 3)), *torch.std_mean(x, (2, 3), correction=0)], 1),
    "cosine": lambda m, x: F.cosine_similarity(x.flatten(2), x.flip(3).flatten(2), dim=1),
    "norms": lambda m, x: x.norm(dim=1) + x.norm(p=3, dim=1) + x.norm(p=float("inf"), dim=1),
    "rounding": lambda m, x: torch.ceil(x) + x.trunc() + x.frac() + torch.remainder(x, 0.7) + torch.fmod(x, 0.6),
    "whole quotient": lambda m, x: x.detach() // 0.5,
    "functions": lambda m, x: torch.log2(x.abs() + 1) + x.expm1() + x.atan() + (x * 0.1).tan(),
    "no numbers": lambda m, x: torch.nan_to_num(x.detach() / (x > 0), posinf=9.0, neginf=-9.0),
    "whole numbers": lambda m, x: (x * 8).int().float() / 8 + x.double().float(),
    "attention": lambda m, x: F.scaled_dot_product_attention(x, x.flip(1), x, is_causal=True)
    + F.scaled_dot_product_attention(x, x, x, attn_mask=torch.ones(8, 8).tril() > 0)
    + F.scaled_dot_product_attention(x, x, x, attn_mask=m.q[:8, :1] * 0.1, scale=0.3),
    "resize": lambda m, x: torch.cat(
        [
            F.interpolate(x, (5, 3), mode="bilinear", antialias=True),
            F.interpolate(x, scale_factor=0.7, mode="bicubic", antialias=True)[:, :, :, :3],
            F.interpolate(x, (5, 3), mode="bicubic", align_corners=True),
        ],
        2,
    ),
}  # fmt: skip
CALLS = ALIASES | MADE | MASKS | PICKS | ALGEBRA


def worst(model: nn.Module, file: bytes) -> float:
    runner, errors = OnnxModel(file), []
    for batch in (1, 5):
        x = torch.randn(batch, *IMAGE)
        with torch.no_grad():
            expected = model(x).numpy()
        errors.append(np.abs(runner.run(x)[0] - expected).max() / np.abs(expected).max())
    return float(max(errors))


@pytest.mark.parametrize("name", CALLS)
def test_a_call_is_captured_and_exported(name: str) -> None:
    model = Net(CALLS[name]).eval()
    network = capture(model, IMAGE)
    for batch in (1, 3):
        x = torch.randn(batch, *IMAGE)
        assert torch.equal(network(x), model(x))
    assert network.shape(network.output_nodes[0]) == tuple(model(x).shape[1:])
    assert worst(model, to_onnx(network)) < 2e-5


@pytest.mark.parametrize(
    "calls", [ALIASES, MADE, MASKS, PICKS, ALGEBRA], ids=["aliases", "made", "masks", "picks", "algebra"]
)
def test_networks_with_calls_are_forked_written_and_read(calls: dict[str, Call], tmp_path: Path) -> None:
    model = Net(*calls.values()).eval()
    network = capture(model, IMAGE, fold=False).fork()
    write_pt2(network, tmp_path / "model.pt2")
    again = read_pt2(tmp_path / "model.pt2")
    x = torch.randn(3, *IMAGE)
    assert torch.equal(again(x), model(x))
    assert to_onnx(again) == to_onnx(network)
    gradients: list[dict[str, Tensor]] = []
    for run in (model, network.train(), again.train()):
        run(x).square().mean().backward()
        named = (run if run is model else run.module).named_parameters()
        gradients.append({name: parameter.grad for name, parameter in named if parameter.grad is not None})
    for found in gradients[1:]:
        assert len(found) == len(gradients[0])  # by other names, where a call has become a leaf with weights
        assert all(any(alike(other, grad) for other in found.values()) for grad in gradients[0].values())


def alike(left: Tensor, right: Tensor) -> bool:
    return left.shape == right.shape and torch.allclose(left, right, rtol=1e-3)


def test_a_network_is_moved_with_its_constants() -> None:
    network = capture(Net(MADE["mesh"]).eval(), IMAGE)
    assert all(isinstance(value, Tensor) for value in network.to("meta").module.state_dict().values())
    assert {value.device.type for value in network.module.state_dict().values()} == {"meta"}


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m, x: x + torch.rand(()), "random numbers"),
        (lambda m, x: x + torch.randn_like(x), "random numbers"),
        (lambda m, x: torch.fft.rfft2(x).abs(), "fft_rfft2"),
        (lambda m, x: x + torch.zeros(2**14, 2**14).sum(), "constant of"),
    ],
)
def test_what_has_no_fixed_meaning_is_refused(call: Call, reason: str) -> None:
    with pytest.raises(CaptureError, match=reason):
        capture(Net(call).eval(), IMAGE)


@pytest.mark.parametrize(
    ("call", "reason"),
    [
        (lambda m, x: x.half().float(), "float16"),
        (lambda m, x: x + x.std(0).mean(), "no axis of a sample"),
    ],
)
def test_what_has_no_onnx_form_is_captured_all_the_same(call: Call, reason: str) -> None:
    model = Net(call)
    network = capture(model.eval(), IMAGE)
    x = torch.randn(3, *IMAGE)
    assert torch.equal(network(x), model(x))
    with pytest.raises(ExportError, match=reason):
        to_onnx(network)


class Body(nn.Module):
    def __init__(self, forward: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.forward = forward


# --- values whose batch is not in the first place ----------------------------------------------------------------


class Tokens(nn.Module):
    """Attention or a recurrent layer on the columns of a feature map."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 12, 4, 2)
        for name, part in parts.items():
            setattr(self, name, part)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x).flatten(2).transpose(1, 2)
        if "attention" in self._modules:
            return x + self.attention(x, x, x, need_weights=False)[0]
        if "block" in self._modules:
            return self.block(x)
        if "recurrent" in self._modules:
            outputs, state = self.recurrent(x)
            last = state[0] if isinstance(state, tuple) else state
            return torch.cat([outputs[:, -1], last[-1], last[0]], 1)
        rows, count, width = x.shape
        q, k, v = self.qkv(x).reshape(rows, count, 3, 3, width // 3).permute(2, 0, 3, 1, 4).unbind(0)
        return (((q @ k.transpose(-2, -1)) * 0.5).softmax(-1) @ v).transpose(1, 2).reshape(rows, count, width)


TOKENS: dict[str, Callable[[], nn.Module]] = {
    "attention": lambda: Tokens(attention=nn.MultiheadAttention(12, 3, batch_first=True)),
    "encoder layer": lambda: Tokens(block=nn.TransformerEncoderLayer(12, 3, 24, batch_first=True, norm_first=True)),
    "one projection": lambda: Tokens(qkv=nn.Linear(12, 36)),
    "LSTM": lambda: Tokens(recurrent=nn.LSTM(12, 5, 2, batch_first=True, bidirectional=True)),
    "GRU": lambda: Tokens(recurrent=nn.GRU(12, 5, batch_first=True, bias=False)),
    "RNN": lambda: Tokens(recurrent=nn.RNN(12, 5, batch_first=True, nonlinearity="relu")),
}


@pytest.mark.parametrize("name", TOKENS)
def test_attention_and_recurrence_are_captured_written_and_exported(name: str, tmp_path: Path) -> None:
    model = TOKENS[name]().eval()
    write_pt2(capture(model, IMAGE), tmp_path / "model.pt2")
    network = read_pt2(tmp_path / "model.pt2")
    for batch in (1, 3):
        x = torch.randn(batch, *IMAGE)
        assert torch.equal(network(x), model(x))
    assert worst(model, to_onnx(network)) < 1e-5
