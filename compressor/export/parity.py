"""Parity as programs outside import it; it is a measurement, and stands in ``compressor.measure.parity``."""

from compressor.measure.parity import Parity, numeric_parity

__all__ = ["Parity", "numeric_parity"]
