"""The weight file of an ML Program (`weights/weight.bin`), storage format version 2.

Layout, little-endian, from coremltools' mlmodel/src/MILBlob/Blob/StorageFormat.hpp: a header of 64 bytes (count u32,
version u32, zeros), then per blob 64 bytes of metadata (sentinel u32, data type u32, size in bytes u64, offset u64,
padding in bits u64, zeros) and the data, each aligned to 64 bytes. A program refers to a blob by its metadata's offset.
"""

from __future__ import annotations

import struct
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError
from exporter.runners.mil.datatypes import BLOB_TYPES, DataType, packed_bytes, unpack

ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
_HEADER = struct.Struct("<II56x")
_METADATA = struct.Struct("<IIQQQ32x")


class BlobFile:
    """Reads single blobs; nothing stays open between reads."""

    def __init__(self, path: Path) -> None:
        """Raises InputError when `path` isn't a weight file of the known version."""
        self._path = path
        self._where = path.name
        try:
            self._size = path.stat().st_size
        except OSError as error:
            raise InputError.of("weights.unreadable", str(error.strerror), where=self._where) from error
        _, version = _HEADER.unpack(self._bytes(0, _HEADER.size).tobytes())
        if version != VERSION:
            raise InputError.of("weights.version", f"storage format {version}, expected {VERSION}", where=self._where)

    def check(self, offset: int, dtype: DataType, count: int) -> int:
        """Where the data of the blob whose metadata lies at `offset` begin, once its metadata agree with the program.

        Raises InputError: an offset or size beyond the file, no sentinel, another data type or another length.
        """
        where = f"{self._where}@{offset}"
        if offset % ALIGNMENT or offset < _HEADER.size:
            raise InputError.of("weights.offset", f"no blob can begin at {offset}", where=where)
        metadata = self._bytes(offset, _METADATA.size).tobytes()
        sentinel, code, size, start, padding = _METADATA.unpack(metadata)
        if sentinel != SENTINEL:
            raise InputError.of("weights.sentinel", "no blob begins here", where=where)
        if BLOB_TYPES.get(code) != dtype.name:
            found = BLOB_TYPES.get(code, f"unknown type {code}")
            raise InputError.of("weights.dtype", f"holds {found}, the program says {dtype.name}", where=where)
        expected = packed_bytes(count, dtype.bits)
        if size != expected or (dtype.bits < 8 and padding != size * 8 - count * dtype.bits):
            message = (
                f"holds {size} bytes with {padding} bits of padding, {count} values of {dtype.name} take {expected}"
            )
            raise InputError.of("weights.size", message, where=where)
        if start % ALIGNMENT or start > self._size or size > self._size - start:
            raise InputError.of("weights.truncated", "its data lie beyond the end of the file", where=where)
        return int(start)

    def read(self, offset: int, dtype: DataType, count: int) -> NDArray[np.generic]:
        """The `count` values of the blob whose metadata lie at `offset`, unpacked, `[count]`. Raises as `check`."""
        start = self.check(offset, dtype, count)
        return unpack(self._bytes(start, packed_bytes(count, dtype.bits)), dtype, count)

    def _bytes(self, start: int, size: int) -> NDArray[np.uint8]:
        if start > self._size or size > self._size - start:
            raise InputError.of("weights.truncated", "the file ends too early", where=f"{self._where}@{start}")
        try:
            data = np.fromfile(self._path, np.uint8, size, offset=start)
        except OSError as error:
            raise InputError.of("weights.unreadable", str(error.strerror), where=self._where) from error
        if data.size != size:
            raise InputError.of("weights.truncated", "the file ends too early", where=f"{self._where}@{start}")
        return data
