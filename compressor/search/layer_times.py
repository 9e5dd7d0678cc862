"""Where the time goes, layer by layer, before and after: for people to look at, since nothing is decided by it.

What counts is the paired timing of the whole files. A profile says where to look; it is measured once, at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from compressor.measure.layers import layer_times
from compressor.search.observer import Note, Observer
from compressor.search.run_folder import RunFolder
from compressor.stored import Figure, Stored, content, digest_of


@dataclass(frozen=True)
class LayerTimes:
    """Microseconds of a call by leaf path, as ONNX Runtime's profiler has them."""

    before: Mapping[str, Figure] = field(default_factory=dict)
    after: Mapping[str, Figure] = field(default_factory=dict)
    models: tuple[str, str] = ("", "")
    """SHA-256 of the two ONNX files that this is about."""


LAYER_TIMES: Stored[LayerTimes] = Stored(LayerTimes)


def record_layer_times(run: RunFolder, digest: str, batch: int, observer: Observer) -> None:
    """Profile the baseline and the candidate ``digest``, once. Where that fails it is said, and the run goes on."""
    try:
        before, after = (content(folder / "model.onnx") for folder in (run.baseline, run.candidate(digest)))
        if read_layer_times(run, before, after) is None:
            times = [layer_times(model, batch=batch) for model in (before, after)]
            LAYER_TIMES.write(run.layers, LayerTimes(times[0], times[1], (digest_of(before), digest_of(after))))
    except Exception as error:
        observer.notify(Note(f"no times by layer: {' '.join(str(error).split())}"))


def read_layer_times(run: RunFolder, before: bytes, after: bytes) -> LayerTimes | None:
    """What is known about these two ONNX files; None where that is nothing. Raises ``DamagedFileError``."""
    found = LAYER_TIMES.find(run.layers)
    return found if found is not None and found.models == (digest_of(before), digest_of(after)) else None
