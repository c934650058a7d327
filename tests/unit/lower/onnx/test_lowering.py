"""The ONNX file: exact weights for every width and shape, as small as the bits say, the same bytes every time."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.paths import PYTHONPATH
from support.tied_graphs import HIDDEN, VOCAB, palette, tied_hub

from exporter.errors import InputError, UnsupportedError
from exporter.graph.builder import GraphBuilder
from exporter.graph.model import EncoderSpec, Hub
from exporter.graph.palette import PALETTE_BITS
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.onnx import OnnxOptions, lower_onnx


def expected(hub: Hub, dense: np.ndarray, ids: np.ndarray) -> np.ndarray:
    norm = hub.model.graph.initializers["norm.weight"].const_value.numpy().astype(np.float32)
    return (dense[ids] * norm) @ dense.T


def run(path: Path, ids: np.ndarray) -> np.ndarray:
    return ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"ids": ids})[0]


def decoded(path: Path, name: str, ids: np.ndarray | None = None) -> np.ndarray:
    """An inner value as onnxruntime computes it, read as an extra output of the stored model."""
    model = onnx.load(path)
    model.graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None))
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return session.run([name], {"ids": np.zeros((1, 1), np.int64) if ids is None else ids})[0]


@settings(max_examples=40, deadline=None)
@given(
    bits=st.sampled_from(PALETTE_BITS),
    rows=st.integers(1, 40),
    columns=st.integers(1, 19),
    group_size=st.integers(1, 48),
)
def test_every_width_shape_and_group_decodes_exactly(
    tmp_path_factory: pytest.TempPathFactory, bits: int, rows: int, columns: int, group_size: int
) -> None:
    """Odd column counts, ragged groups, groups larger than the matrix: bit for bit what `Palette.dense` says."""
    folder = tmp_path_factory.mktemp("model")
    wanted = palette(rows, columns, bits, group_size)
    hub = apply_palettes(tied_hub(rows, columns), {"emb.weight": wanted})
    artifact = lower_onnx(hub, folder, OnnxOptions())
    onnx.checker.check_model(artifact.path, full_check=True)
    np.testing.assert_array_equal(decoded(artifact.path, "emb.weight"), wanted.dense())
    all_rows = decoded(artifact.path, "embedding", np.arange(rows)[None])
    np.testing.assert_array_equal(all_rows[0], wanted.dense())
    assert artifact.accounting.indices <= -(-wanted.size * bits // 8) + 1  # planes round up to bytes each
    assert artifact.accounting.luts == wanted.lut.nbytes


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_the_stored_model_computes_what_the_hub_computes(tmp_path: Path, bits: int) -> None:
    base = tied_hub()
    wanted = palette(VOCAB, HIDDEN, bits, 8)
    hub = apply_palettes(base, {"emb.weight": wanted})
    ids = np.array([[1, 34, 3]])
    before = ir.to_proto(hub.model).SerializeToString(deterministic=True)
    artifact = lower_onnx(hub, tmp_path, OnnxOptions())
    assert ir.to_proto(hub.model).SerializeToString(deterministic=True) == before
    # fp32 against fp32, 12 products of numbers around 1: a few ulp of the sum.
    np.testing.assert_allclose(run(artifact.path, ids), expected(base, wanted.dense(), ids), atol=1e-5)


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_the_file_is_as_small_as_the_bits_say(tmp_path: Path, bits: int) -> None:
    """Within 3 % of palettes + kept tensors for two million weights in ragged groups (the graph takes 2.6 kB)."""
    wanted = palette(8004, 256, bits, 32)
    hub = apply_palettes(tied_hub(8004, 256), {"emb.weight": wanted})
    artifact = lower_onnx(hub, tmp_path, OnnxOptions())
    ideal = wanted.stored_bytes + 256 * 2
    assert ideal < artifact.stored_bytes <= 1.03 * ideal
    sizes = artifact.accounting
    assert sizes.indices + sizes.luts + sizes.kept + sizes.overhead == artifact.stored_bytes
    assert (sizes.kept, artifact.stored_bytes) == (512, (tmp_path / "model.onnx").stat().st_size)


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_onnxruntime_decodes_at_load_and_not_at_run(tmp_path: Path, bits: int) -> None:
    """After its optimizations the linear weight is one constant; of the embedding, rows are looked up in uint8."""
    hub = apply_palettes(tied_hub(), {"emb.weight": palette(VOCAB, HIDDEN, bits, 8)})
    artifact = lower_onnx(hub, tmp_path, OnnxOptions())
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "optimized.onnx")
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
    ort.InferenceSession(artifact.path, options, providers=["CPUExecutionProvider"])
    model = onnx.load(tmp_path / "optimized.onnx")
    ops = [node.op_type for node in model.graph.node]
    assert sorted(ops) == ["Cast", "Div", "Gather", "Gather", "GatherElements", "MatMul", "Mul"]
    matrices = [(i.data_type, list(i.dims)) for i in model.graph.initializer if len(i.dims) == 2]
    assert (onnx.TensorProto.FLOAT, [HIDDEN, VOCAB]) in matrices  # transposed, for the MatMul
    assert (onnx.TensorProto.UINT8, [VOCAB, HIDDEN]) in matrices


def test_an_embedding_alone_is_never_dense(tmp_path: Path) -> None:
    """Not in the file, and not in the loaded session either."""
    builder = GraphBuilder("embedding")
    ids = builder.input("ids", ir.DataType.INT32, ["n"])
    weight = ir.tensor(np.zeros((50, 8), np.float32), name="emb.weight")
    builder.output(builder.embedding(weight, ids, "emb.weight"), "rows", ir.DataType.FLOAT, ["n", 8])
    wanted = palette(50, 8, 6, 16)
    hub = apply_palettes(builder.build("test", EncoderSpec(50, 8, 16, None, False)), {"emb.weight": wanted})
    path = lower_onnx(hub, tmp_path, OnnxOptions()).path
    stored = onnx.load(path)
    assert {n.op_type for n in stored.graph.node} == {"LutGather", "Unpack6"}
    assert sorted(f.name for f in stored.functions) == ["LutGather", "Unpack2", "Unpack6"]
    chosen = np.array([49, 0, 16, 15], np.int32)
    np.testing.assert_array_equal(run(path, chosen), wanted.dense()[chosen])


def test_what_is_kept_keeps_its_dtype(tmp_path: Path) -> None:
    hub = apply_palettes(tied_hub(), {"emb.weight": palette(VOCAB, HIDDEN, 4, 8)})
    path = lower_onnx(hub, tmp_path, OnnxOptions()).path
    dtypes = {i.name: i.data_type for i in onnx.load(path).graph.initializer}
    assert dtypes["norm.weight"] == onnx.TensorProto.BFLOAT16
    assert dtypes["emb.weight/indices"] == onnx.TensorProto.UINT4
    assert dtypes["emb.weight/lut"] == onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("compressed", [True, False])
@pytest.mark.parametrize(("weights", "size"), [("fp16", 2), ("fp32", 4)])
@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_dense_weights(tmp_path: Path, dtype: type, weights: str, size: int, compressed: bool) -> None:
    base = tied_hub(dtype=dtype)
    dense = base.model.graph.initializers["emb.weight"].const_value.numpy().astype(np.float32)
    hub = base
    if compressed:
        wanted = palette(VOCAB, HIDDEN, 4, 8)
        dense, hub = wanted.dense(), apply_palettes(base, {"emb.weight": wanted})
    if weights == "fp16":
        dense = dense.astype(np.float16).astype(np.float32)
    artifact = lower_onnx(hub, tmp_path, OnnxOptions(weights=weights))
    onnx.checker.check_model(artifact.path, full_check=True)
    ids = np.array([[0, 7, 34]])
    np.testing.assert_allclose(run(artifact.path, ids), expected(base, dense, ids), atol=1e-5)
    assert artifact.accounting.kept == VOCAB * HIDDEN * size + HIDDEN * np.dtype(dtype).itemsize
    model = onnx.load(artifact.path)
    assert (artifact.accounting.indices, len(model.functions)) == (0, 0)
    assert sorted(i.name for i in model.graph.initializer) == ["emb.weight", "norm.weight"]
    assert not model.graph.value_info  # initializers say it themselves


def test_weights_beyond_fp16_are_refused(tmp_path: Path) -> None:
    hub = tied_hub(dtype=np.float32, scale=1e5)
    with pytest.raises(UnsupportedError, match="fp16 goes up to 65504") as error:
        lower_onnx(hub, tmp_path / "onnx", OnnxOptions(weights="fp16"))
    assert error.value.diagnostics[0].where == "emb.weight"
    assert not (tmp_path / "onnx").exists()
    assert lower_onnx(hub, tmp_path, OnnxOptions(weights="fp32")).stored_bytes > 0


def test_large_models_go_to_an_aligned_data_file(tmp_path: Path) -> None:
    wanted = palette(3000, 400, 8, 64)
    hub = apply_palettes(tied_hub(3000, 400), {"emb.weight": wanted})
    artifact = lower_onnx(hub, tmp_path, OnnxOptions(external_data_above=10_000))
    assert artifact.files == ("model.onnx", "model.onnx.data")
    assert artifact.stored_bytes == sum((tmp_path / name).stat().st_size for name in artifact.files)
    onnx.checker.check_model(artifact.path, full_check=True)
    entries = {
        i.name: {e.key: e.value for e in i.external_data}
        for i in onnx.load(artifact.path, load_external_data=False).graph.initializer
        if i.data_location == onnx.TensorProto.EXTERNAL
    }
    assert set(entries) == {"emb.weight/indices", "emb.weight/lut"}
    assert {e["location"] for e in entries.values()} == {"model.onnx.data"}
    assert all(int(e["offset"]) % 64 == 0 for e in entries.values())
    assert int(entries["emb.weight/indices"]["offset"]) % 4096 == 0
    ids = np.array([[0, 2999]])
    np.testing.assert_allclose(
        run(artifact.path, ids), expected(hub, wanted.dense(), ids), rtol=1e-5, atol=1e-4
    )  # sums of 400
    small = lower_onnx(hub, tmp_path, OnnxOptions())
    assert small.files == ("model.onnx",)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["model.onnx"]


def test_a_model_may_be_written_over_the_file_it_is_read_from(tmp_path: Path) -> None:
    """Its tensors are memory-mapped from the very data file that is being replaced."""
    first = lower_onnx(tied_hub(200, 64), tmp_path, OnnxOptions(external_data_above=0))
    ids = np.array([[5, 199]])
    before = run(first.path, ids)
    hub = replace(tied_hub(200, 64), model=ir.load(first.path))
    second = lower_onnx(hub, tmp_path, OnnxOptions(weights="fp32", external_data_above=0))
    np.testing.assert_array_equal(run(second.path, ids), before)


SCRIPT = """
import sys, pathlib
from support.tied_graphs import HIDDEN, VOCAB, palette, tied_hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.onnx import OnnxOptions, lower_onnx
hub = apply_palettes(tied_hub(), {"emb.weight": palette(VOCAB, HIDDEN, 3, 8)})
lower_onnx(hub, pathlib.Path(sys.argv[1]), OnnxOptions(metadata={"b": "2", "a": "1"}, external_data_above=0))
"""


def test_two_processes_write_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    for seed in ("1", "2"):
        folder = tmp_path / seed
        subprocess.run(
            [sys.executable, "-c", SCRIPT, str(folder)],
            check=True,
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": PYTHONPATH, "PATH": "/usr/bin:/bin"},
        )
        digests.append(
            [hashlib.sha256((folder / n).read_bytes()).hexdigest() for n in ("model.onnx", "model.onnx.data")]
        )
    assert digests[0] == digests[1]


def test_metadata_names_the_producer_and_nothing_of_this_machine(tmp_path: Path) -> None:
    hub = tied_hub()
    hub.model.doc_string = "/home/me/model"
    hub.model.graph.doc_string = "/home/me/model"
    hub.model.metadata_props["path"] = "/home/me"
    next(iter(hub.model.graph)).metadata_props["stack"] = "/home/me/x.py"
    artifact = lower_onnx(hub, tmp_path, OnnxOptions(metadata={"version": "0.1", "source": "sha256:12"}))
    model = onnx.load(artifact.path)
    assert [(p.key, p.value) for p in model.metadata_props] == [("source", "sha256:12"), ("version", "0.1")]
    assert model.producer_name == "kogata"
    assert b"/home/me" not in artifact.path.read_bytes()
    # Nodes that compute keep their names; those that decode weights have none, which their values make up for.
    assert [n.name for n in model.graph.node if n.name] == ["embedding", "scaled", "emb"]
    values = {v for n in model.graph.node for v in n.output}
    assert {"norm.weight/float", "emb.weight/float", "emb.weight/transposed"} <= values


def test_what_nothing_uses_is_left_out(tmp_path: Path) -> None:
    hub = apply_palettes(tied_hub(), {"emb.weight": palette(VOCAB, HIDDEN, 4, 8)})
    graph = hub.model.graph
    graph.register_initializer(
        ir.Value(name="unused", const_value=ir.tensor(np.zeros(4096, np.float32), name="unused"))
    )
    dead = ir.node("Neg", [next(iter(graph)).outputs[0]])
    dead.outputs[0].name = "dead"
    graph.append(dead)
    model = onnx.load(lower_onnx(hub, tmp_path, OnnxOptions()).path)
    assert "unused" not in {i.name for i in model.graph.initializer}
    assert "Neg" not in {n.op_type for n in model.graph.node}


def test_an_unwritable_folder_is_a_clear_error_and_leaves_nothing(tmp_path: Path) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(InputError, match="can't be written"):
        lower_onnx(tied_hub(), blocked / "onnx", OnnxOptions())
    assert blocked.read_text() == "in the way"


def test_a_failure_half_way_leaves_the_old_model_whole(tmp_path: Path) -> None:
    artifact = lower_onnx(tied_hub(200, 64), tmp_path, OnnxOptions(external_data_above=0))
    before = {name: (tmp_path / name).read_bytes() for name in artifact.files}
    hub = tied_hub(200, 64)

    def gone() -> ir.TensorProtocol:
        raise FileNotFoundError(2, "No such file or directory")

    value = hub.model.graph.initializers["emb.weight"]
    value.const_value = ir.LazyTensor(gone, dtype=ir.DataType.BFLOAT16, shape=ir.Shape([200, 64]), name="emb.weight")
    with pytest.raises(InputError):
        lower_onnx(hub, tmp_path, OnnxOptions(external_data_above=0))
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == before
