from __future__ import annotations

import hashlib
import io
import os
import sys
import tarfile
import time
from pathlib import Path

import pytest

from compressor.data.command import run_quietly
from compressor.data.sources import DebianPackage, LocalFolder, NpmPackage, OfficialAddress, Unavailable


def tool(folder: Path, name: str, script: str) -> None:
    """A program called ``name`` that runs a shell script."""
    folder.mkdir(exist_ok=True)
    path = folder / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def archive(path: Path, files: dict[str, bytes]) -> str:
    """A packed tar archive; its SHA-256."""
    with tarfile.open(path, "w:gz") as output:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            output.addfile(member, io.BytesIO(content))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def bin_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}/usr/bin{os.pathsep}/bin")
    return folder


def test_a_folder_is_there_or_not(tmp_path: Path) -> None:
    assert LocalFolder(tmp_path).provide(tmp_path) == tmp_path
    with pytest.raises(Unavailable, match="no such folder"):
        LocalFolder(tmp_path / "none").provide(tmp_path)


def test_an_npm_package_is_packed_checked_and_unpacked(tmp_path: Path, bin_folder: Path) -> None:
    stored = tmp_path / "stored.tgz"
    content = {"package/data/a": b"A", "package/other/b": b"B", "package/data/../../evil": b"E", "/etc/evil": b"E"}
    digest = archive(stored, content)
    tool(bin_folder, "npm", f'cp {stored} "$(pwd)/thing-1.0.tgz"')
    work = tmp_path / "work"
    work.mkdir()
    folder = NpmPackage("thing", "1.0", digest, "package/data").provide(work)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == {"a": b"A"}
    assert not (tmp_path / "evil").exists()


def test_an_npm_package_with_another_checksum_is_not_unpacked(tmp_path: Path, bin_folder: Path) -> None:
    stored = tmp_path / "stored.tgz"
    archive(stored, {"package/data/a": b"A"})
    tool(bin_folder, "npm", f'cp {stored} "$(pwd)/thing-1.0.tgz"')
    work = tmp_path / "work"
    work.mkdir()
    with pytest.raises(Unavailable, match="checksum"):
        NpmPackage("thing", "1.0", "0" * 64, "package/data").provide(work)
    assert not (work / "unpacked").exists()


def test_a_missing_or_failing_tool_is_a_reason(
    tmp_path: Path, bin_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tool(bin_folder, "apt-get", "echo 'E: Unable to locate package thing' >&2; exit 100")
    tool(bin_folder, "dpkg-deb", "exit 0")
    with pytest.raises(Unavailable, match="Unable to locate package thing"):
        DebianPackage("thing", "usr").provide(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Unavailable, match="apt-get is not installed"):
        DebianPackage("thing", "usr").provide(tmp_path)
    with pytest.raises(Unavailable, match="npm is not installed"):
        NpmPackage("thing", "1.0", "0" * 64, "package").provide(tmp_path)


def test_a_debian_package_is_unpacked_without_installing(tmp_path: Path, bin_folder: Path) -> None:
    tool(bin_folder, "apt-get", "touch thing_1.0_all.deb")
    tool(bin_folder, "dpkg-deb", 'mkdir -p "$3/usr/share" && echo "$1" > "$3/usr/share/file"')
    folder = DebianPackage("thing", "usr/share").provide(tmp_path)
    assert (folder / "file").read_text() == "-x\n"


def test_an_address_that_does_not_answer_is_a_reason(tmp_path: Path) -> None:
    with pytest.raises(Unavailable, match=r"file\.gz was not downloaded"):
        OfficialAddress("http://127.0.0.1:9/", {"file.gz": "0" * 32}).provide(tmp_path)


def test_a_program_that_takes_too_long_is_ended_with_its_children(tmp_path: Path, bin_folder: Path) -> None:
    tool(bin_folder, "slow", f"(sleep 2; touch {tmp_path}/late) & sleep 600")
    assert run_quietly(["slow"], tmp_path, 0.3) == "slow took longer than 0 s"
    time.sleep(2.2)
    assert not (tmp_path / "late").exists()


def test_a_program_is_quiet_whatever_it_says(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run_quietly([sys.executable, "-c", "print('hello')"], tmp_path, 20) == ""
    complaint = run_quietly([sys.executable, "-c", "raise SystemExit('first\\nlast')"], tmp_path, 20)
    assert complaint.endswith("(last)")
    assert capfd.readouterr() == ("", "")
