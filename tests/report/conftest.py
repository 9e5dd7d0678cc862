"""One finished run, and what is known of it, for every test that only looks at it."""

from __future__ import annotations

import pytest
from sample_run import sample_run

from compressor.report.gather import Facts, gather
from compressor.search.run_folder import RunFolder


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    return sample_run(tmp_path_factory.mktemp("report") / "run")


@pytest.fixture(scope="session")
def sample(run: RunFolder) -> Facts:
    return gather(run)
