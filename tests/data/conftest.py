"""Every test of data has a cache of its own and no way to the network."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(autouse=True)
def cache(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("COMPRESSOR_DATA", str(folder))
    monkeypatch.setenv("COMPRESSOR_OFFLINE", "1")
    return folder
