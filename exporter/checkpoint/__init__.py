"""Opens a folder or hub id: configuration, lazy tensors, tokenizer files, licence and digest."""

from exporter.checkpoint.checkpoint import Checkpoint, Source
from exporter.checkpoint.opening import open_checkpoint
from exporter.checkpoint.sentence import SentenceModules
from exporter.checkpoint.tensors import TensorStore

__all__ = ["Checkpoint", "SentenceModules", "Source", "TensorStore", "open_checkpoint"]
