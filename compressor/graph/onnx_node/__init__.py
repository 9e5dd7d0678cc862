"""One operator of an ONNX file, as the rules see it that read it."""
