"""Constants of a MIL program: written in place, or in the weight file; and the constexpr ops that unpack them."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.runners.mil.blobs import BlobFile
from exporter.runners.mil.datatypes import STRING, DataType, element_count, packed_bytes, unpack
from exporter.runners.mil.package import Package

Array = NDArray[Any]


@dataclass(frozen=True)
class Constant:
    """A stored value; `load` reads and unpacks it anew: an array of `shape`, of strings (dtype object) for strings.

    source: where it lies, the same for constants that share a blob; None for one that is written in place.
    """

    dtype: DataType
    shape: tuple[int, ...]
    source: tuple[str, int] | None
    load: Callable[[], Array]


def read_constant(value: Any, dtype: DataType, shape: tuple[int, ...], package: Package, where: str) -> Constant:
    """The constant of a MILSpec.Value message whose type is `dtype` and `shape`, checked but not yet decoded.

    Raises InputError: neither in place nor in a blob, more or fewer values than the shape says, a damaged blob.
    """
    count = element_count(shape, where)
    kind = value.WhichOneof("value")
    if kind == "blobFileValue":
        if dtype is STRING:
            raise InputError.of("mil.constant", "strings are not stored in weight files", where=where)
        name, offset = value.blobFileValue.fileName, value.blobFileValue.offset
        file = BlobFile(package.blob_file(name, where))
        file.check(offset, dtype, count)
        return Constant(dtype, shape, (name, offset), lambda: file.read(offset, dtype, count).reshape(shape))
    if kind == "immediateValue" and value.immediateValue.WhichOneof("value") == "tensor":
        array = _immediate(value.immediateValue.tensor, dtype, count, where).reshape(shape)
        return Constant(dtype, shape, None, lambda: array)
    raise InputError.of("mil.constant", "holds no tensor", where=where)


def _immediate(tensor: Any, dtype: DataType, count: int, where: str) -> Array:
    """Values written in place. fp16 and the narrow integers lie as packed bytes, int16 and uint16 among the ints."""
    kind = tensor.WhichOneof("value")
    if kind is None:  # an empty field is not written at all
        values: Array = np.zeros(0, dtype.unpacked)
    elif kind == "bytes":
        data = np.frombuffer(tensor.bytes.values, np.uint8)
        if dtype.kind in "Sb" or data.size != packed_bytes(count, dtype.bits):
            raise InputError.of("mil.constant", f"{data.size} bytes for {count} values of {dtype.name}", where=where)
        values = unpack(data, dtype, count)
    else:
        fields = {"floats": "f", "doubles": "f", "ints": "iu", "longInts": "iu", "bools": "b", "strings": "S"}
        if dtype.kind not in fields[kind]:
            raise InputError.of("mil.constant", f"{kind} for {dtype.name}", where=where)
        wide = np.array(list(getattr(tensor, kind).values), object if kind == "strings" else None)
        with np.errstate(over="ignore"):
            values = wide.astype(dtype.unpacked)
        if dtype.kind in "iu" and not np.array_equal(values, wide):
            raise InputError.of("mil.constant", f"a value doesn't fit {dtype.name}", where=where)
    if values.size != count:
        raise InputError.of("mil.constant", f"{values.size} values, the type says {count}", where=where)
    return values


def lut_to_dense(indices: Array, lut: Array, vector_axis: Array | None = None) -> Array:
    """constexpr_lut_to_dense (iOS 18): `indices [d…]`, `lut [blocks…, entries, vector]`, one LUT per block of indices.

    A vector of more than one value extends `vector_axis` of the result by its length.
    """
    entries, vector = _lut_geometry(indices, lut)
    result = np.empty((*indices.shape, vector), lut.dtype)
    sizes = [size // blocks for size, blocks in zip(indices.shape, lut.shape, strict=False)]
    for block in np.ndindex(*lut.shape[:-2]):
        rows = tuple(slice(at * size, (at + 1) * size) for at, size in zip(block, sizes, strict=True))
        here = indices[rows]
        if here.size and int(here.max()) >= entries:
            raise ValueError(f"index {int(here.max())} into {entries} LUT entries")
        result[rows] = lut[block][here]
    if vector == 1:
        return result[..., 0]
    if vector_axis is None:
        raise ValueError("a LUT of vectors needs vector_axis")
    axis = range(indices.ndim)[int(vector_axis)]
    shape = list(indices.shape)
    shape[axis] *= vector
    return np.moveaxis(result, -1, axis + 1).reshape(shape)


def _lut_geometry(indices: Array, lut: Array) -> tuple[int, int]:
    if indices.ndim < 1 or lut.ndim != indices.ndim + 2:
        raise ValueError(f"a LUT of rank {lut.ndim} for indices of rank {indices.ndim}")
    if any(blocks < 1 or size % blocks for size, blocks in zip(indices.shape, lut.shape, strict=False)):
        raise ValueError(f"LUT blocks {lut.shape[:-2]} don't divide indices {indices.shape}")
    return lut.shape[-2], lut.shape[-1]


def packed_lut_to_dense(indices: Array, lut: Array, shape: Array) -> Array:
    """constexpr_lut_to_dense (iOS 16): `indices` are bytes of packed bits, `lut [entries]` serves the whole tensor."""
    bits = int(lut.size).bit_length() - 1
    if lut.ndim != 1 or lut.size != 2**bits or bits not in (1, 2, 4, 6, 8):
        raise ValueError(f"a LUT of {lut.size} entries")
    sizes = tuple(int(size) for size in shape.reshape(-1))
    count = element_count(sizes, "constexpr_lut_to_dense")
    if indices.size != packed_bytes(count, bits):
        raise ValueError(f"{indices.size} bytes of indices for shape {sizes}")
    packed = DataType(f"uint{bits}", bits, "u", np.dtype(np.uint8))
    dense: Array = lut[unpack(indices.reshape(-1), packed, count)].reshape(sizes)
    return dense


def blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """constexpr_blockwise_shift_scale: scale * (data - offset), one scale per block, in the type of `scale`."""
    if data.ndim != scale.ndim or any(n < 1 or size % n for size, n in zip(data.shape, scale.shape, strict=True)):
        raise ValueError(f"scales {scale.shape} don't divide data {data.shape}")
    if offset is not None and offset.shape != scale.shape:
        raise ValueError(f"offsets {offset.shape}, scales {scale.shape}")

    def spread(values: Array) -> Array:
        for axis, (size, blocks) in enumerate(zip(data.shape, scale.shape, strict=True)):
            values = np.repeat(values, size // blocks, axis)
        return values.astype(np.float32)

    shifted = data.astype(np.float32) - (0 if offset is None else spread(offset))
    return (shifted * spread(scale)).astype(scale.dtype)


def affine_dequantize(quantized_data: Array, zero_point: Array, scale: Array, axis: Array) -> Array:
    """constexpr_affine_dequantize (iOS 16): scale * (data - zero point), scalars or one per index of `axis`."""

    def spread(values: Array) -> Array:
        shape = [1] * quantized_data.ndim
        if values.ndim:
            shape[int(axis)] = values.size
        return values.astype(np.float32).reshape(shape)

    return ((quantized_data.astype(np.float32) - spread(zero_point)) * spread(scale)).astype(scale.dtype)


def sparse_to_dense(nonzero_data: Array, mask: Array) -> Array:
    """constexpr_sparse_to_dense (iOS 18): the values where the uint1 mask is set, zero elsewhere."""
    if int(np.count_nonzero(mask)) != nonzero_data.size:
        raise ValueError(f"{nonzero_data.size} values for {int(np.count_nonzero(mask))} places")
    dense = np.zeros(mask.shape, nonzero_data.dtype)
    dense[mask != 0] = nonzero_data
    return dense


def constexpr_cast(source_val: Array, output_dtype: Array) -> Array:
    """constexpr_cast (iOS 16): fp16 to fp32."""
    if output_dtype.reshape(-1)[0] != "fp32":
        raise ValueError(f"constexpr_cast to {output_dtype}")
    return source_val.astype(np.float32)


def evaluate_constexpr(kind: str, operands: Mapping[str, Array], where: str) -> Array:
    """The dense value of a constexpr op. Raises InputError when its operands don't fit each other."""
    evaluate: Callable[..., Array] = CONSTEXPR[kind]
    if kind == "constexpr_lut_to_dense" and "shape" in operands:
        evaluate = packed_lut_to_dense
    try:
        dense: Array = evaluate(**operands)
    except (ValueError, TypeError, IndexError) as error:
        raise InputError.of("mil.constexpr", str(error), where=where) from error
    return dense


def check_lut_width(indices: DataType, lut: Array, where: str) -> None:
    """Raises InputError where the LUT of an iOS 18 constexpr_lut_to_dense isn't as long as its indices are wide."""
    entries = lut.shape[-2] if lut.ndim >= 2 else 0
    if indices.kind != "u" or indices.bits > 8 or entries != 1 << indices.bits:
        message = f"a LUT of {entries} entries for indices of type {indices.name}"
        raise InputError.of("mil.constexpr", message, where=where)


CONSTEXPR: dict[str, Callable[..., Array]] = {
    "constexpr_lut_to_dense": lut_to_dense,
    "constexpr_blockwise_shift_scale": blockwise_shift_scale,
    "constexpr_affine_dequantize": affine_dequantize,
    "constexpr_sparse_to_dense": sparse_to_dense,
    "constexpr_cast": constexpr_cast,
}
