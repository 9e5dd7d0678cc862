"""A set made of live objects: which of them is which split, and how what is missing is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Final

from compressor.data.divide import TEST_SEED, divided, drawn
from compressor.data.live import as_live, classes_of, shared_samples, strata_of
from compressor.data.parts import Parts
from compressor.data.pool import Held, Pool, SubPool
from compressor.data.reading import Collate
from compressor.data.spec import DataSpec
from compressor.errors import DataError

SPLITS: Final = ("train", "validation", "test")
_WORDS: Final = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}


def live_parts(
    given: Mapping[str, Any],
    spec: DataSpec,
    where: str,
    *,
    collate: Collate | None = None,
    name: str = "",
) -> Parts:
    """The parts of a set whose splits are live objects, by their names; a split that is None or missing is drawn.

    Without validation it comes out of the training samples, by seed; without a test split too, this comes out of the
    validation samples, which the network has not learned, or, where there are none, out of the training samples. Raises
    ``DataError`` where that cannot be done, or where two splits are known to share samples.
    """
    values = _by_split(given, where)
    if "train" not in values:
        raise DataError(f"{where}: no training data among {', '.join(given) or 'nothing'}")
    _refuse_shared(values, where)
    pool = partial(_pool, values, spec, where, collate)
    train = pool("train")
    validation = pool("validation") if "validation" in values else None
    for split, source in (("validation", train), ("test", validation or train)):
        if split not in values and not source.indexed:
            raise DataError(
                f"{source.where} is read from its first sample to its last, so that no {split} samples can be drawn "
                f"from it: give {split} data too"
            )
    test: Any = partial(pool, "test")
    rest: Pool = train
    rest_of_validation: Pool | None = validation
    if "test" not in values and validation is None:
        rest, test = divided(train, spec, where, "samples")
    elif "test" not in values and validation is not None:
        rest_of_validation, test = _halved(validation)
    return Parts(
        name or type(values["train"]).__name__,
        where,
        spec.classes or classes_of(values["train"]),
        rest,
        rest_of_validation,
        test,
        separate=tuple(split for split in ("validation", "test") if split in values),
        notes=("half of the validation samples are the test split, which was not given",)
        if rest_of_validation is not validation
        else (),
    )


def _by_split(given: Mapping[str, Any], where: str) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for word, value in given.items():
        split = _WORDS.get(str(word).lower())
        if split is None:
            raise DataError(f"{where}: {word!r} is no split; name them train, validation, test")
        if value is None:
            continue
        if split in values:
            raise DataError(f"{where}: two {split} splits; keep one of them")
        values[split] = value
    return values


def _refuse_shared(values: Mapping[str, Any], where: str) -> None:
    names = list(values)
    for index, one in enumerate(names):
        for two in names[index + 1 :]:
            shared = shared_samples(values[one], values[two])
            if shared:
                raise DataError(
                    f"{where}: {shared:,} of the {two} samples are {one} samples too; give splits that share none"
                )


def _pool(values: Mapping[str, Any], spec: DataSpec, where: str, collate: Collate | None, split: str) -> Held:
    value = values[split]
    named = f"{where}: {split} ({type(value).__name__})"
    found = as_live(
        value,
        named,
        names=spec.inputs,
        workers=spec.processes,
        collate=collate,
        ranks=spec.ranks,
        targets=spec.targets,
    )
    return Held(found, named, strata_of(value))


def _halved(validation: Held) -> tuple[Pool, Any]:
    count = len(validation) // 2
    if not count:
        raise DataError(f"{validation.where}: one sample makes no validation and test split; give test data too")
    rest, held = drawn(len(validation), validation.strata, count, TEST_SEED)
    test = SubPool(validation, held)
    return SubPool(validation, rest), lambda: test
