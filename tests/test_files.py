"""A file is whole or absent."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from compressor.files import is_machine_s, write_atomic


def test_writes_text_and_bytes(tmp_path: Path) -> None:
    write_atomic(tmp_path / "deep" / "a.txt", "ä")
    write_atomic(tmp_path / "deep" / "b.bin", b"\x00")
    assert (tmp_path / "deep" / "a.txt").read_text() == "ä"
    assert (tmp_path / "deep" / "b.bin").read_bytes() == b"\x00"


def test_a_failing_writer_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_atomic(tmp_path / "a", "old")

    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left") as caught:
        write_atomic(tmp_path / "a", "new")
    assert is_machine_s(caught.value)
    assert (tmp_path / "a").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]
