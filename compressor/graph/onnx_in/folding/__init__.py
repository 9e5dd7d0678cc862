"""Constants computed from constants: weights that a file stores packed and lets the runtime unpack at load."""
