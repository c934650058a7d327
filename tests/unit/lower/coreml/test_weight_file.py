"""Weights that coremltools never holds: the package is, byte for byte, the one that coremltools writes by itself."""

from __future__ import annotations

import errno
import hashlib
import io
import resource
import struct
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import coremltools as ct
import ml_dtypes
import numpy as np
import onnx_ir as ir
import pytest
from coremltools.converters.mil.mil import Builder as mb
from coremltools.converters.mil.mil import Function, Placeholder, Program, types

from exporter.graph.builder import GraphBuilder
from exporter.graph.lut import NAME
from exporter.graph.model import EncoderSpec, Hub
from exporter.graph.palette import PALETTE_BITS, Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.spill import Spill
from exporter.lower.coreml import lowering as lowering_module
from exporter.lower.coreml import package, weight_file
from exporter.lower.coreml.deferred import Deferred, deferred_float16, deferred_indices
from exporter.lower.coreml.lowering import INDEX_TYPES, Lowering, palette_indices
from exporter.lower.coreml.package import MODEL, WEIGHT_FILE, WEIGHTS, write_package
from exporter.lower.coreml.registry import lower_nodes
from exporter.runners.mil import load_mlpackage

ROWS, COLUMNS = 37, 12
NEVER = 1 << 60


@dataclass(frozen=True)
class Built:
    """What `write_package` takes, as `program.CoreMLProgram` has it."""

    program: Program
    inputs: list[ct.TensorType]
    outputs: list[ct.TensorType]
    classes: tuple[str, ...] = ()


