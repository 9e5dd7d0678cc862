"""Writing an ONNX graph: its builder, and what many layers and functions write alike."""
