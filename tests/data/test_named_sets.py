from __future__ import annotations

import logging
import os
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import torch
from samples import write_idx_set

from compressor.data import named
from compressor.data.catalogue import CATALOGUE, NamedSet
from compressor.data.idx import read_idx_split
from compressor.data.load import load_data
from compressor.data.sources import LocalFolder, OfficialAddress, Source, Unavailable
from compressor.data.spec import DataSpec
from compressor.errors import DataError


@dataclass(frozen=True)
class Download(Source):
    """A place that makes the files anew each time, and counts how often."""

    times: list[int] = field(default_factory=list)

    @property
    def about(self) -> str:
        return "far away"

    def provide(self, temporary: Path) -> Path:
        self.times.append(1)
        write_idx_set(temporary)
        return temporary


@dataclass(frozen=True)
class Closed(Source):
    @property
    def about(self) -> str:
        return "closed place"

    def provide(self, temporary: Path) -> Path:
        raise Unavailable("on holiday")


def toy(monkeypatch: pytest.MonkeyPatch, *sources: Source, online: bool = True) -> NamedSet:
    entry = NamedSet(
        "toy", (1, 6, 6), {"train": 40, "test": 20}, ("a", "b", "c", "d"), read_idx_split, sources, "idx files"
    )
    monkeypatch.setitem(CATALOGUE, "toy", entry)
    if online:
        monkeypatch.setenv("COMPRESSOR_OFFLINE", "0")
    return entry


def test_a_download_is_kept_and_not_repeated(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    place = Download()
    toy(monkeypatch, Closed(), place)
    first = load_data(DataSpec(name="toy"))
    second = load_data(DataSpec(name="toy"))
    assert len(place.times) == 1
    assert first.source == second.source == "far away"
    assert torch.equal(first.train.images, second.train.images)
    assert len(second.open_test()) == 20
    assert len(place.times) == 1
    assert sorted(path.name for path in (cache / "toy").iterdir()) == ["test.safetensors", "train.safetensors"]


def test_the_test_files_of_a_folder_are_not_read_before_the_test_is_opened(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    write_idx_set(tmp_path)
    hidden = tmp_path / "t10k-images-idx3-ubyte.gz"
    content = hidden.read_bytes()
    hidden.unlink()
    toy(monkeypatch, LocalFolder(tmp_path))
    data = load_data(DataSpec(name="toy"))
    assert data.source == str(tmp_path)
    hidden.write_bytes(content)
    assert len(data.open_test()) == 20


def test_files_put_into_the_cache_folder_are_found_first(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    place = Download()
    toy(monkeypatch, place)
    write_idx_set(cache / "toy", packed=False)
    assert load_data(DataSpec(name="toy")).source == str(cache / "toy")
    assert place.times == []


def test_a_damaged_cache_is_healed_from_the_source(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    place = Download()
    toy(monkeypatch, place)
    before = load_data(DataSpec(name="toy"))
    stored = cache / "toy" / "train.safetensors"
    os.truncate(stored, stored.stat().st_size // 2)
    after = load_data(DataSpec(name="toy"))
    assert torch.equal(before.train.images, after.train.images)
    assert len(place.times) == 2
    load_data(DataSpec(name="toy"))
    assert len(place.times) == 2


def test_a_damaged_source_is_told_and_the_next_one_serves(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_idx_set(tmp_path, train=39)
    toy(monkeypatch, LocalFolder(tmp_path), Download())
    with caplog.at_level(logging.WARNING):
        assert load_data(DataSpec(name="toy")).source == "far away"
    assert "(39, 1, 6, 6) instead of (40, 1, 6, 6)" in caplog.text


def test_where_nothing_serves_one_line_says_what_was_tried_and_what_to_do(
    monkeypatch: pytest.MonkeyPatch, cache: Path
) -> None:
    toy(monkeypatch, Closed(), LocalFolder(cache / "elsewhere"))
    with pytest.raises(DataError) as caught:
        load_data(DataSpec(name="toy"))
    message = str(caught.value)
    assert "closed place: on holiday" in message
    assert "no such folder" in message
    assert f"Put idx files into {cache / 'toy'}" in message
    assert "data.fallback = true" in message
    assert "\n" not in message


def test_offline_means_no_download(monkeypatch: pytest.MonkeyPatch) -> None:
    place = Download()
    toy(monkeypatch, place, online=False)
    with pytest.raises(DataError, match="not tried, COMPRESSOR_OFFLINE is set"):
        load_data(DataSpec(name="toy"))
    assert place.times == []


@dataclass(frozen=True)
class Program(Download):
    program = "sh"
    megabytes = 3


def test_another_program_is_run_only_where_that_is_allowed(
    monkeypatch: pytest.MonkeyPatch, cache: Path, caplog: pytest.LogCaptureFixture
) -> None:
    place = Program()
    toy(monkeypatch, place)
    with pytest.raises(DataError, match=r"it would run sh; allow that with data\.download = true"):
        load_data(DataSpec(name="toy"))
    assert place.times == []
    load_data(DataSpec(name="toy", download=True))
    assert place.times == [1]
    assert f"fetching toy (about 3 MB) from far away into {cache / 'toy'}, with sh; nothing is installed" in caplog.text
    monkeypatch.setenv("COMPRESSOR_DATA", str(cache / "other"))
    monkeypatch.setenv("COMPRESSOR_DOWNLOAD", "1")
    load_data(DataSpec(name="toy"))
    assert place.times == [1, 1]


@pytest.mark.parametrize("name", ["fashion-mnist", "cifar-10", "cifar-100"])
def test_a_stand_in_has_the_wanted_shape_and_says_what_it_is(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(named, "find_split", _nowhere)
    with pytest.raises(DataError):
        load_data(DataSpec(name=name))
    data = load_data(DataSpec(name=name, fallback=True))
    assert data.stand_in
    assert data.source.startswith("STAND-IN")
    assert name in data.source
    assert data.name == f"digits (stand-in for {name})"
    assert data.input_shape == CATALOGUE[name].shape
    assert len(data.open_test()) == 297
    assert data.open_test().images.shape[1:] == data.input_shape


def _nowhere(entry: NamedSet, split: str, download: bool) -> None:
    raise DataError(f"{entry.name} cannot be had")


def test_digits_are_always_there() -> None:
    data = load_data(DataSpec(name="digits"))
    assert not data.stand_in
    assert (len(data.train), len(data.validation), len(data.open_test())) == (1350, 150, 297)
    assert data.input_shape == (1, 8, 8)
    assert data.classes == tuple("0123456789")
    assert int(data.train.images.max()) == 255


def test_an_unknown_name_gets_the_nearest_one() -> None:
    with pytest.raises(DataError, match="did you mean 'fashion-mnist'"):
        load_data(DataSpec(name="fashon-mnist"))


def test_every_published_set_is_described_completely() -> None:
    assert set(CATALOGUE) == {"fashion-mnist", "mnist", "cifar-10", "cifar-100"}
    for name, entry in CATALOGUE.items():
        assert entry.name == name
        assert len(entry.classes) == len(set(entry.classes)) == (100 if name == "cifar-100" else 10)
        assert isinstance(entry.sources[0], LocalFolder)
        assert isinstance(entry.sources[-1], OfficialAddress)
