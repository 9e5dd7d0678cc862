"""Reading ONNX files: the file as data, sizes that are computed in the graph, and a rule per operator."""
