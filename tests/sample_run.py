"""A finished run folder, made by hand in a second: real files and figures, no search."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import torch
from qualities import accuracy_of

from compressor.data.spec import DataSpec
from compressor.engine.apply import apply_edits
from compressor.engine.baseline import Baseline, save_baseline
from compressor.engine.candidate import OUTCOME, Constraints, Latency, Metrics, Outcome
from compressor.engine.plan import Edit, Phase, Plan
from compressor.engine.space import PhaseSpec, PluginUse
from compressor.engine.trial import WRITTEN
from compressor.evidence import Evidence
from compressor.export.emit import to_onnx
from compressor.files import write_atomic
from compressor.graph.capture import capture
from compressor.graph.cost import network_cost
from compressor.graph.network import Network
from compressor.graph.normalisation import Normalisation
from compressor.models import find
from compressor.plugin import sites_of
from compressor.recipe.model import Recipe
from compressor.registry import make
from compressor.search.executor import TRIAL, TrialSpec
from compressor.search.result import Candidate, Checks, Counts, RunResult, Verdict
from compressor.search.run_folder import RunFolder
from compressor.stored import digests_of
from compressor.task import Quality

HOSTILE = "<script>alert('x')</script> & \x1b[31mred"
"""A name nobody should obey."""


def network() -> Network:
    """The digits network, untrained, from a fixed seed."""
    entry = find("digits-cnn")
    torch.manual_seed(0)
    return capture(entry.build(), entry.input_shape, source="digits-cnn")


def recipe() -> Recipe:
    phase = PhaseSpec("compress", (PluginUse("binarize"),))
    return Recipe(data=DataSpec(name="digits"), phases=(phase,), constraints=Constraints(max_drop=0.02))


def plans() -> list[Plan]:
    """One more site binarized in each."""
    sites = sites_of(make("binarize"), network())
    edits = [Edit("binarize", site.path, {name: knob.default for name, knob in site.knobs.items()}) for site in sites]
    return [Plan((Phase("compress", tuple(edits[: count + 1])),)) for count in range(len(edits))]


def sample_run(path: Path, *, helped: bool = True, final: bool = True, best: bool = True) -> RunFolder:
    """A run folder at ``path`` as the search leaves it."""
    before = network()
    run = RunFolder.create(path, recipe(), before)
    baseline = _metrics(before, accuracy_of(0.951, 0.948, 0.948) if final else accuracy_of(0.951), Latency(11.2))
    save_baseline(Baseline(before, to_onnx(before), baseline), run.baseline)
    front = [_candidate(run, number, plan, baseline, final) for number, plan in enumerate(plans())]
    _screened(run, len(front), baseline)
    _failed(run, len(front) + 1)
    verdict = Verdict(helped, ("8.0× smaller",) if helped else ("slower, or not shown to be as fast: 0.90×",))
    result = RunResult(
        verdict=verdict,
        baseline=Candidate.of(baseline, Plan()),
        best=front[-1] if best else None,
        front=tuple(reversed(front)) if best else (),
        final=final,
        trials=Counts(complete=len(front), screened=1, failed=1),
        controls={"scratch": accuracy_of(0.91)} if best else {},
        seconds=83.0,
        normalisation=Normalisation((0.5,), (0.25,), origin="a test"),
    )
    run.write_result(result)
    if best:
        run.publish_best(front[-1].digest)
    return run


def _metrics(network: Network, accuracy: Quality, latency: Latency) -> Metrics:
    macs = network_cost(network).mac_count
    return Metrics(network.parameter_count, len(to_onnx(network)), macs, accuracy, latency)


def _candidate(run: RunFolder, number: int, plan: Plan, baseline: Metrics, final: bool) -> Candidate:
    after = network()
    apply_edits(after, plan.edits, Evidence([(torch.randn(8, *after.signature.input.shape), torch.arange(8))]))
    loss = 0.004 * number
    accuracy = accuracy_of(0.949 - loss, 0.946 - loss, 0.946 - loss) if final else accuracy_of(0.949 - loss)
    metrics = _metrics(after, accuracy, Latency(9.0, 1.24, 1.21, 1.27))
    folder = run.candidate(plan.digest)
    write_atomic(folder / "plan.json", plan.to_json())
    _begun(folder, number, plan)
    write_atomic(folder / "model.onnx", to_onnx(after))
    write_atomic(folder / "weights.safetensors", b"")
    files = digests_of(folder, WRITTEN)
    seconds = {"build": 0.1, "train": 4.0}
    outcome = Outcome("complete", metrics, {"max_drop": -0.01}, seconds=seconds, files=files)
    OUTCOME.write(folder / "outcome.json", outcome)
    write_atomic(folder / "final.json", "{}")
    checks = Checks(2e-7, True, True, "agrees", 9.4, 10.1, 120, files["model.onnx"]) if final else None
    return Candidate.of(metrics, plan, digest=plan.digest, trial=number, checks=checks)


def _begun(folder: Path, number: int, plan: Plan) -> None:
    spec = TrialSpec(plan=plan, number=number, seed=0)
    TRIAL.write(folder / "trial.json", spec)


def _screened(run: RunFolder, number: int, baseline: Metrics) -> None:
    folder = run.candidate("0" * 12)
    _begun(folder, number, Plan())
    write_atomic(folder / "plan.json", Plan().to_json())
    outcome = Outcome("screened", replace(baseline, size_bytes=9000), {"max_size": 0.2}, "max_size overstepped by 0.2")
    OUTCOME.write(folder / "outcome.json", outcome)


def _failed(run: RunFolder, number: int) -> None:
    folder = run.candidate("f" * 12)
    _begun(folder, number, Plan())
    outcome = Outcome("failed", reason=f"BrokenPromise: {HOSTILE}")
    OUTCOME.write(folder / "outcome.json", outcome)
