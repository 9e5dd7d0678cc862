"""Parts of ``benchmarks/gpu.py``, the one short run on a machine with an accelerator."""
