"""Every test runs on one thread, offline, from a fixed seed; property-based tests on the same examples every time."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
import torch
from hypothesis import HealthCheck, settings

from compressor import registry

torch.set_num_threads(1)
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile("repeatable")


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(0)


@pytest.fixture(scope="session")
def site_packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where pip has installed the third-party plugin: offline, without its dependencies, which are here already."""
    target = tmp_path_factory.mktemp("site-packages")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--no-index", "--no-deps", "--no-build-isolation"]
    package = Path(__file__).parent / "third_party_plugin"
    subprocess.run([*pip, "--disable-pip-version-check", "--target", target, package], check=True)
    return target


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Puts a distribution on the search path: ``install("dist", {"entry": "module:Class"}, source, "module")``."""

    def put(
        distribution: str,
        entries: dict[str, str],
        source: str = "",
        module: str = "",
        version: str = "1.0",
        group: str = registry.GROUP,
    ) -> None:
        folder = tmp_path / f"{distribution}.path"
        info = folder / f"{distribution}-{version}.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: {version}\n")
        lines = "".join(f"{name} = {value}\n" for name, value in entries.items())
        (info / "entry_points.txt").write_text(f"[{group}]\n{lines}")
        if module:
            (folder / f"{module}.py").write_text(source)
            monkeypatch.delitem(sys.modules, module, raising=False)
        monkeypatch.syspath_prepend(str(folder))

    for kind in (registry.PLUGINS, registry.PILOTS):
        kind.forget()
    yield put
    for kind in (registry.PLUGINS, registry.PILOTS):
        kind.forget()
