"""Peak memory is that of the work, also of what it freed again."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from compressor.apart import apart
from compressor.measure.memory import with_peak

MIB = 1 << 20


@pytest.mark.skipif(sys.platform != "linux", reason="Linux alone counts")
def test_the_peak_is_that_of_the_work() -> None:
    def held(mebibytes: int) -> int:
        _, peak = apart(lambda: with_peak(lambda: float(np.ones(mebibytes * MIB // 8).sum())))
        assert peak is not None
        return peak

    small, large = held(16), held(64)
    assert 60 * MIB < large < 72 * MIB
    assert small < 24 * MIB
