"""What one network is put through, and what came of it, as plain data.

Every step ends in figures, in refusals with their reasons, or in a fault: an error that nobody raised on purpose, or a
number that is wrong.
"""

from __future__ import annotations

import functools
import time
import traceback
from collections import Counter
from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from compressor.errors import CompressorError, Refusal
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.graph.capture import capture
from compressor.graph.editor import Editor
from compressor.graph.network import Network
from compressor.graph.verify import EXACT_TOLERANCE, difference
from compressor.knobs import defaults
from compressor.measure.parity import numeric_parity
from compressor.plugin import Plugin, Promise, Refused, Site
from compressor.registry import discover, make
from compressor.task.classification import classes_of
from zoos.networks import Sample, build
from zoos.page import EXACT_ONNX, ROUNDINGS
from zoos.pruning import prune_half
from zoos.reasons import general

PLUGINS = sorted(found.name for found in discover() if found.own)
"""Every plugin that comes with the toolkit."""
GONE = "no such"
"""Begins the reason why a site does not apply that an earlier edit took away."""

Record = dict[str, Any]
T = TypeVar("T")


def check(name: str, seconds_per_plugin: float) -> Record:
    """Everything about one network. Steps that need what an earlier one did not give are left out.

    With ``seconds_per_plugin`` 0 sites are listed and not rewritten.
    """
    record: Record = {"name": name, "torch": torch.__version__, "seconds": {}}
    clock = _Clock(record["seconds"])
    sample = clock("build", lambda: build(name))
    record |= {"input": list(sample.shape), "parameters": sum(p.numel() for p in sample.module.parameters())}
    network = _step(record, "capture", clock, functools.partial(_captured, sample, record))
    if network is None:
        return record
    del sample
    images = torch.randn(3, *network.signature.input.shape)
    _step(record, "export", clock, lambda: _exported(network, images, record))
    evidence = _evidence(network)
    record["plugins"] = {}
    for plugin in PLUGINS:
        entry: Record = record["plugins"].setdefault(plugin, {})
        work = functools.partial(_rewritten, plugin, network, evidence, entry, seconds_per_plugin)
        _step(entry, "rewriting", clock, work, plugin)
    _step(record, "pruning", clock, lambda: record.__setitem__("pruned", prune_half(network, images)))
    return record


# --- capture and export ----------------------------------------------------------------------------------------------


def _captured(sample: Sample, record: Record) -> Network:
    network = capture(sample.module, sample.shape)
    x = torch.randn(3, *sample.shape)
    expected, found = _answer(sample.module, x), _answer(network.module, x)
    record["difference"] = float((expected - found).abs().max() / expected.abs().max())
    record["sensitivity"] = float((expected - expected.mean(0)).abs().max() / expected.abs().max())
    return network


@torch.no_grad()
def _answer(module: nn.Module, x: Tensor) -> Tensor:
    result: Tensor = module.eval()(x)
    return result


def _exported(network: Network, images: Tensor, record: Record) -> None:
    model = to_onnx(network)
    record["onnx_bytes"] = len(model)
    parity = numeric_parity(network, model, [images])
    record["onnx_error"] = parity.max_error
    if parity.max_error > EXACT_ONNX:
        record["rounding"] = _rounding(network, images)
        if not parity.ok and parity.max_error > ROUNDINGS * record["rounding"]:
            raise _WrongNumberError(f"ONNX Runtime differs by {parity.max_error:.2g}")


def _rounding(network: Network, images: Tensor) -> float:
    """How far single precision itself is off, by the same network in double precision; 0 where a leaf has none."""
    double = network.fork()
    double.module.double()
    try:
        own, exact = _answer(network.module, images), _answer(double.module, images.double())
    except RuntimeError:
        return 0.0
    return float((own - exact).abs().max() / exact.abs().max())


# --- rewrites --------------------------------------------------------------------------------------------------------


