"""Lazy, memory-mapped tensors of one or more safetensors files."""

from __future__ import annotations

import mmap
import os
import weakref
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoint.safetensors_header import Header, StoredTensor
from exporter.errors import InputError, UnsupportedError

if TYPE_CHECKING:  # imported at the first access to a tensor; `inspect` reads no tensor
    import onnx_ir as ir

# safetensors' name → onnx_ir's. FP8, FP6 and FP4 are refused: without its scales, such a tensor is not the weight.
# Complex numbers are refused too.
_ONNX_DTYPES: Mapping[str, str] = {
    "BOOL": "BOOL", "U8": "UINT8", "I8": "INT8", "U16": "UINT16", "I16": "INT16", "U32": "UINT32", "I32": "INT32",
    "U64": "UINT64", "I64": "INT64", "F16": "FLOAT16", "BF16": "BFLOAT16", "F32": "FLOAT", "F64": "DOUBLE",
}  # fmt: skip
_FLOATS = ("F", "BF")

# Pages that were read count as this process's memory while their mapping exists. A large tensor therefore has its own
# mapping, which is released with its last array. All small tensors of a file share one mapping: each mapping needs a
# file descriptor, and there may be thousands of norms and biases.
_OWN_MAPPING_BYTES = 4 << 20


class Shard:
    """One safetensors file. Mapped while its arrays exist: once for the small tensors, once for each large one."""

    def __init__(self, path: Path, name: str, header: Header) -> None:
        self.path = path
        self.name = name
        self.header = header
        self._mapping: weakref.ref[mmap.mmap] | None = None

    def mapping(self, offset: int, size: int) -> tuple[mmap.mmap, int]:
        """A mapping that holds `size` bytes of the file from `offset` on, and their offset in the mapping.

        Raises `InputError` when the file is gone or no longer has the size it was opened with (reading past the end of
        a mapped file would kill the process).
        """
        if size >= _OWN_MAPPING_BYTES:
            start = offset - offset % mmap.ALLOCATIONGRANULARITY
            return self._map(start, offset - start + size), offset - start
        mapped = self._mapping() if self._mapping is not None else None
        if mapped is None:
            mapped = self._map(0, 0)  # the whole file
            self._mapping = weakref.ref(mapped)
        return mapped, offset

    def _map(self, start: int, size: int) -> mmap.mmap:
        try:
            with self.path.open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.header.file_bytes:
                    raise InputError.of(
                        "checkpoint.changed", f"{self.name} changed after it was opened", where=self.name
                    )
                return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ, offset=start)
        except OSError as error:
            raise InputError.of(
                "checkpoint.unreadable", f"{self.name} can't be read: {error.strerror}", where=self.name
            ) from None


class TensorStore(Mapping[str, "ir.TensorProtocol"]):
    """Tensor name → lazy tensor, in sorted order. Nothing is read before a tensor's `numpy()` or `tobytes()`.

    A tensor whose dtype onnx_ir can't hold (FP8, for example) raises `UnsupportedError` at access; `stored` and the
    totals describe it all the same. An unknown name is a `KeyError`, as in any mapping.

    listed: the names in the index of the shards; None without an index. As in transformers, a tensor that isn't listed
    is not part of the checkpoint, and the shard that the index states for a tensor doesn't matter.
    unlisted: names that shards hold and the index doesn't list. absent: names that it lists and no shard holds.
    """

    def __init__(self, shards: Sequence[Shard], listed: Collection[str] | None = None) -> None:
        held = {tensor.name: (shard, tensor) for shard in shards for tensor in shard.header.tensors}
        names = held.keys() if listed is None else set(listed)
        self._places = {name: held[name] for name in sorted(held.keys() & names)}
        self.unlisted: tuple[str, ...] = tuple(sorted(held.keys() - names))
        self.absent: tuple[str, ...] = tuple(sorted(names - held.keys()))
        self._made: dict[str, ir.TensorProtocol] = {}
        self.files: tuple[Path, ...] = tuple(shard.path for shard in shards)

    def __getitem__(self, name: str) -> ir.TensorProtocol:
        if name not in self._made:
            shard, tensor = self._places[name]
            self._made[name] = _lazy(shard, tensor)
        return self._made[name]

    def __contains__(self, name: object) -> bool:
        return name in self._places

    def __iter__(self) -> Iterator[str]:
        return iter(self._places)

    def __len__(self) -> int:
        return len(self._places)

    @cached_property
    def stored(self) -> Mapping[str, StoredTensor]:
        """Name → dtype, shape and place of every tensor, from the headers alone."""
        return {name: tensor for name, (_, tensor) in self._places.items()}

    @property
    def parameters(self) -> int:
        """Elements of all floating-point tensors, as stored (a tied pair saved once counts once)."""
        return sum(tensor.size for tensor in self.stored.values() if tensor.dtype.startswith(_FLOATS))

    @property
    def total_bytes(self) -> int:
        """Bytes of all tensors as stored, headers not counted."""
        return sum(tensor.nbytes for tensor in self.stored.values())

    @property
    def dtypes(self) -> Mapping[str, int]:
        """safetensors dtype name ("F32") → number of elements stored in it, sorted by name."""
        counts: Counter[str] = Counter()
        for tensor in self.stored.values():
            counts[tensor.dtype] += tensor.size
        return dict(sorted(counts.items()))


def _lazy(shard: Shard, tensor: StoredTensor) -> ir.TensorProtocol:
    import onnx_ir as ir

    if tensor.dtype not in _ONNX_DTYPES:
        raise UnsupportedError.of(
            "checkpoint.dtype",
            f"{tensor.name} is stored as {tensor.dtype}, which can't be used as a weight",
            where=f"{shard.name}: {tensor.name}",
            hint="take the checkpoint in its original precision (bf16, fp16 or fp32)",
        )
    # ir.ExternalTensor isn't used: it maps the whole file once per tensor and keeps it mapped, it refuses hard links
    # (which package installers make), and it would write this machine's paths into a serialized model.
    dtype = ir.DataType[_ONNX_DTYPES[tensor.dtype]]
    return ir.LazyTensor(
        partial(_read, shard, tensor, dtype), dtype=dtype, shape=ir.Shape(tensor.shape), name=tensor.name
    )


def _read(shard: Shard, tensor: StoredTensor, dtype: ir.DataType) -> ir.TensorProtocol:
    """The tensor as a read-only view of the mapped file (copied only where the file doesn't align it)."""
    import numpy as np
    import onnx_ir as ir

    little_endian = dtype.numpy().newbyteorder("<")
    if tensor.nbytes == 0:
        array = np.empty(tensor.shape, little_endian)
    else:
        mapped, offset = shard.mapping(tensor.offset, tensor.nbytes)
        array = np.frombuffer(mapped, little_endian, tensor.size, offset).reshape(tensor.shape)
        if not array.flags.aligned:
            array = array.copy()
    array.flags.writeable = False
    return ir.Tensor(array, dtype=dtype, name=tensor.name)
