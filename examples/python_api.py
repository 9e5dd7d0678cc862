"""A network and datasets of one's own, from Python: the last ten lines are all that the toolkit asks for.

python examples/python_api.py
"""

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.utils.data import DataLoader, Dataset

import compressor
from compressor.data.digits import read_digits

# What you have: a network, data, weights. ------------------------------------------------------------------------


class Net(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 32, 3, padding=1)
        self.fc1, self.fc2 = nn.Linear(512, 64), nn.Linear(64, 10)

    def forward(self, x: Tensor) -> Tensor:
        x = functional.relu(self.conv2(functional.relu(self.conv1(x))))
        x = functional.max_pool2d(x, 2).flatten(1)
        return self.fc2(functional.relu(self.fc1(x)))


class Digits(Dataset[tuple[Tensor, int]]):
    def __init__(self, split: str, first: int, end: int) -> None:
        digits = read_digits(split)
        self.images, self.labels = digits.images[first:end], digits.targets()[first:end]

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> tuple[Tensor, int]:
        return self.images[index] / 255, int(self.labels[index])


def train_and_save(file: str) -> None:
    torch.manual_seed(0)
    model = Net()
    optimizer = torch.optim.Adam(model.parameters(), lr=2e-3)
    for _ in range(6):
        for images, labels in DataLoader(Digits("train", 0, 1200), batch_size=32, shuffle=True):
            optimizer.zero_grad()
            functional.cross_entropy(model(images), labels).backward()
            optimizer.step()
    torch.save(model.state_dict(), file)


train_and_save("net.pt")

# What the toolkit is asked for. For a run in earnest: budget="30m" in place of trials and quick. --------------------

model = Net()
model.load_state_dict(torch.load("net.pt"))
train, validation, test = Digits("train", 0, 1200), Digits("train", 1200, 1500), Digits("test", 0, 297)
quick = ["training.epochs=2", "training.batch=64", "search.sampler=random", "measure.finalists=1"]
result = compressor.optimize(model, train, validation, test, max_drop=0.03, trials=2, overrides=quick)
result.show()
if result.best is not None:
    print(result.best.onnx_path)
    print(result.best.network(test[0][0][None]).argmax(1))
