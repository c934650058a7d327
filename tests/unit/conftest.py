"""A tiny Llama and a tiny BERT, exported to both formats once, and ways to break what parity is to look at."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from support.checkpoints import tiny_bert, tiny_llama
from support.encoder_checkpoints import tiny_encoder

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.compress import Candidate, CompressOptions, compress
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.model import EncoderSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers import import_checkpoint, reference_points
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, lower_onnx
from exporter.parity import ParityOptions, ParityReport, Subjects, check_parity
from exporter.progress import NoProgress

BITS = 8


@dataclass(frozen=True)
class Built:
    """A checkpoint and everything that an export makes of it."""

    subjects: Subjects
    folder: Path

    @property
    def hub(self) -> Hub:
        assert self.subjects.hub is not None
        return self.subjects.hub

    @property
    def compressed(self) -> Hub:
        assert self.subjects.compressed is not None
        return self.subjects.compressed

    @property
    def tokenizer(self) -> Tokenizer:
        return self.subjects.tokenizer

    def only(self, *kept: str) -> Subjects:
        """The subjects without those that aren't named."""
        absent = {"checkpoint", "hub", "compressed"} - set(kept)
        artifacts = {form: path for form, path in self.subjects.artifacts.items() if form.format in kept}
        return replace(self.subjects, artifacts=artifacts, **dict.fromkeys(absent))


def build(checkpoint: Path, folder: Path, bits: int = BITS) -> Built:
    opened = open_checkpoint(checkpoint)
    hub = import_checkpoint(opened)
    names = {weight.name for weight in hub.weights}
    candidates = [
        Candidate(name, tuple(v.shape.numpy()), v.const_value.nbytes, name in names, _loader(v))
        for name, v in hub.model.graph.initializers.items()
    ]
    compressed = apply_palettes(hub, compress(candidates, CompressOptions(bits, 64), NoProgress()).palettes)
    folder.mkdir()
    onnx = lower_onnx(compressed, folder, OnnxOptions())
    coreml = lower_coreml(compressed, folder / "tiny.mlpackage", CoreMLOptions())
    subjects = Subjects(
        task=hub.task,
        context=hub.spec.context,
        tokenizer=load_tokenizer(opened),
        checkpoint=opened.root,
        hub=hub,
        compressed=compressed,
        artifacts={PORTABLE: onnx.path, FLEXIBLE: coreml.path},
        reference_points=reference_points(hub),
        scores=hub.spec.scores if isinstance(hub.spec, EncoderSpec) else None,
    )
    return Built(subjects, folder)


@pytest.fixture(scope="session")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("parity-llama")
    return build(tiny_llama(folder / "checkpoint", hidden_size=48, head_dim=12), folder / "export")


@pytest.fixture(scope="session")
def wide_llama(tmp_path_factory: pytest.TempPathFactory) -> Built:
    """With heads as wide as the ONNX form for phones takes them."""
    folder = tmp_path_factory.mktemp("parity-wide-llama")
    return build(tiny_llama(folder / "checkpoint", hidden_size=64, head_dim=16), folder / "export")


@pytest.fixture(scope="session")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Built:
    folder = tmp_path_factory.mktemp("parity-bert")
    return build(tiny_bert(folder / "checkpoint"), folder / "export")


@pytest.fixture(scope="session")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Built]:
    """(family, head, **configuration) → a tiny encoder of that kind, exported once."""
    made: dict[str, Built] = {}

    def build_once(family: str, head: str, **settings: Any) -> Built:
        key = repr((family, head, settings))
        if key not in made:
            folder = tmp_path_factory.mktemp("parity-encoder")
            made[key] = build(tiny_encoder(folder / "checkpoint", family, head, **settings), folder / "export")
        return made[key]

    return build_once


@pytest.fixture(scope="session")
def quick() -> Callable[..., ParityReport]:
    """Parity on a quarter of the built-in prompts, single-threaded."""

    def run(subjects: Subjects, **options: Any) -> ParityReport:
        settings = {"depth": "quick", "bits": BITS, "threads": 1, "max_prompts": 24, **options}
        return check_parity(subjects, ParityOptions(**settings))

    return run


def with_tensor(hub: Hub, name: str, change: Callable[[np.ndarray], np.ndarray]) -> Hub:
    """The hub with another array for the initializer `name`."""
    model = hub.model.clone()
    value = model.graph.initializers[name]
    assert value.const_value is not None
    value.const_value = ir.tensor(np.ascontiguousarray(change(value.const_value.numpy())), name=name)
    return replace(hub, model=model)


def rewired(hub: Hub, change: Callable[[dict[str, ir.Node]], None]) -> Hub:
    """The hub after `change` has edited its nodes, by name of their first output."""
    model = hub.model.clone()
    change({node.outputs[0].name or "": node for node in model.graph})
    return replace(hub, model=model)


@pytest.fixture(scope="session")
def breaking() -> tuple[Callable[..., Hub], Callable[..., Hub]]:
    """(`with_tensor`, `rewired`): conftest modules can't be imported."""
    return with_tensor, rewired


def _loader(value: ir.Value) -> Callable[[slice], np.ndarray]:
    tensor = value.const_value
    assert tensor is not None
    return lambda rows: tensor.numpy()[rows].astype(np.float32)
