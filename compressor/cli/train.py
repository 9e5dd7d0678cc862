"""``compressor train``: a network of the zoo on a data set, kept as a self-contained file."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from compressor.cli.options import JsonFlag
from compressor.cli.output import CommandOutput, output
from compressor.errors import InputError
from compressor.report import text

if TYPE_CHECKING:
    from compressor.data.dataset import Data
    from compressor.data.spec import DataSpec
    from compressor.graph.network import Network
    from compressor.task import Metric
    from compressor.train.history import EpochReport, History
    from compressor.train.spec import TrainingSpec


class Optimizer(StrEnum):
    adam = "adam"
    adamw = "adamw"
    sgd = "sgd"


class PrecisionChoice(StrEnum):
    float32 = "float32"
    bfloat16 = "bfloat16"


class Schedule(StrEnum):
    constant = "constant"
    cosine = "cosine"
    one_cycle = "one-cycle"


@dataclass(frozen=True)
class _Trained:
    """What the command has to tell."""

    network: Network
    data: Data
    history: History
    validation: float
    test: float | None


def train(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A network of 'compressor models'.", show_default=False)],
    data: Annotated[
        str,
        typer.Option(
            "--data",
            metavar="D",
            help="A named set, a folder of images, an .npz, .csv or .parquet file, or package.module:function.",
            show_default=False,
        ),
    ],
    out_file: Annotated[
        Path, typer.Option("--out", metavar="FILE", help="Where the trained network goes.", show_default=False)
    ],
    epochs: Annotated[int, typer.Option("--epochs", min=0)] = 10,
    batch: Annotated[int, typer.Option("--batch", min=1)] = 128,
    lr: Annotated[float, typer.Option("--lr", min=0.0)] = 2e-3,
    optimizer: Annotated[Optimizer, typer.Option("--optimizer")] = Optimizer.adam,
    schedule: Annotated[Schedule, typer.Option("--schedule")] = Schedule.cosine,
    weight_decay: Annotated[float, typer.Option("--weight-decay", min=0.0)] = 0.0,
    shift: Annotated[int, typer.Option("--shift", min=0, help="Shift images by up to this many pixels.")] = 0,
    rotate: Annotated[float, typer.Option("--rotate", min=0.0, help="Turn images by up to this many degrees.")] = 0.0,
    flip: Annotated[bool, typer.Option("--flip", help="Mirror every other image.")] = False,
    precision: Annotated[PrecisionChoice, typer.Option("--precision")] = PrecisionChoice.float32,
    seed: Annotated[int, typer.Option("--seed", help="Seeds the weights and the training.")] = 0,
    limit: Annotated[int, typer.Option("--limit", min=0, help="Training samples used; 0 means all.")] = 0,
    fallback: Annotated[
        bool, typer.Option("--fallback", help="Take the embedded digits where a named set cannot be had.")
    ] = False,
    download: Annotated[
        bool, typer.Option("--download", help="Other programs (apt-get, npm) may be run to fetch a named set.")
    ] = False,
    test: Annotated[bool, typer.Option("--test", help="Also score on the test split, once, at the end.")] = False,
    force: Annotated[bool, typer.Option("--force", help="Overwrite the file.")] = False,
    as_json: JsonFlag = False,
) -> None:
    """Train a network of the zoo and keep it as a self-contained torch.export archive."""
    with output(as_json) as out:
        from compressor.graph.pt2 import write_pt2
        from compressor.train.spec import Augmentation, TrainingSpec

        _check_place(out_file, force)
        spec = TrainingSpec(
            epochs=epochs,
            batch=batch,
            lr=lr,
            optimizer=optimizer.value,
            schedule=schedule.value,
            weight_decay=weight_decay,
            augmentation=Augmentation(flip=flip, shift=shift, rotate=rotate),
            precision=precision.value,
        )
        _check_ranges(spec, seed)
        source = data_spec(data, limit, fallback, download)
        checkpoints = _checkpoints(out_file, name, source, spec, seed)
        with _held(checkpoints):
            trained = _train(name, source, spec, seed, test, checkpoints, out)
            trained.network.know(trained.data.normalisation(f"kept with the model, trained on {trained.data.name}"))
            write_pt2(trained.network, out_file)
        shutil.rmtree(checkpoints, ignore_errors=True)
        if as_json:
            out.document(_as_data(trained, name, out_file))
        else:
            _show(trained, name, out_file, out)


def _check_ranges(spec: TrainingSpec, seed: int) -> None:
    """What a recipe's keys may be, the options may be. Raises ``InputError``."""
    from compressor.recipe.limits import AUGMENTATION, SEARCH, TRAINING, outside

    wrong = [*outside(spec, (), TRAINING), *outside(spec.augmentation, (), AUGMENTATION)]
    if seed_is_wrong := SEARCH["seed"].complaint(seed):
        wrong.append((("seed",), seed_is_wrong))
    for at, complaint in wrong:
        raise InputError(f"--{str(at[-1]).replace('_', '-')}: {complaint}")


