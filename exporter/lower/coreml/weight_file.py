"""Rewrites `weight.bin` with the values of deferred constants in place of their placeholders.

Layout of the file, little-endian, from coremltools' mlmodel/src/MILBlob/Blob/StorageFormat.hpp: a header of 64 bytes
(count u32, version u32, zeros), then per blob 64 bytes of metadata (sentinel u32, data type u32, size in bytes u64,
offset u64, padding in bits u64, zeros) and the data, each aligned to 64 bytes. A program refers to a blob by its
metadata's offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from exporter.lower.coreml.deferred import PLACEHOLDER_VALUES, Deferred

ALIGNMENT = 64
SENTINEL = 0xDEADBEEF
VERSION = 2
_HEADER = struct.Struct("<II56x")
_METADATA = struct.Struct("<IIQQQ32x")

Proto = Any  # coremltools ships no types
Place = tuple[str, str]  # name of an operation's first output, name of its input or attribute


def deferred_places(program: Any) -> dict[Place, Deferred]:
    """Place in the serialized program → deferred constant: of `const` ops, and of inputs of constexpr ops."""
    places: dict[Place, Deferred] = {}
    for function in program.functions.values():
        for op in function.operations:
            if op.op_type != "const" or not isinstance(op.outputs[0].val, Deferred):
                continue
            var = op.outputs[0]
            places[var.name, "val"] = var.val
            for user in var.child_ops:
                if user.op_type.startswith("constexpr_"):
                    places |= {(user.outputs[0].name, key): var.val for key, v in user.inputs.items() if v is var}
    return places


def write_weights(program: Proto, places: Mapping[Place, Deferred], source: Path, target: Path) -> None:
    """Writes the weight file `target` and updates the offsets in the serialized `program`.

    source: the weight file with placeholders, as coremltools wrote it. Blobs keep their order, and values that share a
    blob still share it. Raises OSError.
    """
    values = list(_file_values(program))
    deferred: dict[int, Deferred] = {}
    for place, value in values:
        if place in places:
            deferred[value.offset] = places[place]
    missing = len({id(array) for array in places.values()}) - len({id(array) for array in deferred.values()})
    if missing:
        raise RuntimeError(f"{missing} deferred constants aren't in the serialized program")
    moved: dict[int, int] = {}
    with source.open("rb") as old, target.open("wb") as new:
        offsets = sorted({value.offset for _, value in values})
        new.write(_HEADER.pack(len(offsets), VERSION))
        for offset in offsets:
            moved[offset] = _copy(old, offset, deferred.get(offset), new)
    for _, value in values:
        value.offset = moved[value.offset]


def _file_values(program: Proto) -> Iterator[tuple[Place, Proto]]:
    """(place, value) for every value of the program that is stored in the weight file."""
    for function in program.functions.values():
        for block in function.block_specializations.values():
            yield from _block_values(block)


def _block_values(block: Proto) -> Iterator[tuple[Place, Proto]]:
    for op in block.operations:
        name = op.outputs[0].name if op.outputs else ""
        for key, value in op.attributes.items():
            if value.HasField("blobFileValue"):
                yield (name, key), value.blobFileValue
        for key, argument in op.inputs.items():
            for binding in argument.arguments:
                if binding.HasField("value") and binding.value.HasField("blobFileValue"):
                    yield (name, key), binding.value.blobFileValue
        for inner in op.blocks:
            yield from _block_values(inner)


def _copy(old: IO[bytes], offset: int, deferred: Deferred | None, new: IO[bytes]) -> int:
    """Appends the blob at `offset`, or the deferred values if there are any. Returns its metadata's new offset."""
    old.seek(offset)
    sentinel, code, size, start, padding = _METADATA.unpack(old.read(_METADATA.size))
    if sentinel != SENTINEL:
        raise RuntimeError(f"there is no blob at {offset} of the weight file that coremltools wrote")
    if deferred is None:
        old.seek(start)
        chunks: Iterable[Any] = [old.read(size)]
    else:
        if size != -(-PLACEHOLDER_VALUES * deferred.bits // 8):
            raise RuntimeError(f"the blob at {offset} has {size} bytes and isn't a placeholder")
        size, chunks = deferred.stored_bytes, (chunk.data for chunk in deferred.chunks())
        padding = size * 8 - deferred.size * deferred.bits
    new.write(bytes(-new.tell() % ALIGNMENT))
    place = new.tell()
    begin = place + _METADATA.size
    new.write(_METADATA.pack(SENTINEL, code, size, begin, padding))
    for chunk in chunks:
        new.write(chunk)
    if new.tell() != begin + size:
        raise RuntimeError(f"a constant should have {size} bytes, but {new.tell() - begin} were written")
    return place
