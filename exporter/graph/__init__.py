"""The ONNX graph that all stages work on: its type `Hub`, a builder, palettes, the LutToDense function and passes."""
