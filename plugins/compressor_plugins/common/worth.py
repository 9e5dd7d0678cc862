"""When integer arithmetic is worth a try."""

WORTH_INTEGERS = 2e6
"""Multiply-accumulates of one sample from which it is; below, a call is over in microseconds, and the fixed costs of
integer kernels show (LeNet, 0.4 million: 0.55× the speed of float)."""
