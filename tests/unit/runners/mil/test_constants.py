"""Weight files and constants: our reader against coremltools' own, and against the definition of palettes."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.mil.packages import MODEL

from exporter.errors import InputError, UnsupportedError
from exporter.runners.mil import constants, load_mlpackage
from exporter.runners.mil.blobs import BlobFile
from exporter.runners.mil.compile import compile_function
from exporter.runners.mil.datatypes import PROGRAM_TYPES, DataType, packed_bytes, unpack
from exporter.runners.mil.proto import parse_model

TYPES = {dtype.name: dtype for dtype in PROGRAM_TYPES.values()}
WRITTEN = [*("fp16", "fp32", "int4", "int8", "int16", "int32"), *(f"uint{bits}" for bits in (1, 2, 3, 4, 6, 8, 16, 32))]


def sample(dtype: DataType, count: int, rng: np.random.Generator) -> np.ndarray:
    if dtype.kind == "f":
        return rng.standard_normal(count).astype(dtype.unpacked)
    low = -(1 << (dtype.bits - 1)) if dtype.kind == "i" else 0
    return rng.integers(low, low + (1 << dtype.bits), count).astype(dtype.unpacked)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[tuple[str, int], tuple[int, np.ndarray]]]:
    """A file that coremltools' storage writer wrote: blobs of every type in several lengths, by offset."""
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    from coremltools.libmilstoragepython import _BlobStorageWriter

    path = tmp_path_factory.mktemp("weights") / "weight.bin"
    rng, writer, blobs = np.random.default_rng(3), _BlobStorageWriter(str(path)), {}
    for name in WRITTEN:
        for count in (1, 7, 8, 64, 1001):
            values = sample(TYPES[name], count, rng)
            data = values.view(np.uint16) if name == "fp16" else values
            method = {"fp16": "fp16", "fp32": "float"}.get(name, name)
            blobs[name, count] = getattr(writer, f"write_{method}_data")(data), values
    del writer
    return path, blobs


@pytest.mark.parametrize("name", WRITTEN)
def test_reads_what_coremltools_wrote(name: str, written: Any) -> None:
    from coremltools.libmilstoragepython import _BlobStorageReader

    path, blobs = written
    theirs, ours = _BlobStorageReader(str(path)), BlobFile(path)
    for (kind, count), (offset, values) in blobs.items():
        if kind == name:
            read = ours.read(offset, TYPES[name], count)
            assert read.dtype == TYPES[name].unpacked
            np.testing.assert_array_equal(read, values)
            method = {"fp16": "fp16", "fp32": "float"}.get(name, name)
            reference = np.asarray(getattr(theirs, f"read_{method}_data")(offset))
            np.testing.assert_array_equal(read, reference.view(np.float16) if name == "fp16" else reference)


def test_refuses_what_does_not_fit(written: Any, tmp_path: Path) -> None:
    path, blobs = written
    offset, _ = blobs["uint4", 7]
    file = BlobFile(path)
    for other in ("uint8", "int4", "uint2"):
        with pytest.raises(InputError, match="the program says"):
            file.read(offset, TYPES[other], 7)
    for count in (6, 8, 9, 10**9):
        with pytest.raises(InputError, match="bits of padding"):
            file.read(offset, TYPES["uint4"], count)
    for place in (0, 1, offset + 1, 2**63, path.stat().st_size, path.stat().st_size - 64 & ~63):
        with pytest.raises(InputError):
            file.read(place, TYPES["uint4"], 7)
    whole = path.read_bytes()
    for size in (0, 63, offset + 63, offset + 64):
        short = tmp_path / "weight.bin"
        short.write_bytes(whole[:size])
        with pytest.raises(InputError, match=r"too early|beyond the end"):
            BlobFile(short).read(offset, TYPES["uint4"], 7)
    old = tmp_path / "old.bin"
    old.write_bytes(whole[:4] + b"\1" + whole[5:])
    with pytest.raises(InputError, match="storage format 1"):
        BlobFile(old)


