"""Constants of a MIL program, stored in the program or in the weight file; and the op that decodes palettes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError, UnsupportedError
from exporter.runners.mil.blobs import BlobFile
from exporter.runners.mil.datatypes import STRING, DataType, element_count, packed_bytes, unpack
from exporter.runners.mil.package import Package

Array = NDArray[Any]
LUT_TO_DENSE = "constexpr_lut_to_dense"  # the only constexpr op that our writer emits


@dataclass(frozen=True)
class Constant:
    """A stored value. `load` reads and unpacks it at each call: an array of `shape`; strings have dtype object.

    source: file and offset, the same for constants that share a blob; None if the value is in the program itself.
    """

    dtype: DataType
    shape: tuple[int, ...]
    source: tuple[str, int] | None
    load: Callable[[], Array]


def read_constant(value: Any, dtype: DataType, shape: tuple[int, ...], package: Package, where: str) -> Constant:
    """The constant of a MILSpec.Value message whose type is `dtype` and `shape`, checked but not yet decoded.

    Raises InputError if there is no value, if the number of values doesn't fit the shape, or if the blob is damaged.
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
    """Values in the program itself. fp16 and narrow integers are packed bytes; int16 and uint16 are among `ints`."""
    kind = tensor.WhichOneof("value")
    if kind is None:  # protobuf doesn't write an empty field
        values: Array = np.zeros(0, dtype.unpacked)
    elif kind == "bytes":
        data = np.frombuffer(tensor.bytes.values, np.uint8)
        if dtype.kind in "Sb" or data.size != packed_bytes(count, dtype.bits):
            raise InputError.of(
                "mil.constant", f"{data.size} bytes don't hold {count} values of {dtype.name}", where=where
            )
        values = unpack(data, dtype, count)
    else:
        fields = {"floats": "f", "doubles": "f", "ints": "iu", "longInts": "iu", "bools": "b", "strings": "S"}
        if dtype.kind not in fields[kind]:
            raise InputError.of("mil.constant", f"values of {dtype.name} can't be stored as {kind}", where=where)
        wide = np.array(list(getattr(tensor, kind).values), object if kind == "strings" else None)
        with np.errstate(over="ignore"):
            values = wide.astype(dtype.unpacked)
        if dtype.kind in "iu" and not np.array_equal(values, wide):
            raise InputError.of("mil.constant", f"a value doesn't fit {dtype.name}", where=where)
    if values.size != count:
        raise InputError.of("mil.constant", f"has {values.size} values, but its type says {count}", where=where)
    return values


def decode_palette(operands: Mapping[str, tuple[Array, DataType]], where: str) -> Array:
    """The dense value of a `constexpr_lut_to_dense` op of iOS 18. operands: name → value and type.

    Raises InputError if indices and LUT don't fit each other, and UnsupportedError for forms of the op that our writer
    doesn't emit: operands other than `indices` and `lut`, and those that `lut_to_dense` refuses.
    """
    if set(operands) != {"indices", "lut"}:
        message = (
            f"the reference runtime takes the operands indices and lut, got {', '.join(sorted(operands)) or 'none'}"
        )
        raise UnsupportedError.of("mil.constexpr", message, where=where)
    (indices, dtype), (lut, _) = operands["indices"], operands["lut"]
    entries = lut.shape[-2] if lut.ndim >= 2 else 0
    if dtype.kind != "u" or dtype.bits > 8 or entries != 1 << dtype.bits:
        message = f"a LUT of {entries} entries doesn't fit indices of type {dtype.name}"
        raise InputError.of("mil.constexpr", message, where=where)
    try:
        return lut_to_dense(indices, lut)
    except ValueError as error:
        raise InputError.of("mil.constexpr", str(error), where=where) from error
    except NotImplementedError as error:
        raise UnsupportedError.of("mil.constexpr", str(error), where=where) from error


def lut_to_dense(indices: Array, lut: Array) -> Array:
    """`indices [rows, …]`, `lut [groups, 1, …, entries, 1]`: each LUT decodes `rows / groups` neighbouring rows.

    Raises ValueError if they don't fit each other, NotImplementedError for blocks along other axes or vector entries.
    """
    if indices.ndim < 1 or lut.ndim != indices.ndim + 2:
        raise ValueError(f"a LUT of rank {lut.ndim} doesn't fit indices of rank {indices.ndim}")
    groups, *others, entries, values = lut.shape
    if values != 1:
        raise NotImplementedError(f"the reference runtime reads LUT entries of 1 value, not of {values}")
    if any(blocks != 1 for blocks in others):
        raise NotImplementedError(f"the reference runtime reads LUT blocks along the first axis, not {lut.shape[:-2]}")
    if groups < 1 or indices.shape[0] % groups:
        raise ValueError(f"{groups} LUT blocks don't divide {indices.shape[0]} rows of indices")
    if indices.size and int(indices.max()) >= entries:
        raise ValueError(f"index {int(indices.max())} is beyond the LUT's {entries} entries")
    dense, size = np.empty(indices.shape, lut.dtype), indices.shape[0] // groups
    for group in range(groups):
        rows = slice(group * size, (group + 1) * size)
        dense[rows] = lut[group].reshape(-1)[indices[rows]]
    return dense
