"""Samples that lie in image files, decoded one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from compressor.data.blocks import rows_per_block
from compressor.data.image_file import Format, header, largest_value, read_sized, white_of
from compressor.data.pool import Pool, SampleBlock
from compressor.data.reading import BatchReader
from compressor.data.spec import DataSpec
from compressor.data.split import Target
from compressor.data.streamed import StreamedSplit
from compressor.errors import DataError


class Decoded(Pool):
    """Files, the images of which are decoded as ``form`` says, or as those of another pool that was read before."""

    sized = True

    def __init__(self, files: Sequence[Path], known: Target, root: Path, form: Format | Decoded) -> None:
        self.files = files
        self.known = known
        self.where = str(root)
        self._leader = form if isinstance(form, Decoded) else None
        self._form = form if isinstance(form, Format) else form.form
        self._settled = self._leader is not None
        """Whether the first reading is over, which decides what the form leaves open."""

    def __len__(self) -> int:
        return len(self.files)

    @property
    def form(self) -> Format:
        """What every image becomes, completed by what the first reading found."""
        return self._leader.form if self._leader else self._form

    @cached_property
    def _states(self) -> list[tuple[str, int, int]]:
        found = [(path, path.stat()) for path in self._all_files()]
        return [(str(path.absolute()), status.st_size, status.st_mtime_ns) for path, status in found]

    def _all_files(self) -> Sequence[Path]:
        """Everything that a sample is read from."""
        return self.files

    @property
    def key(self) -> str:
        return json.dumps([type(self).__name__, self._states, astuple(self.form)])

    @property
    def facts(self) -> Mapping[str, str]:
        form = self.form
        return {"channels": str(form.channels), "white": repr(form.white), "inferred": str(int(form.inferred))}

    def recall(self, facts: Mapping[str, str]) -> None:
        if not self._settled:
            self._form = replace(
                self._form,
                channels=int(facts["channels"]),
                white=float(facts["white"]),
                inferred=facts["inferred"] == "1",
            )
            self._settled = True

    def sample(self, row: int) -> tuple[Tensor, ...]:
        """The image ``(C, H, W)`` of uint8; behind it what is read along. Raises ``DataError`` that names a file."""
        return (self.image(row)[0],)

    def image(self, row: int) -> tuple[Tensor, tuple[int, int]]:
        """The image ``(C, H, W)`` of uint8 as it is wanted, and the width and height that it has in its file."""
        pixels, size = read_sized(self.files[row], self.form)
        return torch.from_numpy(pixels).permute(2, 0, 1), size

    def _settle(self, rows: Sequence[int]) -> None:
        """Find out what the form leaves open, from the samples that are read first."""
        self._form = completed(self._form, [self.files[row] for row in rows])

    def blocks(self, rows: Tensor) -> Iterator[SampleBlock]:
        wanted = rows.tolist()
        if not self._settled:
            self._settle(wanted)
            self._settled = True
        block: list[tuple[Tensor, ...]] = []
        first: tuple[int, torch.Size] | None = None
        for row in wanted:
            sample = self.sample(row)
            first = first or (row, sample[0].shape)
            self.check_size(row, sample[0].shape, *first)
            block.append(sample)
            if len(block) == rows_per_block(sum(part.nbytes for part in sample)):
                yield self._block(block)
                block = []
        if block:
            yield self._block(block)

    def _block(self, samples: list[tuple[Tensor, ...]]) -> SampleBlock:
        names = ["x0", *(f"y{number}" for number in range(len(samples[0]) - 1))]
        return {name: torch.stack([s[place] for s in samples]) for place, name in enumerate(names)}

    def check_size(self, row: int, shape: torch.Size, first: int, wanted: torch.Size) -> None:
        """Raises ``DataError`` where the image of a row has not the size of the ``first`` one."""
        if shape != wanted:
            raise DataError(
                f"{self.files[row]} is {_sides(shape)} pixels but {self.files[first]} is {_sides(wanted)}; "
                "set data.size"
            )

    def streamed(self, rows: Tensor, workers: int) -> StreamedSplit:
        """The samples of ``rows``, decoded anew each time."""
        samples = _Samples(self, int(rows[0]))
        return StreamedSplit(BatchReader(samples, _together, self.where), rows=rows, known=self.known, workers=workers)


class _Samples:
    """A pool of files, sample by sample: the image, and what is read along with it."""

    def __init__(self, pool: Decoded, first: int) -> None:
        self._pool = pool
        self._first = first, pool.sample(first)[0].shape

    def __len__(self) -> int:
        return len(self._pool)

    def __getitem__(self, row: int) -> tuple[Tensor, ...]:
        sample = self._pool.sample(row)
        self._pool.check_size(row, sample[0].shape, *self._first)
        return sample


def _together(samples: list[tuple[Tensor, ...]]) -> tuple[Tensor, Target]:
    image, *read = (torch.stack(parts) for parts in zip(*samples, strict=True))
    return image, read[0] if read else None


def form_of(spec: DataSpec) -> Format:
    """What every image of a set becomes."""
    return Format(0, spec.channels, spec.white, spec.background, spec.geometry)


def completed(form: Format, files: Sequence[Path]) -> Format:
    """``form`` with what it leaves open as ``files`` have it: grey where every one is grey, and what white is.

    Headers alone are read, but for images of more than 8 bits where ``form`` does not say what white is.
    """
    headers = [(path, *header(path)) for path in files]
    deep = [path for path, _, is_deep in headers if is_deep]
    if not form.channels:
        form = replace(form, channels=1 if all(grey for _, grey, _ in headers) else 3, inferred=True)
    if not form.white and deep:
        found = [(*largest_value(path), path) for path in deep]
        floating = {kind for _, kind, _ in found}
        if len(floating) > 1:
            raise DataError(f"{deep[0].parent}: whole and floating-point numbers side by side; keep one kind of image")
        largest, kind, example = max(found, key=lambda entry: entry[0])
        form = replace(form, white=white_of(largest, kind, example))
    return form


def _sides(shape: torch.Size) -> str:
    return f"{shape[-1]}×{shape[-2]}"