@given(
    st.sampled_from([t for t in TYPES.values() if 0 < t.bits < 8]),
    st.binary(max_size=40),
    st.data(),
)
def test_unpacking_by_bits(dtype: DataType, raw: bytes, data: st.DataObject) -> None:
    """Against a number whose bits are the file's, the first byte lowest."""
    count = data.draw(st.integers(0, len(raw) * 8 // dtype.bits))
    used = np.frombuffer(raw, np.uint8)[: packed_bytes(count, dtype.bits)]
    whole = int.from_bytes(used.tobytes(), "little")
    mask = (1 << dtype.bits) - 1
    expected = [whole >> (i * dtype.bits) & mask for i in range(count)]
    if dtype.kind == "i":
        expected = [v - (mask + 1) if v > mask // 2 else v for v in expected]
    assert unpack(used, dtype, count).tolist() == expected


def lut_by_definition(indices: np.ndarray, lut: np.ndarray) -> np.ndarray:
    out = np.empty(indices.shape, lut.dtype)
    blocks = [size // n for size, n in zip(indices.shape, lut.shape, strict=False)]
    for place in np.ndindex(*indices.shape):
        group = tuple(p // b for p, b in zip(place, blocks, strict=True))
        out[place] = lut[(*group, indices[place], 0)]
    return out


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(6,), (6, 4), (6, 2, 3, 1)])
def test_lut_to_dense(groups: int, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(1)
    lut = rng.standard_normal((groups, *[1] * (len(shape) - 1), 8, 1)).astype(np.float16)
    indices = rng.integers(0, 8, shape).astype(np.uint8)
    np.testing.assert_array_equal(constants.lut_to_dense(indices, lut), lut_by_definition(indices, lut))


@pytest.mark.parametrize(
    ("shape", "more", "told"),
    [
        ((3, 1, 8, 2), (), "LUT entries of 1 value, not of 2"),
        ((3, 2, 8, 1), (), r"along the first axis, not \(3, 2\)"),
        ((3, 1, 8, 1), ("vector_axis",), "indices and lut, got indices, lut, vector_axis"),
    ],
)
def test_forms_of_palettes_that_are_never_written(shape: tuple[int, ...], more: tuple[str, ...], told: str) -> None:
    """Core ML takes them; no program of ours has them."""
    indices, lut = np.zeros((6, 4), np.uint8), np.zeros(shape, np.float16)
    operands = {"indices": (indices, TYPES["uint3"]), "lut": (lut, TYPES["fp16"])}
    operands |= {name: (np.zeros((), np.int32), TYPES["int32"]) for name in more}
    with pytest.raises(UnsupportedError, match=told):
        constants.decode_palette(operands, "w")


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_palettes_through_a_package(bits: int, evaluate: Any) -> None:
    """Every width, large (weight file) and small (in place), and one weight that two ops share."""
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    rng = np.random.default_rng(bits)
    narrow = np.uint8 if bits == 8 else getattr(types, f"np_uint{bits}_dtype")
    large, small = (rng.integers(0, 2**bits, shape).astype(np.uint8) for shape in ((6, 5), (1, 5)))
    luts = [rng.standard_normal((groups, 1, 2**bits, 1)).astype(np.float16) for groups in (3, 1)]

    def body(v: dict[str, Any]) -> dict[str, Any]:
        weights = [
            mb.constexpr_lut_to_dense(indices=indices.astype(narrow), lut=lut)
            for indices, lut in zip((large, small), luts, strict=True)
        ]
        y = mb.linear(x=v["x"], weight=weights[0])
        return {
            "large": y,
            "small": mb.linear(x=v["x"], weight=weights[1]),
            "tied": mb.linear(x=v["x"], weight=weights[0]),
        }

    x = np.eye(5, dtype=np.float16)
    ours = evaluate(body, {"x": x})
    np.testing.assert_array_equal(ours["large"], lut_by_definition(large, luts[0]).T)
    np.testing.assert_array_equal(ours["small"], lut_by_definition(small, luts[1]).T)
    np.testing.assert_array_equal(ours["tied"], ours["large"])


def test_stored_once_is_held_once(save: Any, tmp_path: Path) -> None:
    """Constants that lie in the same blob share a tensor, also where two ops refer to it."""
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    table = np.random.default_rng(3).standard_normal((7, 5)).astype(np.float16)

    def body(ids: Any) -> Any:
        rows = mb.gather(x=mb.const(val=table), indices=ids, axis=0)
        return mb.linear(x=rows, weight=mb.const(val=table), name="scores")

    def held(path: Path) -> int:
        template = compile_function(load_mlpackage(path).function).template
        return sum(getattr(value, "shape", ()) == (7, 5) for value in template)

    path = save(body, [mb.TensorSpec((3,), types.int32)], tmp_path / "m.mlpackage")
    assert held(path) == 2  # coremltools has stored them twice
    specification = path / MODEL
    message = parse_model(specification.read_bytes(), "m")
    operations = message.mlProgram.functions["main"].block_specializations["CoreML8"].operations
    tables = [op for op in operations if op.type == "const" and op.attributes["val"].type.tensorType.rank == 2]
    tables[1].attributes["val"].CopyFrom(tables[0].attributes["val"])
    specification.write_bytes(message.SerializeToString())
    assert held(path) == 1
    model = load_mlpackage(path)
    scores = model.predict({"ids": np.array([6, 0, 2], np.int32)}, fp16_rounding=False)["scores"]
    np.testing.assert_allclose(scores, table[[6, 0, 2]].astype(np.float64) @ table.T.astype(np.float64), rtol=1e-5)


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_palettes_whose_parts_do_not_fit_are_refused(data: st.DataObject) -> None:
    shapes = st.lists(st.integers(0, 4), max_size=4).map(tuple)
    indices = np.full(data.draw(shapes), data.draw(st.integers(0, 9)), np.uint8)
    lut = np.zeros(data.draw(shapes), np.float16)
    kind = TYPES[data.draw(st.sampled_from(["uint1", "uint2", "int4"]))]
    try:
        dense = constants.decode_palette({"indices": (indices, kind), "lut": (lut, TYPES["fp16"])}, "w")
    except (InputError, UnsupportedError):
        return
    assert dense.shape == indices.shape