def _evidence(network: Network) -> Evidence:
    size = 8
    labels = torch.randint(0, classes_of(network), (size,))
    images = torch.randn(size, *network.signature.input.shape)
    return Evidence([(images, labels)])


def _rewritten(name: str, network: Network, evidence: Evidence, entry: Record, limit: float) -> None:
    """Every site of a plugin rewritten, one after the other on one copy, then held to what was promised."""
    plugin = make(name)
    places = list(plugin.sites(network))
    sites = [place for place in places if isinstance(place, Site)]
    entry["sites"] = len(sites)
    entry["refused"] = dict(Counter(general(place.reason) for place in places if isinstance(place, Refused)))
    if not sites or not limit:
        return
    work, declined, done = network.fork(), Counter[str](), 0
    end = time.process_time() + limit
    for index, site in enumerate(sites):
        if time.process_time() > end:
            entry["untried"] = len(sites) - index
            break
        try:
            _one(plugin, work, site, evidence)
            done += 1
        except Refusal as refusal:
            declined[general(refusal.reason)] += 1
        except Exception as error:  # a fault of the plugin: named, and the others go on
            entry.setdefault("faults", []).append(f"{site.path}: {_title(error)}")
            work = network.fork()
    entry["rewritten"] = done
    entry["declined"] = dict(declined)
    _hold(plugin, network, work, evidence, entry)


def _one(plugin: Plugin, work: Network, site: Site, evidence: Evidence) -> None:
    editor = Editor(work, evidence)
    plugin.rewrite(editor, site, defaults(site.knobs))
    editor.commit()


def _hold(plugin: Plugin, before: Network, after: Network, evidence: Evidence, entry: Record) -> None:
    """What is left runs, keeps an exact promise, and its file computes what it computes."""
    images = evidence.batches[0][0][:3]
    gap = difference(before, after, [images])
    broken = plugin.promise is Promise.EXACT and gap > EXACT_TOLERANCE
    if gap == float("inf") or (broken and gap > ROUNDINGS * _rounding(before, images)):
        entry.setdefault("faults", []).append(f"all together: {plugin.promise.value} promised, off by {gap:.2g}")
        return
    evidence.calibrate(after)
    model = to_onnx(after)
    parity = numeric_parity(after, model, [images])
    entry |= {"gap": gap, "onnx_bytes": len(model), "onnx_error": parity.max_error}
    if parity.stepwise:
        entry["stepwise"] = parity.ok
        if not parity.ok:
            entry.setdefault("faults", []).append("all together: ONNX Runtime computes other integers")
    elif not parity.ok and parity.max_error > ROUNDINGS * max(_rounding(before, images), _rounding(after, images)):
        entry.setdefault("faults", []).append(f"all together: ONNX Runtime differs by {parity.max_error:.2g}")


# --- steps -----------------------------------------------------------------------------------------------------------


class _WrongNumberError(Exception):
    """A figure that should agree and does not."""


class _Clock:
    """CPU seconds of every step, by name."""

    def __init__(self, into: dict[str, float]) -> None:
        self._into = into

    def __call__(self, name: str, action: Callable[[], T]) -> T:
        start = time.process_time()
        try:
            return action()
        finally:
            self._into[name] = round(time.process_time() - start, 2)


def _step(entry: Record, name: str, clock: _Clock, action: Callable[[], T], label: str = "") -> T | None:
    """The action's result; None where it raised: a refusal or a fault, which the entry keeps."""
    try:
        return clock(label or name, action)
    except CompressorError as error:
        entry[f"{name}_refused"] = str(error)
    except Exception as error:
        entry.setdefault("faults", []).append(f"{name}: {_title(error)}")
    return None


def _title(error: BaseException) -> str:
    """``IndexError: list index out of range (groups.py:62)``"""
    frames = traceback.extract_tb(error.__traceback__)
    last = next((frame for frame in reversed(frames) if "compressor" in frame.filename), frames[-1] if frames else None)
    where = f" ({last.filename.rpartition('/')[2]}:{last.lineno})" if last else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}{where}"
