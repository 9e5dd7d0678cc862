"""Real Ray: workers on nodes of their own, killed, stopped, added; nothing of the run folder is reachable for them."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest

from compressor.engine.plan import Edit, Phase, Plan
from compressor.errors import InputError, WorkerLost
from compressor.recipe.read import write_recipe
from compressor.search.driver import run_search
from compressor.search.executor import Job, Question, TrialSpec
from compressor.search.questions import Unchanged, Use
from compressor.search.remote import on_ray
from compressor.search.remote.on_ray import RayExecutor
from compressor.search.remote.toolkit import Toolkit
from compressor.search.run_folder import RunFolder
from compressor.train.spec import TrainingSpec

ray = pytest.importorskip("ray", reason="needs the extra compressor[ray]")

TRAINING = TrainingSpec(epochs=1, function="search_support:waiting_training")
JOB = Job(TrialSpec(Plan((Phase("p", (Edit("binarize", "1"),), TRAINING),)), number=7, seed=0))


@pytest.fixture
def cluster(hold: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """A head without processors, and a node with one."""
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_worker_niceness", "0")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    made.add_node(num_cpus=1)
    ray.init(address=made.address, log_to_driver=False, logging_level="error")
    yield made
    ray.shutdown()
    made.shutdown()


@pytest.fixture
def far(run: RunFolder) -> RunFolder:
    """The run, with two workers."""
    recipe = run.recipe()
    write_recipe(replace(recipe, search=replace(recipe.search, jobs=2)), run.path / "recipe.toml")
    return run


def soon(condition: Callable[[], Any], seconds: float = 120.0) -> Any:
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.1)
    return found


def busy_host() -> psutil.Process | None:
    """The actor that runs a trial now."""
    for process in psutil.process_iter(["cmdline"]):
        if any("ray::Host.run" in word for word in process.info["cmdline"] or ()):
            return process
    return None


def test_workers_join_are_killed_fall_silent_and_nothing_is_lost(cluster: Any, far: RunFolder, hold: Path) -> None:
    with closing(RayExecutor(far, far.recipe(), "ray", silence=5.0)) as executor:
        assert executor.slots == 1
        assert executor.ask(Question(Unchanged((Use("binarize", {}, (), ()),)))).result().loss > 0
        far.path.rename(far.path.with_name("away"))  # no worker can look there
        far.path.mkdir()

        hold.touch()
        running = executor.submit(JOB)
        soon(hold.with_name("reached").exists)
        cluster.add_node(num_cpus=1)
        soon(lambda: executor.slots == 2)
        hold.unlink()
        assert executor.submit(JOB).result().outcome.status == "complete"
        result = running.result()
        assert result.outcome.status == "complete"
        assert set(result.files) == {"log.txt", "plan.json", "weights.safetensors", "model.onnx"}

        hold.touch()
        hold.with_name("reached").unlink()
        killed = executor.submit(JOB)
        soon(hold.with_name("reached").exists)
        host = soon(busy_host)
        family = host.children(recursive=True)
        host.send_signal(signal.SIGKILL)
        with pytest.raises(WorkerLost, match="a worker was lost"):
            killed.result()
        _, alive = psutil.wait_procs(family, timeout=60)
        assert not alive

        soon(lambda: executor.slots == 2)
        stopped = executor.submit(JOB)
        host = soon(busy_host)
        host.send_signal(signal.SIGSTOP)
        with pytest.raises(WorkerLost, match="not been heard of"):
            stopped.result()
        host.send_signal(signal.SIGCONT)
        hold.unlink()
        assert executor.submit(JOB).result().outcome.status == "complete"


def test_a_whole_run_on_ray_and_the_driver_writes_it(cluster: Any, far: RunFolder) -> None:
    def make(run: RunFolder, recipe: Any) -> RayExecutor:
        return RayExecutor(run, recipe, "ray")

    finished = run_search(far, executor=make)
    assert finished.result is not None
    assert finished.result.final
    assert finished.result.trials.complete == 2
    for folder in far.path.glob("candidates/*"):
        assert far.outcome(folder.name) is not None
        assert (folder / "trial.json").exists()


def test_another_version_and_a_cluster_that_is_not_there(
    cluster: Any, far: RunFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(on_ray, "toolkit", lambda plugins: Toolkit((("compressor", "9.9 (ff)"),)))
    with pytest.raises(InputError, match=r"^a worker is refused: compressor 9\.9 \(ff\) here, .* there$"):
        RayExecutor(far, far.recipe(), "ray")
    ray.shutdown()
    with pytest.raises(InputError, match=r"^executor ray://127\.0\.0\.1:1: no Ray cluster answers"):
        RayExecutor(far, far.recipe(), "ray://127.0.0.1:1")
