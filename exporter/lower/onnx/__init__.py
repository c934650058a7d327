"""Hub to a packed .onnx file."""
