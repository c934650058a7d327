"""Reads safetensors headers, with bounds and strict checks.

The format (https://huggingface.co/docs/safetensors): 8 bytes little-endian header length, a JSON object from tensor
name to `{dtype, shape, data_offsets}`, then the data, which the tensors cover without gap or overlap.
"""

from __future__ import annotations

import json
import math
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.errors import Diagnostic, InputError

MAX_HEADER_BYTES = 100_000_000  # the format's own limit
MAX_RANK = 32  # numpy holds 64, ONNX runtimes fewer; no checkpoint has more than 5
MAX_DIAGNOSTICS = 20  # a damaged header can be wrong in every tensor

DTYPE_BITS: Mapping[str, int] = {
    "BOOL": 8, "U8": 8, "I8": 8, "U16": 16, "I16": 16, "U32": 32, "I32": 32, "U64": 64, "I64": 64,
    "F16": 16, "BF16": 16, "F32": 32, "F64": 64, "C64": 64,
    "F4": 4, "F6_E2M3": 6, "F6_E3M2": 6,
    "F8_E5M2": 8, "F8_E4M3": 8, "F8_E8M0": 8, "F8_E4M3FNUZ": 8, "F8_E5M2FNUZ": 8,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """Where a tensor is in its file.

    dtype: safetensors' name ("F32", "BF16"); offset: bytes from the start of the file; nbytes: its bytes in the file.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    offset: int
    nbytes: int

    @property
    def size(self) -> int:
        """Number of elements."""
        return math.prod(self.shape)


@dataclass(frozen=True)
class Header:
    """A file's tensors, in the order of their data, and its `__metadata__`; `file_bytes` is the file's whole size."""

    tensors: tuple[StoredTensor, ...]
    metadata: Mapping[str, str]
    file_bytes: int


class _DuplicateKeyError(ValueError):
    pass


def read_header(path: Path, name: str) -> Header:
    """The header of `path`, fully checked. name: the file's name in errors.

    Raises one `InputError` with every problem found: truncated, not safetensors, wrong offsets, sizes or names.
    """
    try:
        with path.open("rb") as file:
            file_bytes = os.fstat(file.fileno()).st_size
            start = file.read(8)
            length = _header_length(start, file_bytes, name)
            raw = file.read(length)
    except OSError as error:
        raise InputError.of("checkpoint.unreadable", f"{name} can't be read: {error.strerror}", where=name) from None
    if len(raw) < length:
        raise InputError.of("checkpoint.truncated", f"{name} became shorter while it was read", where=name)
    entries = _parse(raw, name)
    problems: list[Diagnostic] = []
    metadata = _metadata(entries.pop("__metadata__", {}), name, problems)
    data_start = 8 + length
    tensors = []
    for key, entry in entries.items():
        try:
            tensors.append(_tensor(key, entry, data_start))
        except _EntryError as error:
            problems.append(_problem(name, key, str(error)))
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.nbytes, tensor.name))
    if not problems:
        problems = _check_layout(tensors, data_start, file_bytes, name)
    if len(problems) > MAX_DIAGNOSTICS:
        left = len(problems) - MAX_DIAGNOSTICS
        problems[MAX_DIAGNOSTICS:] = [Diagnostic("checkpoint.safetensors", f"… and {left} more problems", name)]
    InputError.raise_all(problems)
    return Header(tuple(tensors), metadata, file_bytes)


def _problem(file: str, tensor: str, message: str) -> Diagnostic:
    label = repr(tensor) if tensor.isprintable() else ascii(tensor)
    return Diagnostic("checkpoint.safetensors", f"{file}: {label} {message}", f"{file}: {label[1:-1]}")


def _header_length(start: bytes, file_bytes: int, name: str) -> int:
    if start == b"version ":
        raise InputError.of(
            "checkpoint.git_lfs",
            f"{name} is a Git LFS pointer, not the weights themselves",
            where=name,
            hint="run `git lfs pull` in the checkpoint's repository",
        )
    length = int.from_bytes(start, "little")
    if file_bytes < 8 or length > MAX_HEADER_BYTES or length < 2:
        raise InputError.of(
            "checkpoint.safetensors", f"{name} is not a safetensors file (its header length is not valid)", where=name
        )
    if 8 + length > file_bytes:
        raise InputError.of(
            "checkpoint.truncated",
            f"{name} is truncated: it has {file_bytes} bytes, its header alone needs {8 + length}",
            where=name,
            hint="download it again",
        )
    return length


def _parse(raw: bytes, name: str) -> dict[str, Any]:
    reason = ""
    try:
        if raw[:1] == b"{":
            entries: Any = json.loads(
                raw.decode("utf-8"), object_pairs_hook=_unique, parse_int=_natural, parse_constant=_natural
            )
            if isinstance(entries, dict):
                return entries
        reason = "not a JSON object"
    except _DuplicateKeyError as error:
        reason = f"the key {str(error)!r} occurs twice"
    except UnicodeDecodeError:
        reason = "not UTF-8"
    except json.JSONDecodeError as error:
        reason = f"{error.msg} at byte {error.pos}"
    except ValueError:
        reason = "a number out of range"
    except RecursionError:
        reason = "nested too deeply"
    except MemoryError:
        reason = "too large"
    raise InputError.of("checkpoint.safetensors", f"{name}: the header can't be read: {reason}", where=name)


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    entries = dict(pairs)
    if len(entries) != len(pairs):
        raise _DuplicateKeyError(Counter(key for key, _ in pairs).most_common(1)[0][0])
    return entries


def _natural(text: str) -> int:
    """A length or offset. Negative numbers, -0, NaN and Infinity, which Python's JSON reader accepts, are refused."""
    if not text.isdecimal():
        raise ValueError(f"{text} is not a length")
    return int(text)


def _metadata(value: Any, name: str, problems: list[Diagnostic]) -> Mapping[str, str]:
    if isinstance(value, dict) and all(isinstance(text, str) for text in value.values()):
        return value
    problems.append(Diagnostic("checkpoint.safetensors", f"{name}: __metadata__ is not a map of strings", name))
    return {}


class _EntryError(ValueError):
    """One tensor's entry is wrong. The message continues a sentence that begins with the tensor's name."""


def _tensor(key: str, entry: Any, data_start: int) -> StoredTensor:
    try:
        key.encode("utf-8")
    except UnicodeEncodeError:  # "\ud800": half of a surrogate pair, which file names and protobuf can't hold
        raise _EntryError("has a name that is not valid Unicode") from None
    if not isinstance(entry, dict):
        raise _EntryError("has an entry that is not an object")
    dtype = entry.get("dtype")
    if not isinstance(dtype, str) or dtype not in DTYPE_BITS:
        raise _EntryError(f"has the unknown dtype {str(dtype)[:40]!r}")
    shape, offsets = _counts(entry.get("shape"), "shape"), _counts(entry.get("data_offsets"), "data_offsets")
    if len(shape) > MAX_RANK or math.prod(n for n in shape if n) * DTYPE_BITS[dtype] >= 1 << 63:
        raise _EntryError("has an impossible shape")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise _EntryError("has no valid data_offsets")
    begin, end = offsets
    bits = math.prod(shape) * DTYPE_BITS[dtype]
    if bits != (end - begin) * 8:
        raise _EntryError(f"has {end - begin} bytes; its dtype {dtype} and shape {list(shape)} need {-(-bits // 8)}")
    return StoredTensor(key, dtype, shape, data_start + begin, end - begin)


def _counts(value: Any, what: str) -> tuple[int, ...]:
    """`value` as integers ≥ 0. True, an int in Python, is refused."""
    if isinstance(value, list) and all(type(n) is int and 0 <= n < 1 << 63 for n in value):
        return tuple(value)
    raise _EntryError(f"has no valid {what}")


def _check_layout(tensors: Sequence[StoredTensor], data_start: int, file_bytes: int, name: str) -> list[Diagnostic]:
    """Problems of `tensors`, sorted by offset: they must cover all bytes after the header without gap or overlap."""
    problems = []
    end = data_start
    for tensor in tensors:
        if tensor.offset != end:
            what = "overlaps the tensor before it" if tensor.offset < end else "leaves a gap before it"
            problems.append(_problem(name, tensor.name, what))
        end = max(end, tensor.offset + tensor.nbytes)
    if end > file_bytes:
        message = f"{name} is truncated: it has {file_bytes} bytes, its tensors need {end}"
        problems.append(Diagnostic("checkpoint.truncated", message, name, "download it again"))
    elif end < file_bytes:
        message = f"{name}: {file_bytes - end} bytes after the last tensor belong to no tensor"
        problems.append(Diagnostic("checkpoint.safetensors", message, name))
    return problems
