"""Writes a model to `model.onnx` and, tensor by tensor, large models' tensors to `model.onnx.data`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import MappingProxyType
from typing import IO

import onnx_ir as ir

from exporter.errors import InputError, UnsupportedError

MODEL = "model"  # file name, without .onnx, of a model with a single graph

INLINE_BELOW = 1024  # bytes; shapes and axes must be readable without the data file (shape inference needs them)
PAGE = 4096  # ONNX recommends page-aligned offsets, so that a runtime can map a tensor without copying it
PAGE_ALIGNED_FROM = 1 << 20  # bytes; for smaller tensors, padding costs more than a copy
LINE = 64  # bytes; alignment of smaller tensors, enough for any element type and vector load
PROTOBUF_LIMIT = 2**31 - 1  # bytes in one message


def write_model(
    model: ir.Model,
    folder: Path,
    external_data_above: int,
    name: str = MODEL,
    same_bytes: Mapping[str, str] = MappingProxyType({}),
) -> tuple[str, ...]:
    """Writes `NAME.onnx`, and `NAME.onnx.data` for a large model. Returns their names.

    same_bytes: initializer → another one with the same bytes in another shape; the data file holds them once.

    Old files are replaced only when the new ones are complete. Raises InputError if the folder can't be written or a
    tensor's file can't be read.
    """
    model_file, data_file = f"{name}.onnx", f"{name}.onnx.data"
    partial = {file: folder / f".{file}.partial" for file in (model_file, data_file)}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as cleanup:
            for path in partial.values():
                cleanup.callback(path.unlink, missing_ok=True)
            names: tuple[str, ...] = (model_file,)
            if sum(tensor.nbytes for tensor in _tensors(model)) > external_data_above:
                with partial[data_file].open("wb") as file:
                    _write_tensors(model, file, data_file, same_bytes)
                names = (model_file, data_file)
            with partial[model_file].open("wb") as file:
                file.write(_message(model))
            for file_name in reversed(names):
                partial[file_name].replace(folder / file_name)
            if data_file not in names:  # an old data file must not remain beside the new model
                (folder / data_file).unlink(missing_ok=True)
            return names
    except OSError as error:
        raise InputError.of(
            "lower.write",
            f"the ONNX model can't be written: {error.strerror or error}",
            where=str(folder),
            hint="check that the folder is writable and the disk isn't full",
        ) from error


def _tensors(model: ir.Model) -> list[ir.TensorProtocol]:
    return [value.const_value for value in model.graph.initializers.values() if value.const_value is not None]


def _write_tensors(model: ir.Model, file: IO[bytes], name: str, same_bytes: Mapping[str, str]) -> None:
    """Writes the initializers' bytes to `file`, one after the other in graph order, and makes them external tensors of
    the file `name`."""
    offsets: dict[str, int] = {}
    initializers = model.graph.initializers
    for value in sorted(initializers.values(), key=lambda value: value.name in same_bytes):  # the copies last
        tensor = value.const_value
        if tensor is None or tensor.nbytes < INLINE_BELOW:
            continue
        original = offsets.get(same_bytes.get(value.name or "", ""))
        if original is not None:
            value.const_value = _external(name, original, tensor, value)
            continue
        alignment = PAGE if tensor.nbytes >= PAGE_ALIGNED_FROM else LINE
        file.write(bytes(-file.tell() % alignment))
        offset = file.tell()
        _copy(tensor, file)
        offsets[value.name or ""] = offset
        value.const_value = _external(name, offset, tensor, value)


def _external(file: str, offset: int, tensor: ir.TensorProtocol, value: ir.Value) -> ir.ExternalTensor:
    return ir.ExternalTensor(
        file, offset, tensor.nbytes, tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=value.name or ""
    )


def _copy(tensor: ir.TensorProtocol, file: IO[bytes]) -> None:
    start = file.tell()
    to_file: Callable[[IO[bytes]], None] | None = getattr(tensor, "tofile", None)
    if to_file is None:
        file.write(tensor.tobytes())
    else:
        to_file(file)
    if file.tell() - start != tensor.nbytes:
        raise OSError(f"tensor {tensor.name} has {file.tell() - start} bytes, expected {tensor.nbytes}")


def _message(model: ir.Model) -> bytes:
    proto = ir.to_proto(model)
    if proto.ByteSize() > PROTOBUF_LIMIT:
        raise UnsupportedError.of(
            "lower.protobuf-limit",
            f"the graph without its tensors takes {proto.ByteSize()} bytes, more than an ONNX file can have",
            where=model.graph.name or "",
        )
    message: bytes = proto.SerializeToString(deterministic=True)
    return message


def stored_sizes(folder: Path, names: tuple[str, ...]) -> int:
    """The total size in bytes of the files `names` in `folder`."""
    return sum(os.stat(folder / name).st_size for name in names)
