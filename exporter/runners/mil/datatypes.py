"""The value types of MIL, as a saved program and a weight file number them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError, UnsupportedError

MAX_ELEMENTS = 2**29  # per tensor; logits of 2,048 tokens over a vocabulary of 262,144 are as many (2 GiB in float32)
MAX_RANK = 16  # Core ML's tensors have 5 axes, a LUT two more; anything far above is damage


@dataclass(frozen=True)
class DataType:
    """One MIL data type.

    name: as MIL writes it (`fp16`, `uint4`); bits: of one stored value, 0 for strings; kind: numpy's (`f`, `i`, `u`,
    `b`, `S` for strings); unpacked: the numpy type that holds one value.
    """

    name: str
    bits: int
    kind: str
    unpacked: np.dtype[np.generic]


def _type(name: str, bits: int, kind: str, unpacked: str) -> DataType:
    return DataType(name, bits, kind, np.dtype(unpacked))


BOOL = _type("bool", 8, "b", "bool")
STRING = DataType("string", 0, "S", np.dtype(object))
FP16 = _type("fp16", 16, "f", "<f2")
FP32 = _type("fp32", 32, "f", "<f4")
INT32 = _type("int32", 32, "i", "<i4")

# MIL.proto, enum DataType. Left out: the types that no iOS 18 program computes with (bf16, fp8, fp64).
PROGRAM_TYPES: dict[int, DataType] = {
    1: BOOL,
    2: STRING,
    10: FP16,
    11: FP32,
    21: _type("int8", 8, "i", "i1"),
    22: _type("int16", 16, "i", "<i2"),
    23: INT32,
    24: _type("int64", 64, "i", "<i8"),
    25: _type("int4", 4, "i", "i1"),
    31: _type("uint8", 8, "u", "u1"),
    32: _type("uint16", 16, "u", "<u2"),
    33: _type("uint32", 32, "u", "<u4"),
    34: _type("uint64", 64, "u", "<u8"),
    35: _type("uint4", 4, "u", "u1"),
    36: _type("uint2", 2, "u", "u1"),
    37: _type("uint1", 1, "u", "u1"),
    38: _type("uint6", 6, "u", "u1"),
    39: _type("uint3", 3, "u", "u1"),
}

# coremltools, mlmodel/src/MILBlob/Blob/BlobDataType.hpp
BLOB_TYPES: dict[int, str] = {
    1: "fp16",
    2: "fp32",
    3: "uint8",
    4: "int8",
    5: "bf16",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
    16: "fp8e4m3fn",
    17: "fp8e5m2",
}

# FeatureTypes.proto, ArrayFeatureType.ArrayDataType
FEATURE_TYPES: dict[int, DataType] = {65552: FP16, 65568: FP32, 131104: INT32, 131080: PROGRAM_TYPES[21]}


@dataclass(frozen=True)
class TensorType:
    """A MIL tensor type: `shape` holds None for a size that is known only at run time; shape None: unknown rank."""

    dtype: DataType
    shape: tuple[int | None, ...] | None

    def static(self, where: str) -> tuple[int, ...]:
        """The shape of a constant or state, which has no unknown sizes."""
        sizes = tuple(size for size in self.shape or () if size is not None)
        if self.shape is None or len(sizes) != len(self.shape):
            raise InputError.of("mil.type", "the type of a stored value has an unknown size", where=where)
        return sizes

    def __str__(self) -> str:
        if self.shape is None:
            return f"{self.dtype.name} of unknown rank"
        return f"{self.dtype.name}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"


def data_type(code: int, where: str) -> DataType:
    """The type that a program's number stands for."""
    if code not in PROGRAM_TYPES:
        raise UnsupportedError.of("mil.dtype", f"the reference runtime has no data type {code}", where=where)
    return PROGRAM_TYPES[code]


def element_count(shape: tuple[int, ...], where: str) -> int:
    """The number of values of a tensor of `shape`. Raises InputError beyond `MAX_ELEMENTS`."""
    count = 1
    for size in shape:
        count *= size
    if count > MAX_ELEMENTS or len(shape) > MAX_RANK:
        raise InputError.of("mil.size", f"a tensor of shape {list(shape)} is too large", where=where)
    return count


def packed_bytes(count: int, bits: int) -> int:
    """Bytes that `count` values of `bits` bits take, packed without gaps and rounded up."""
    return (count * bits + 7) // 8


def unpack(data: NDArray[np.uint8], dtype: DataType, count: int) -> NDArray[np.generic]:
    """The first `count` values of `data`, `[count]`, in `dtype.unpacked`.

    Values below 8 bits lie one behind the other, the first in the lowest bits; one may straddle two bytes
    (3 and 6 bits). Source: coremltools, constexpr_lut_to_dense (iOS 16) and MILBlob/SubByteTypes.
    """
    if dtype.bits >= 8:
        return data[: count * dtype.bits // 8].view(dtype.unpacked)
    group = 3 if dtype.bits in (3, 6) else 1  # bytes until a value begins on a byte boundary again
    padded = np.zeros(-(-data.size // group) * group, np.uint8)
    padded[: data.size] = data
    words = padded.reshape(-1, group)
    if group == 3:
        wide = words.astype(np.uint32)
        joined: NDArray[Any] = wide[:, :1] | wide[:, 1:2] << 8 | wide[:, 2:] << 16
    else:
        joined = words
    shifts = np.arange(0, 8 * group, dtype.bits, dtype=joined.dtype)
    values: NDArray[Any] = ((joined >> shifts) & ((1 << dtype.bits) - 1)).astype(np.uint8).reshape(-1)[:count]
    if dtype.kind == "i":
        sign = 1 << (dtype.bits - 1)
        return ((values ^ sign).astype(np.int8) - np.int8(sign)).astype(np.int8)
    return values
