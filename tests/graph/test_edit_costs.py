"""What an edit costs is bounded by what it touches: counted in traces made and nodes visited, never in seconds."""

from __future__ import annotations

import pytest
import torch
from counting import counts
from torch import Tensor, nn

from compressor.graph.capture import capture
from compressor.graph.editor import Editor


class Block(nn.Module):
    def __init__(self, split: int) -> None:
        super().__init__()
        self.squeeze = nn.Sequential(nn.Conv2d(8, 6, 1), nn.BatchNorm2d(6), nn.ReLU())
        self.convs = nn.ModuleList(nn.Conv2d(6 // split, 6 // split, 3, padding=1) for _ in range(split))
        self.widen = nn.Conv2d(6, 8, 1)

    def forward(self, x: Tensor) -> Tensor:
        parts = self.squeeze(x).chunk(len(self.convs), 1)
        y = torch.cat([conv(part) for conv, part in zip(self.convs, parts, strict=True)], 1)
        return torch.relu(x + self.widen(y))


@pytest.mark.parametrize("split", [1, 2])
def test_edits_in_a_row_cost_what_they_touch_however_deep_the_network_is(
    split: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One trace for all of them, and as many visits for each in a network three times as deep."""
    visits: dict[int, float] = {}
    for depth in (3, 9):
        blocks = nn.Sequential(nn.Conv2d(3, 8, 1), *(Block(split) for _ in range(depth)))
        network = capture(nn.Sequential(blocks, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)), (3, 8, 8))
        seen = counts(monkeypatch)
        editor, edits = Editor(network), 0
        for path, leaf in list(network.leaves()):
            if isinstance(leaf, nn.Conv2d) and ".convs." in path:
                editor.drop_channels(path, [0])
                edits += 1
        editor.commit()
        monkeypatch.undo()
        assert edits == depth * split
        assert seen["traces"] == 1
        visits[depth] = seen["visits"] / edits
    assert visits[9] == visits[3]