def digests(package: Path) -> dict[str, str]:
    files = sorted(path for path in package.rglob("*") if path.is_file())
    return {str(path.relative_to(package)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def palette_of(rows: int, columns: int, bits: int, group_size: int) -> Palette:
    rng = np.random.default_rng(bits)
    lut = np.sort(rng.standard_normal((-(-rows // group_size), 2**bits)).astype(np.float16), axis=1)
    return Palette.of(rng.integers(0, 2**bits, (rows, columns)).astype(np.uint8), lut, bits, group_size)


def tied_hub(dtype: type = ml_dtypes.bfloat16, rows: int = ROWS) -> Hub:
    """`logits = (embedding(ids) * norm) · embeddingᵀ + bias`, and a second linear layer on top of it."""
    rng = np.random.default_rng(0)
    builder = GraphBuilder("tied")

    def tensor(name: str, *shape: int) -> ir.TensorProtocol:
        return ir.tensor(rng.standard_normal(shape).astype(dtype), name=name)

    ids = builder.input("ids", ir.DataType.INT64, [1, 4])
    table = tensor("emb.weight", rows, COLUMNS)
    x = builder.embedding(table, ids, "emb.weight")
    x = builder.op("Mul", x, builder.weight(tensor("norm.weight", COLUMNS), "norm.weight"), name="scaled")
    bias = builder.weight(tensor("head.bias", rows), "head.bias")
    logits = builder.linear(x, table, "emb.weight", bias=bias, label="logits")
    last = builder.linear(logits, tensor("last.weight", 20, rows), "last.weight", label="last")
    builder.output(last, "last", ir.DataType.FLOAT, [1, 4, 20])
    return builder.build("test", EncoderSpec(rows, COLUMNS, 4, None, False))


def program_of(hub: Hub) -> Built:
    mb.name_count.clear()  # of programs that were built and not converted, in other tests
    with Function({"ids": Placeholder((1, 4), dtype=types.int32, name="ids")}, opset_version=ct.target.iOS18) as main:
        lowering = Lowering(hub)
        (ids,) = hub.model.graph.inputs
        lowering.bind(ids, main.inputs["ids"])
        lower_nodes(lowering, [node for node in hub.model.graph if node.op_type not in ("Cast", NAME, "Slice")])
        main.set_outputs([lowering.var(hub.model.graph.outputs[0])])
    program = Program()
    program.add_function("main", main)
    outputs = [ct.TensorType(name="last", dtype=np.float16)]
    return Built(program, [ct.TensorType("ids", (1, 4), dtype=np.int32)], outputs)


def written(path: Path, hub: Hub, monkeypatch: pytest.MonkeyPatch, threshold: int) -> Path:
    monkeypatch.setattr(lowering_module, "MIN_DEFERRED_ELEMENTS", threshold)
    write_package(program_of(hub), path, {"key": "value"}, None)
    return path


@pytest.mark.parametrize("bits", PALETTE_BITS)
@pytest.mark.parametrize("group_size", [4, 16, 100])
def test_palettes_are_written_as_coremltools_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, bits: int, group_size: int
) -> None:
    """37 rows: the last group is filled up at 4 and 16. `emb.weight` has two uses and is stored once."""
    base = tied_hub()
    palettes = {w.name: palette_of(*w.shape, bits, group_size) for w in base.weights}
    hub = apply_palettes(base, palettes)
    ordinary = written(tmp_path / "ordinary.mlpackage", hub, monkeypatch, NEVER)
    streamed = written(tmp_path / "streamed.mlpackage", hub, monkeypatch, 10)
    assert digests(streamed) == digests(ordinary)
    model = load_mlpackage(streamed)
    for name, palette in palettes.items():
        stored = model.constant(name.replace(".", "_"))
        np.testing.assert_array_equal(stored[: palette.shape[0]].astype(np.float32), palette.dense())
    groups = [-(-w.shape[0] // min(group_size, w.shape[0])) for w in base.weights]
    assert len(groups) == 2
    size = (streamed / "Data" / WEIGHTS / WEIGHT_FILE).stat().st_size
    assert size < sum(p.stored_bytes for p in palettes.values()) * (1 + 2 * group_size / 20) + 20 * 128 + 2 * 2 * ROWS


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float32])
def test_dense_matrices_are_written_as_coremltools_writes_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, dtype: type
) -> None:
    hub = tied_hub(dtype)
    ordinary = written(tmp_path / "ordinary.mlpackage", hub, monkeypatch, NEVER)
    streamed = written(tmp_path / "streamed.mlpackage", hub, monkeypatch, 10)
    assert digests(streamed) == digests(ordinary)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float32])
def test_no_matrix_is_read_before_the_file_is_written(monkeypatch: pytest.MonkeyPatch, dtype: type) -> None:
    """Two matrices, of which one has two uses; a cast from bfloat16 in between makes no difference."""
    monkeypatch.setattr(Deferred, "read", lambda _: pytest.fail("read while the program was built"))
    monkeypatch.setattr(lowering_module, "MIN_DEFERRED_ELEMENTS", 10)
    program = program_of(tied_hub(dtype)).program
    assert len({id(array) for array in weight_file.deferred_places(program).values()}) == 2


def test_matrices_are_read_a_few_rows_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("exporter.lower.coreml.deferred.CHUNK", 2 * COLUMNS * 5)
    hub = tied_hub(np.float32)
    streamed = written(tmp_path / "streamed.mlpackage", hub, monkeypatch, 10)
    ordinary = written(tmp_path / "ordinary.mlpackage", hub, monkeypatch, NEVER)
    assert digests(streamed) == digests(ordinary)
    parts: list[slice] = []

    def load(rows: slice) -> np.ndarray:
        parts.append(rows)
        return np.ones((ROWS, COLUMNS), np.float16)[rows]

    assert sum(chunk.size for chunk in deferred_float16((ROWS, COLUMNS), load).chunks()) == 2 * ROWS * COLUMNS
    assert len(parts) == -(-ROWS // 5)


def kernels(palettes: list[Palette], *, deferred: bool) -> Built:
    """Convolutions whose kernels are palettes in other shapes, and small constants of every stored type."""
    shape = (1, 4, 6, 6)
    with Function({"x": Placeholder(shape, dtype=types.fp16, name="x")}, opset_version=ct.target.iOS18) as main:
        x = main.inputs["x"]
        for i, palette in enumerate(palettes):
            indices = palette.indices.reshape(4, 4, 3, 3).astype(INDEX_TYPES[palette.bits])
            if deferred:
                indices = deferred_indices(palette, (4, 4, 3, 3), np.dtype(INDEX_TYPES[palette.bits]))
            lut = palette.lut.reshape(-1, 1, 1, 1, 2**palette.bits, 1)
            kernel = mb.constexpr_lut_to_dense(indices=indices, lut=lut, name=f"kernel{i}")
            x = mb.conv(x=x, weight=kernel, pad_type="same", bias=np.ones(4, np.float16), name=f"conv{i}")
            x = mb.add(x=x, y=np.full((1, 4, 6, 6), i, np.float16), name=f"sum{i}")
        rows = mb.gather(x=x, indices=np.arange(12, dtype=np.int32) % 6, axis=3, validate_indices=False, name="rows")
        main.set_outputs([rows])
    program = Program()
    program.add_function("main", main)
    outputs = [ct.TensorType(name="rows", dtype=np.float16)]
    return Built(program, [ct.TensorType("x", shape, dtype=np.float16)], outputs)


def test_kernels_and_small_constants_of_one_program(tmp_path: Path) -> None:
    palettes = [palette_of(4, 36, bits, 2) for bits in PALETTE_BITS]
    for deferred in (False, True):
        write_package(kernels(palettes, deferred=deferred), tmp_path / f"{deferred}.mlpackage", {}, None)
    assert digests(tmp_path / "True.mlpackage") == digests(tmp_path / "False.mlpackage")


def test_a_folded_constant_is_read(tmp_path: Path) -> None:
    """Where MIL works a result out while the program is built, it gets the values, and not what stands for them."""
    values = np.random.default_rng(0).standard_normal((50, 8)).astype(np.float16)
    with Function({"x": Placeholder((1, 3, 8), dtype=types.fp16, name="x")}, opset_version=ct.target.iOS18) as main:
        table = mb.const(val=deferred_float16((50, 8), lambda rows: values[rows]), name="table")
        rows = mb.gather(x=table, indices=np.array([4, 0, 49], np.int32), axis=0, validate_indices=False, name="rows")
        np.testing.assert_array_equal(rows.val, values[[4, 0, 49]])
        for made, expected in (
            (mb.transpose(x=table, perm=[1, 0]), values.T),
            (mb.slice_by_index(x=table, begin=[0, 0], end=[3, 8]), values[:3]),
            (mb.reshape(x=table, shape=[8, 50]), values.reshape(8, 50)),
            (mb.mul(x=table, y=np.float16(2)), values * np.float16(2)),
            (mb.cast(x=table, dtype="fp32"), values.astype(np.float32)),
            (mb.concat(values=[table, table], axis=0), np.concatenate([values, values])),
            (mb.expand_dims(x=table, axes=[0]), values[None]),
        ):
            np.testing.assert_array_equal(made.val, expected)
        main.set_outputs([mb.add(x=main.inputs["x"], y=rows, name="sum")])
    program = Program()
    program.add_function("main", main)
    inputs = [ct.TensorType("x", (1, 3, 8), dtype=np.float16)]
    write_package(
        Built(program, inputs, [ct.TensorType(name="sum", dtype=np.float16)]), tmp_path / "m.mlpackage", {}, None
    )
    model = load_mlpackage(tmp_path / "m.mlpackage")
    total = model.predict({"x": np.zeros((1, 3, 8), np.float16)})["sum"]
    np.testing.assert_array_equal(total[0], values[[4, 0, 49]])


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_a_deferred_palette_reads_as_its_indices(bits: int) -> None:
    palette = palette_of(5, 7, bits, 5)
    array = deferred_indices(palette, (6, 7), np.dtype(INDEX_TYPES[bits]))
    expected = np.pad(palette.indices, ((0, 1), (0, 0)))
    assert (array.shape, array.dtype) == ((6, 7), np.dtype(INDEX_TYPES[bits]))
    np.testing.assert_array_equal(np.maximum(array, 0), expected)
    np.testing.assert_array_equal(array[5:], expected[5:])
    np.testing.assert_array_equal(palette_indices(palette, (6, 7)), expected)


def test_what_a_deferred_constant_cannot_answer_is_a_bug_and_no_zero() -> None:
    array = deferred_float16((50, 8), lambda rows: np.ones((50, 8), np.float16)[rows])
    for read in (array.copy, array.ravel, lambda: array.T, lambda: array.view(np.uint16)):
        with pytest.raises(RuntimeError, match="deferred"):
            read()
    assert np.isnan(np.frombuffer(np.ndarray.tobytes(array), np.float16)).all()  # the last resort: NaN, which is seen


def test_a_program_that_lost_a_deferred_constant_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that coremltools changed would leave a stand-in in the file."""
    found = weight_file.deferred_places

    def renamed(program: Any) -> dict[tuple[str, str], Deferred]:
        return {(f"{name}_renamed", key): array for (name, key), array in found(program).items()}

    monkeypatch.setattr("exporter.lower.coreml.package.deferred_places", renamed)
    with pytest.raises(RuntimeError, match="2 deferred constants"):
        written(tmp_path / "m.mlpackage", tied_hub(), monkeypatch, 10)


def test_the_size_of_every_constant_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    short = np.ones(3, np.float16)
    monkeypatch.setattr(lowering_module, "deferred_float16", lambda shape, _: deferred_float16(shape, lambda _: short))
    with pytest.raises(RuntimeError, match="bytes, but"):
        written(tmp_path / "m.mlpackage", tied_hub(), monkeypatch, 10)


def test_offsets_in_the_model_point_to_the_blobs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each blob once, in order, aligned, and as many as the header counts."""
    path = written(tmp_path / "m.mlpackage", tied_hub(), monkeypatch, 10) / "Data"
    spec = ct.models.utils.load_spec(str(path / MODEL))
    offsets = {value.offset for _, value in weight_file._file_values(spec.mlProgram)}
    data = (path / WEIGHTS / WEIGHT_FILE).read_bytes()
    count, version = struct.unpack_from("<II", data)
    assert (count, version) == (len(offsets), 2)
    end = 64
    for offset in sorted(offsets):
        sentinel, _, size, start, _ = struct.unpack_from("<IIQQQ", data, offset)
        assert (sentinel, offset, start) == (0xDEADBEEF, -(-end // 64) * 64, offset + 64)
        end = start + size
    assert end == len(data)


def test_memory_does_not_grow_with_the_weights(tmp_path: Path) -> None:
    """64 MB of packed indices from a file: the process takes a small part of that, and a byte an index would be 128."""
    spill = Spill(tmp_path)
    spill.append(np.random.default_rng(0).integers(0, 256, 1 << 26, dtype=np.uint8))
    rows, columns, group = 1 << 13, 1 << 14, 1 << 12
    palette = Palette(spill.part(0), (rows, columns), np.zeros((2, 16), np.float16), 4, group)
    with Function({"x": Placeholder((1, columns), dtype=types.fp16, name="x")}, opset_version=ct.target.iOS18) as main:
        lut = palette.lut.reshape(2, 1, 16, 1)
        weight = mb.constexpr_lut_to_dense(indices=palette_indices(palette, palette.shape), lut=lut, name="w")
        y = mb.linear(x=main.inputs["x"], weight=weight, bias=np.zeros(rows, np.float16), name="y")
        main.set_outputs([y])
    program = Program()
    program.add_function("main", main)
    inputs = [ct.TensorType("x", (1, columns), dtype=np.float16)]
    built = Built(program, inputs, [ct.TensorType(name="y", dtype=np.float16)])
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    write_package(built, tmp_path / "m.mlpackage", {}, None)
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    assert (tmp_path / "m.mlpackage" / "Data" / WEIGHTS / WEIGHT_FILE).stat().st_size > 1 << 26
    assert grown < 48_000_000  # a chunk of 16 MB, twice, and what the allocator keeps


def test_a_full_disk_is_the_system_s_own_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An OSError, which the work area of an export turns into words."""

    class Full(io.BufferedWriter):
        def write(self, _: Any) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    opened = Path.open

    def full(path: Path, mode: str = "r", *arguments: Any, **options: Any) -> Any:
        file = opened(path, mode, *arguments, **options)
        return Full(file.detach()) if mode == "wb" and path.name == WEIGHT_FILE else file

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(OSError, match="No space left") as caught:
        written(tmp_path / "m.mlpackage", tied_hub(), monkeypatch, 10)
    assert caught.value.errno == errno.ENOSPC


@pytest.mark.parametrize("words", ["[MIL FileWriter]: Unknown error", "filesystem error: cannot copy"])
def test_coremltools_own_words_for_a_bad_disk_become_an_oserror(tmp_path: Path, words: str) -> None:
    """It says so in a RuntimeError; whatever it leaves lies in a folder of ours, which goes."""
    usual, seen = tempfile.tempdir, []

    def convert() -> None:
        seen.append(Path(tempfile.mkdtemp()))
        (seen[0] / "left").write_bytes(bytes(100))
        raise RuntimeError(words)

    with pytest.raises(OSError, match="Input/output error") as caught:
        package._with_temporary_files(tmp_path, convert)
    assert caught.value.errno == errno.EIO  # there is room
    assert caught.value.filename == str(tmp_path)
    assert seen[0].is_relative_to(tmp_path)
    assert not list(tmp_path.iterdir())
    assert tempfile.tempdir == usual


def test_other_errors_of_coremltools_stay_what_they_are(tmp_path: Path) -> None:
    def convert() -> None:
        raise RuntimeError("something else")

    with pytest.raises(RuntimeError, match="something else"):
        package._with_temporary_files(tmp_path, convert)
    assert not list(tmp_path.iterdir())
