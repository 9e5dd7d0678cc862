"""What all jobs of a run share, as named byte strings: everything a worker needs that it cannot fetch itself.

    recipe.toml, environment.json, model.pt2, baseline/…      always
    sensitivities.json                                        once they are measured
    data.npz, data.tar                                        data that lie in a file or a folder of the driver's

Named sets are fetched by each machine, which checks them against known digests; tables and functions have to be where
the recipe says on every machine: a table names images anywhere, a function is code.
"""

from __future__ import annotations

import importlib.util
import io
import platform
import tarfile
import threading
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from compressor.data.spec import DataSpec
from compressor.errors import InputError
from compressor.files import write_atomic
from compressor.recipe.read import read_recipe, write_recipe
from compressor.search.run_folder import RunFolder
from compressor.stored import digest_of

_FILES = ("environment.json", "model.pt2", "baseline/model.pt2", "baseline/model.onnx", "baseline/metrics.json")
_GROWS = "sensitivities.json"
_RECIPE = "recipe.toml"
ARCHIVE, ARRAYS = "data.tar", "data.npz"
MOST_BYTES = 4 << 30
"""Data that travel; more than that is put on every machine by other means, and named as a table or by a function."""


class Shared:
    """The named byte strings of a run, read once; ``digests`` says which there are now."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._known: dict[str, bytes] = {}
        self._digests: dict[str, str] = {}
        self._lock = threading.Lock()

    def digests(self) -> Mapping[str, str]:
        """SHA-256 by name of what there is now. Raises ``InputError`` for data that cannot travel."""
        with self._lock:
            self._look()
            return dict(self._digests)

    def _look(self) -> None:
        for name in (*_FILES, _GROWS):
            file = self._run.path / name
            if name not in self._known and file.exists():
                self._add(name, file.read_bytes())
        if _RECIPE not in self._known:
            for name, data in packed_data(self._run.recipe().data).items():
                self._add(name, data)
            self._add(_RECIPE, (self._run.path / _RECIPE).read_bytes())

    def content(self, name: str) -> bytes:
        return self._known[name]

    def _add(self, name: str, data: bytes) -> None:
        self._known[name], self._digests[name] = data, digest_of(data)


def packed_data(spec: DataSpec) -> dict[str, bytes]:
    """The data that have to travel. Raises ``InputError`` where they are too many."""
    place = Path(spec.npz or spec.folder)
    if not (spec.npz or spec.folder):
        return {}
    files = [place] if spec.npz else sorted(file for file in place.rglob("*") if file.is_file())
    total = sum(file.stat().st_size for file in files)
    if total > MOST_BYTES:
        raise InputError(
            f"{place}: {total >> 20:,} MiB are too many to be sent to every worker ({MOST_BYTES >> 20:,} at most): put "
            "them on each machine, and name them there with data.table or data.function"
        )
    if spec.npz:
        return {ARRAYS: place.read_bytes()}
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in files:
            archive.add(file, str(file.relative_to(place)), recursive=False)
    return {ARCHIVE: packed.getvalue()}


def write_shared(folder: Path, name: str, data: bytes) -> None:
    """On the worker's machine: put one named byte string where a run folder has it."""
    if name == ARCHIVE:
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            archive.extractall(folder / "data", filter="data")
        return
    write_atomic(folder / name, data)
    if name == _RECIPE:
        _point_at_copies(folder)


def _point_at_copies(folder: Path) -> None:
    """Let the recipe read the data that came along. Raises ``InputError`` for one that means nothing here."""
    recipe = read_recipe(folder / _RECIPE)
    spec = recipe.data
    if spec.table and not Path(spec.table).is_file():
        raise InputError(f"data.table: {spec.table} is not there on {platform.node()}; every machine has to have it")
    if spec.function and importlib.util.find_spec(spec.function.partition(":")[0]) is None:
        raise InputError(f"data.function: {spec.function} cannot be imported on {platform.node()}")
    if spec.npz:
        spec = replace(spec, npz=str(folder / ARRAYS))
    elif spec.folder:
        spec = replace(spec, folder=str(folder / "data"))
    write_recipe(replace(recipe, data=spec), folder / _RECIPE)
