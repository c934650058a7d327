"""A reference runtime for Core ML ML Programs that works on any machine.

It reads the saved `.mlpackage` back from disk (manifest, protobuf specification, weight file), with a reader of its own
for everything that a package stores, and runs the MIL program op by op in torch, rounding to fp16 after each op.
"""

from __future__ import annotations

from exporter.runners.mil.description import Feature
from exporter.runners.mil.model import MilModel, MilState, load_mlpackage

__all__ = ["Feature", "MilModel", "MilState", "load_mlpackage"]
