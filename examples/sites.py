"""Where the installed plugins could act on a network of one's own, and where not, and why.

python examples/sites.py
"""

import torch
from torch import nn

from compressor.graph.capture import capture
from compressor.plugin import Site
from compressor.registry import Working, status


class Small(nn.Module):
    """Two convolutions with a shortcut around the second, and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(16)
        self.inner = nn.Conv2d(16, 16, 3, padding=1)
        self.head = nn.Linear(16, 10)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        x = torch.relu(self.norm(self.stem(images)))
        x = torch.relu(x + self.inner(x))
        return self.head(x.mean((2, 3)))


if __name__ == "__main__":
    torch.manual_seed(0)
    network = capture(Small().eval(), (3, 32, 32))
    for entry in status():
        if not isinstance(entry, Working):
            continue
        print(f"\n{entry.found.name}: {entry.plugin.summary()}")
        for place in entry.plugin().sites(network):
            if isinstance(place, Site):
                knobs = ", ".join(f"{name} {knob}" for name, knob in place.knobs.items())
                print(f"  {place.path}  {knobs}")
            else:
                print(f"  not {place.path}: {place.reason}")
