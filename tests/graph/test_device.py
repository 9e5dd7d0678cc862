"""Which process may use an accelerator: not one that will be forked, but its forks; pretended, for lack of one."""

from __future__ import annotations

import os

import pytest
import torch
from torch import Tensor, nn

from compressor.apart import apart
from compressor.graph import device
from compressor.graph.capture import capture
from compressor.processes import FORKS

pytestmark = pytest.mark.skipif(not FORKS, reason="forks are not safe on this system")


@pytest.fixture
def pretended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "_usable", lambda: True)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(device, "used", lambda: False)


def test_who_leaves_it_to_forks_works_on_the_cpu_and_they_do_not(pretended: None) -> None:
    assert device.working_device().type == "cuda"
    with device.left_to_forks():
        assert device.working_device().type == "cpu"
        assert apart(lambda: device.working_device().type) == "cuda"
        assert apart(lambda: device.in_fork(os.getpid) == os.getpid())
    assert device.working_device().type == "cuda"


def test_what_it_needs_itself_a_fork_finds_out(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    assert device.in_fork(os.getpid) == os.getpid()
    with device.left_to_forks():
        assert device.in_fork(os.getpid) != os.getpid()
        with device.working_on("cpu"):
            assert device.in_fork(os.getpid) == os.getpid()
        monkeypatch.setattr(device, "_usable", lambda: False)
        assert device.in_fork(os.getpid) == os.getpid()


def test_nothing_is_left_to_forks_that_cannot_have_it(pretended: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "used", lambda: True)
    with device.left_to_forks():
        assert device.working_device().type == "cuda"


def test_a_network_of_buffers_alone_says_where_it_is() -> None:
    """Else a second layer of ``at_work`` would bring it home while the first still works on it."""

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("scale", torch.ones(3))

        def forward(self, x: Tensor) -> Tensor:
            return x * self.scale

    network = capture(Fixed(), (3,))
    assert network.device.type == "cpu"
    assert network.to("meta").device.type == "meta"


def test_figures_are_told_in_whole_float32() -> None:
    before = torch.backends.cudnn.allow_tf32
    with device.at_work(capture(nn.Linear(2, 2), (2,))):
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before
