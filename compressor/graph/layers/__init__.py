"""torch's own layers, a file for each family: capture, shape, cost, channels, and ONNX both ways, in one place.

``table`` gathers them; the engines ask it by class, by operator of ``torch.export``, and by ONNX operator.
"""