def data_spec(source: str, limit: int = 0, fallback: bool = False, download: bool = False) -> DataSpec:
    """What ``--data`` means."""
    from compressor.data.open import spec_of

    return replace(spec_of(source), limit=limit, fallback=fallback, download=download)


def _check_place(file: Path, force: bool) -> None:
    """Find out before the training whether the file can be written after it."""
    if file.is_dir():
        raise InputError(f"--out {file}: is a folder; name a file")
    if file.exists() and not force:
        raise InputError(f"--out {file}: exists already; choose another name, or overwrite it with --force")
    folder = file.absolute().parent
    folder.mkdir(parents=True, exist_ok=True)
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise InputError(f"--out {file}: nothing can be written to {folder}: {error.strerror}") from None


def _checkpoints(out_file: Path, name: str, *what: Any) -> Path:
    """A folder beside the file that only this command uses."""
    digest = hashlib.sha256(repr((out_file.name, name, what)).encode()).hexdigest()[:8]
    return out_file.with_name(f"{name}-{digest}.checkpoints")


@contextmanager
def _held(checkpoints: Path) -> Iterator[None]:
    """The same command twice at once would take each other's time. Raises ``RunFolderError`` where it is at work."""
    from compressor.search.locks import exclusive

    checkpoints.mkdir(exist_ok=True)
    with exclusive(checkpoints / "lock"):
        try:
            yield
        finally:
            if not _kept(checkpoints):
                shutil.rmtree(checkpoints, ignore_errors=True)


def _kept(checkpoints: Path) -> bool:
    return any(checkpoints.glob("*.pt"))


def _train(
    name: str, spec: DataSpec, training: Any, seed: int, test: bool, checkpoints: Path, out: CommandOutput
) -> _Trained:
    import torch

    from compressor.data.load import load_data
    from compressor.graph.capture import capture
    from compressor.models import find
    from compressor.train.evaluate import evaluate
    from compressor.train.fit import fit

    entry = find(name)
    data = load_data(spec)
    out.note(
        f"data: {data.name} from {data.source}, {text.count(len(data.train))} samples for training, "
        f"{text.count(len(data.validation))} for validation"
    )
    for note in data.notes:
        out.note(f"note: {note}")
    if data.stand_in:
        out.note(f"note: {spec.title} could not be had; these figures are about {data.name}, not about it")
    torch.manual_seed(seed)
    network = capture(entry.build(), entry.input_shape, source=name)
    try:
        history = fit(
            network,
            data,
            training,
            seed=seed,
            progress=lambda report: out.note(_line(report, data.task.metric)),
            checkpoints=checkpoints,
        )
    except KeyboardInterrupt:
        if _kept(checkpoints):
            out.note(f"the same command goes on after the last epoch that was kept, in {checkpoints}")
        raise
    validation = evaluate(network, data, data.validation).quality
    tested = evaluate(network, data, data.open_test()).quality if test else None
    return _Trained(network, data, history, validation, tested)


def _line(report: EpochReport, metric: Metric) -> str:
    width = len(str(report.epochs))
    return (
        f"epoch {report.epoch:>{width}}/{report.epochs}: loss {report.train_loss:.4f}, "
        f"training {metric.text(report.train_quality)}, validation {metric.text(report.validation_quality)}, "
        f"{text.duration(report.seconds)}"
    )


def _as_data(trained: _Trained, name: str, file: Path) -> dict[str, Any]:
    return {
        "model": str(file),
        "network": name,
        "params": trained.network.parameter_count,
        "data": {"name": trained.data.name, "source": trained.data.source, "stand_in": trained.data.stand_in},
        trained.data.task.metric.name: {"validation": trained.validation, "test": trained.test},
        "epochs": [asdict(report) for report in trained.history.epochs],
        "stopped": trained.history.stopped,
        "seconds": trained.history.seconds,
        "device": trained.history.device,
    }


def _show(trained: _Trained, name: str, file: Path, out: CommandOutput) -> None:
    metric = trained.data.task.metric
    test = f", test {metric.text(trained.test)}" if trained.test is not None else ""
    out.line(
        f"{name}: validation {metric.text(trained.validation)}{test} on {trained.data.name} "
        f"after {text.duration(trained.history.seconds)} on {trained.history.device}"
    )
    if trained.history.stopped:
        out.line(f"Training ended early: {trained.history.stopped}.")
    out.line(f"{file} ({text.size(file.stat().st_size)})")
