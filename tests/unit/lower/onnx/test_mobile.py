"""The form for phones, against transformers: fused ops, padding on either side, the last token's logits."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
from numpy.typing import NDArray
from support.decoder_checkpoints import DECODERS, FIXED_WIDTH, tiny_decoder
from support.decoder_references import reference, reference_logits
from support.hub_sessions import in_pieces as hub_pieces
from support.hub_sessions import positions_of

from exporter.compress.kmeans import palettize
from exporter.graph.model import DecoderSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.passes.with_matrices import with_matrices
from exporter.lower.onnx.mobile import MobileOptions, MobileWeights, lower_mobile, mobile_problem
from exporter.runners.integers import exact_model, stored_matrices

CASES = [f"{family}/{variant}" for family, variants in DECODERS.items() for variant in variants]


class FileRun:
    """A written file, fed piece by piece."""

    def __init__(self, path: Path, spec: DecoderSpec, batch: int) -> None:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        cache = spec.cache
        self.cache = [np.zeros((batch, h, 0, cache.head_dim), np.float32) for h in cache.kv_heads for _ in range(2)]

    def feed(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
        sequence = ids.shape[1]
        feeds = {"input_ids": ids, "attention_mask": mask, "position_ids": positions_of(mask)[:, -sequence:]}
        names = [f"past_key_values.{i}.{kind}" for i in range(len(self.cache) // 2) for kind in ("key", "value")]
        logits, *self.cache = self._session.run(None, feeds | dict(zip(names, self.cache, strict=True)))
        return np.asarray(logits)


def hub_of(folder: Path) -> Hub:
    from exporter.importers.routes import ImportOptions, import_model
    from exporter.pipeline.opened import open_source

    model = open_source(str(folder), None)
    return import_model(model.checkpoint, ImportOptions(None, {}, False), folder, model.route).hubs[0]


def values_of(hub: Hub, name: str) -> NDArray[np.float32]:
    tensor = hub.model.graph.initializers[name].const_value
    assert tensor is not None
    return tensor.numpy().astype(np.float32)


def made(case: str, folder: Path) -> tuple[Path, Hub]:
    family, variant = case.split("/", 1)
    width = {} if family in FIXED_WIDTH else {"head_dim": 16}
    checkpoint = tiny_decoder(folder / "checkpoint", family, **(DECODERS[family][variant] | width))
    return checkpoint, hub_of(checkpoint)


def in_pieces(run: FileRun, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> NDArray[np.float32]:
    parts, start = [], 0
    for piece in PIECES:
        parts.append(run.feed(ids[:, start : start + piece], mask[:, : start + piece]))
        start += piece
    return np.concatenate(parts, 1)


PIECES = [10, 1, 1]
IDS = np.random.default_rng(0).integers(5, 60, (3, sum(PIECES)))
LEFT = np.ones_like(IDS)
LEFT[0, :4] = LEFT[1, :1] = 0  # as transformers pads


def assert_close(made: NDArray[np.float32], wanted: NDArray[np.float32]) -> None:
    assert made.shape == wanted.shape
    assert np.abs(made - wanted).max() < 2e-5 * np.abs(wanted).max()


@pytest.mark.parametrize("case", CASES)
def test_the_file_computes_what_transformers_computes(case: str, tmp_path: Path) -> None:
    checkpoint, hub = made(case, tmp_path)
    assert mobile_problem(hub) is None
    assert isinstance(hub.spec, DecoderSpec)
    artifact = lower_mobile(hub, tmp_path / "onnx", MobileOptions(external_data_above=0))
    assert sum(vars(artifact.accounting).values()) == artifact.stored_bytes
    wanted = reference_logits(reference(checkpoint), IDS, LEFT, PIECES)
    real = LEFT.astype(bool)
    got = in_pieces(FileRun(artifact.path, hub.spec, 3), IDS, LEFT)
    assert_close(got[real], wanted[real])
    last = FileRun(tmp_path / "onnx" / "model_last.onnx", hub.spec, 3)
    assert_close(last.feed(IDS[:, :10], LEFT[:, :10]), wanted[:, 9:10])
    assert_close(last.feed(IDS[:, 10:11], LEFT[:, :11]), wanted[:, 10:11])


def test_padding_may_be_on_the_right(tmp_path: Path) -> None:
    """As onnxruntime-genai pads: then each text goes on in the column behind its own last token."""
    checkpoint, hub = made("qwen3/plain", tmp_path)
    assert isinstance(hub.spec, DecoderSpec)
    artifact = lower_mobile(hub, tmp_path / "onnx", MobileOptions(external_data_above=0))
    model, lengths = reference(checkpoint), (6, 10, 9)
    mask = (np.arange(10) < np.array(lengths)[:, None]).astype(np.int64)
    run, last = FileRun(artifact.path, hub.spec, 3), FileRun(tmp_path / "onnx" / "model_last.onnx", hub.spec, 3)
    got, ends = run.feed(IDS[:, :10], mask), last.feed(IDS[:, :10], mask)
    after = run.feed(IDS[:, 10:11], np.concatenate([mask, np.ones((3, 1), np.int64)], 1))
    for row, length in enumerate(lengths):
        ids = np.concatenate([IDS[row, :length], IDS[row, 10:11]])[None]
        wanted = reference_logits(model, ids, np.ones_like(ids), [length, 1])[0]
        assert_close(got[row, :length], wanted[:length])
        assert_close(ends[row, 0], wanted[length - 1])
        assert_close(after[row, 0], wanted[length])


@pytest.mark.parametrize("case", ["llama/plain", "qwen2/plain", "qwen3/plain", "gemma/plain", "gpt_neox/plain"])
@pytest.mark.parametrize("weights", ["int8", "int4"])
def test_integers_stand_for_the_matrices_that_the_reader_decodes(
    case: str, weights: MobileWeights, tmp_path: Path
) -> None:
    """The file without rounded activations computes what the graph computes with the decoded matrices."""
    _, hub = made(case, tmp_path)
    assert isinstance(hub.spec, DecoderSpec)
    palettes = {w.name: palettize(values_of(hub, w.name), 4, 8) for w in hub.weights}
    compressed = apply_palettes(hub, palettes)
    path = lower_mobile(compressed, tmp_path / "onnx", MobileOptions(weights, external_data_above=0)).path
    matrices = stored_matrices(path, hub)
    assert matrices.keys() == palettes.keys()
    for name, palette in palettes.items():
        step = np.abs(palette.dense()).max() / (127 if weights == "int8" else 7)
        assert np.abs(matrices[name]() - palette.dense()).max() <= step / 2 * 1.001
    mask = np.ones_like(IDS)
    wanted = hub_pieces(with_matrices(hub, matrices), IDS, mask, PIECES)
    exact = tmp_path / "onnx" / "exact.onnx"
    ir.save(exact_model(path), exact)
    assert_close(in_pieces(FileRun(exact, hub.spec, 3), IDS, mask), wanted)
    rounded = in_pieces(FileRun(path, hub.spec, 3), IDS, mask)
    assert 0 < np.abs(rounded - wanted).max() < 0.2 * np.abs(wanted).max()


def test_projections_of_one_layer_are_one_product(tmp_path: Path) -> None:
    _, hub = made("qwen2/plain", tmp_path)
    compressed = apply_palettes(hub, {w.name: palettize(values_of(hub, w.name), 4, 8) for w in hub.weights})
    path = lower_mobile(compressed, tmp_path / "onnx", MobileOptions()).path
    kinds = Counter(node.op_type for node in ir.load(path).graph)
    assert kinds["MatMulNBits"] == 3 * 5 + 1  # of each layer: queries to values, output, gate, up, down; and the head
    assert kinds["GroupQueryAttention"] == 3
    assert kinds["RotaryEmbedding"] == kinds["MatMul"] == kinds["Add"] - 1 == 0
