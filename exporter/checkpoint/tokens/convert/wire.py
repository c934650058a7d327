"""Reads protobuf's wire format (https://protobuf.dev/programming-guides/encoding): bounded, without a schema compiler.

Nothing is built from what a file claims: every length is checked against the bytes that are left, a message is a list
of its own fields only, and nested messages are read when they are asked for.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

_MAX_FIELD = (1 << 29) - 1
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5  # the wire types in use; 3 and 4 are groups, long deprecated


class WireError(ValueError):
    """The bytes are not a protobuf message."""


Value = int | bytes | float


def fields(message: bytes) -> Iterator[tuple[int, Value]]:
    """Each field's number and value, in file order: int (varint, not sign-extended), float (32 or 64 bits), or bytes.

    Raises WireError at the first byte that makes no sense.
    """
    position, end = 0, len(message)
    while position < end:
        key, position = _varint(message, position)
        number, wire_type = key >> 3, key & 7
        if not 1 <= number <= _MAX_FIELD:
            raise WireError(f"field number {number}")
        if wire_type == _VARINT:
            value, position = _varint(message, position)
            yield number, value
        elif wire_type == _BYTES:
            length, position = _varint(message, position)
            if length > end - position:
                raise WireError(f"field {number} is cut: {length} bytes promised, {end - position} left")
            yield number, message[position : position + length]
            position += length
        elif wire_type in (_FIXED32, _FIXED64):
            width, code = (4, "<f") if wire_type == _FIXED32 else (8, "<d")
            if width > end - position:
                raise WireError(f"field {number} is cut")
            yield number, float(struct.unpack_from(code, message, position)[0])
            position += width
        else:
            raise WireError(f"field {number} has wire type {wire_type}")


def int32(value: int) -> int:
    """A varint as the signed 32-bit integer that protobuf's `int32` and enums store."""
    value &= 0xFFFFFFFF
    return value - (1 << 32) if value >> 31 else value


def _varint(message: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while shift < 70:  # ten bytes of seven bits
        if position >= len(message):
            raise WireError("a number is cut")
        byte = message[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value & 0xFFFFFFFFFFFFFFFF, position
        shift += 7
    raise WireError("a number is longer than ten bytes")
