"""Qualities as classification has them, for tests that are about something else."""

from __future__ import annotations

from compressor.task import Quality


def accuracy_of(
    validation: float, test: float | None = None, onnx: float | None = None, samples: int | None = None
) -> Quality:
    """An accuracy; with standard errors where the number of ``samples`` is given."""
    errors = [
        (share * (1 - share) / samples) ** 0.5 if samples and share is not None else None
        for share in (validation, test)
    ]
    return Quality(validation, test, onnx, errors[0], errors[1], metric="accuracy")
