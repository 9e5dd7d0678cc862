"""Where the driver keeps what trials bring: one folder each, whole or without an ``outcome.json``."""

from __future__ import annotations

from pathlib import Path

from compressor.engine.candidate import OUTCOME
from compressor.engine.trial import clear
from compressor.errors import DamagedFileError
from compressor.files import write_atomic
from compressor.search.executor import TRIAL, Job, JobResult, TrialSpec
from compressor.search.packing import LOG
from compressor.search.run_folder import RunFolder
from compressor.stored import digest_of, digests_of


def begin(folder: Path, spec: TrialSpec) -> None:
    """Remove what an earlier attempt left, and write what is to be tried. Raises ``OSError``."""
    folder.mkdir(parents=True, exist_ok=True)
    clear(folder)
    TRIAL.write(folder / "trial.json", spec)


def keep(folder: Path, result: JobResult) -> None:
    """Write all files of a result, ``outcome.json`` last.

    Raises ``DamagedFileError`` where a file is not the one that the figures are about, ``OSError`` where there is no
    room; then nothing counts as kept.
    """
    for name, digest in result.outcome.files.items():
        if digest_of(result.files.get(name, b"")) != digest:
            raise DamagedFileError(f"{folder / name}: what came back from the worker is not what it wrote")
    for name, data in result.files.items():
        write_atomic(folder / Path(name).name, data)
    OUTCOME.write(folder / "outcome.json", result.outcome)


def keep_log(folder: Path, log: bytes) -> None:
    """Add what a trial without an outcome said."""
    if log:
        folder.mkdir(parents=True, exist_ok=True)
        with (folder / LOG).open("ab") as file:
            file.write(log)


def job_of(run: RunFolder, spec: TrialSpec) -> Job:
    """The trial with the files that it builds on. Raises ``DamagedFileError``."""
    if spec.kind != "scratch":
        return Job(spec)
    folder = run.candidate(spec.source)
    names = [*OUTCOME.read(folder / "outcome.json").files, "outcome.json"]
    digests_of(folder, names)
    return Job(spec, {name: (folder / name).read_bytes() for name in names})
