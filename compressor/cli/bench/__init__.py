"""``compressor bench``: which of several ONNX files is faster, by how much, and how sure that is."""
