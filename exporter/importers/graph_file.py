"""Reads and checks an `.onnx` file that may be hostile. The tensors of the graph stay in the file."""

from __future__ import annotations

import logging
import math
import mmap
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir

from exporter.checkpoint.folder import Folder
from exporter.errors import Diagnostic, InputError, UnsupportedError, file_problem
from exporter.graph.lut import DOMAIN
from exporter.graph.passes.rewrite import all_graphs, some_shapes
from exporter.importers.graph_functions import require_inlinable

MAX_NODES = 200_000  # a model of 1,000 layers has some 50,000
_MAX_MESSAGE_BYTES = 2**31  # protobuf's limit
_MAX_PROBLEMS = 20  # so many problems of a file are reported
_PLACEHOLDERS = frozenset({"", "?", "-1", "None", "*"})  # what exporters write as the name of any open axis
_PARSER_ERRORS = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)  # of a damaged file


def read_graph(path: Path) -> ir.Model:
    """The model at `path`, with functions inlined. External tensors are memory-mapped when they are read.

    Raises InputError for a file that isn't a valid ONNX model or has data outside of its folder; UnsupportedError for a
    file that Kogata exported.
    """
    from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass, RemoveUnusedNodesPass

    model = load_graph(path)
    _require_utf8_names(model, path.name)
    _require_complete_tensors(model)
    require_inlinable(model, MAX_NODES, path.name)
    clear_unnamed_axes(model)
    if DOMAIN in model.opset_imports or "kogata.version" in model.metadata_props:
        raise UnsupportedError.of(
            "onnx.exported",
            "Kogata exported this file, so its weights are already compressed",
            where=path.name,
            hint="export the original model",
        )
    if not model.graph.outputs or not len(model.graph):
        raise InputError.of("onnx.unreadable", "not an ONNX model: it has no nodes or no outputs", where=path.name)
    _map_external(model, path)
    try:
        InlinePass()(model)
        RemoveInitializersFromInputsPass()(model)
        RemoveUnusedNodesPass()(model)
    except _PARSER_ERRORS as error:
        raise InputError.of("onnx.invalid", _first_line(error), where=path.name) from error
    _require_tensors(model.graph)
    check_graph(model, path.name)
    return model


def _require_tensors(graph: ir.Graph) -> None:
    """Raises InputError with all inputs and outputs that aren't numeric tensors: sequences, optional values, strings,
    no type."""
    ports = [("input", value) for value in graph.inputs] + [("output", value) for value in graph.outputs]
    InputError.raise_all(
        [
            Diagnostic(f"onnx.{kind}-type", f"the {kind} must be a tensor of numbers", str(value.name))
            for kind, value in ports
            if not isinstance(value.type, ir.TensorType)
            or value.type.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED)
        ]
    )


def check_graph(model: ir.Model, where: str) -> None:
    """Runs ONNX's checker on the graph without its weights. Raises InputError if the graph isn't valid.

    Inputs and outputs may have no shape.
    """
    import onnx
    from onnx_ir.passes.common import CheckerPass

    try:
        with some_shapes((*model.graph.inputs, *model.graph.outputs)):
            CheckerPass()(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *_PARSER_ERRORS) as error:
        raise InputError.of("onnx.invalid", f"not a valid ONNX model: {_first_line(error)}", where=where) from error


def clear_unnamed_axes(model: ir.Model) -> None:
    """Makes axes open and unnamed that are -1, or named by a placeholder: two axes named `?` are two axes."""
    for graph in _graphs(model):
        values = [*graph.inputs, *graph.outputs, *(value for node in graph for value in node.outputs)]
        for value in values:
            if value.shape is not None and any(map(_is_unnamed, value.shape)):
                value.shape = ir.Shape([None if _is_unnamed(size) else size for size in value.shape])


def _is_unnamed(size: int | ir.SymbolicDim) -> bool:
    if isinstance(size, int):
        return size < 0
    return size.value is not None and size.value.strip() in _PLACEHOLDERS


def load_graph(path: Path) -> ir.Model:
    """The model at `path`, unchanged, with external tensors unread. Raises InputError if it can't be read as ONNX."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if problem := file_problem(path):
        raise InputError.of("onnx.unreadable", problem, where=str(path))
    if path.stat().st_size >= _MAX_MESSAGE_BYTES:
        raise InputError.of("onnx.unreadable", "larger than 2 GiB, the limit of an ONNX file", where=path.name)
    logger = logging.getLogger("onnx_ir")  # it warns about problems that the checker reports as errors
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return ir.load(path)
    except (DecodeError, OSError, MemoryError, *_PARSER_ERRORS) as error:
        message = f"not a readable ONNX file: {_first_line(error)}"
        raise InputError.of("onnx.unreadable", message, where=str(path)) from None
    finally:
        logger.setLevel(level)


def _require_utf8_names(model: ir.Model, where: str) -> None:
    """Raises InputError for names that aren't UTF-8: protobuf returns them as bytes, which break later steps."""
    for graph in _graphs(model):
        values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
        names: list[object] = [size.value for v in values for size in v.shape or () if isinstance(size, ir.SymbolicDim)]
        for node in graph:
            values += [value for value in (*node.inputs, *node.outputs) if value is not None]
            names += [node.name, node.op_type, node.domain, node.overload, *node.attributes]
        names += [value.name for value in values]
        if not all(name is None or isinstance(name, str) for name in names):
            raise InputError.of("onnx.unreadable", "a name in the graph isn't valid UTF-8", where=where)


def _require_complete_tensors(model: ir.Model) -> None:
    """Raises InputError with all tensors whose number of elements contradicts their shape."""
    problems = [
        Diagnostic("onnx.tensor", f"the tensor's data doesn't have the size of its shape {list(tensor.shape)}", name)
        for name, tensor in _inline(model)
        if not _is_complete(tensor)
    ]
    InputError.raise_all(problems[:_MAX_PROBLEMS])


def _inline(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtoTensor]]:
    """(name of the value or node, tensor) for every tensor inside of the file."""
    for graph in _graphs(model):
        for name, value in graph.initializers.items():
            if isinstance(value.const_value, ir.TensorProtoTensor):
                yield name, value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.TensorProtoTensor):
                    yield node.name or node.op_type, attribute.value


def _is_complete(tensor: ir.TensorProtoTensor) -> bool:
    if tensor.dtype == ir.DataType.STRING:
        return True
    if tensor.dtype == ir.DataType.UNDEFINED or any(size < 0 for size in tensor.shape.numpy()):
        return False
    if tensor.raw.HasField("raw_data"):  # its length is known without a copy
        return len(tensor.raw.raw_data) == tensor.nbytes
    try:
        return bool(tensor.numpy().size == tensor.size)
    except _PARSER_ERRORS:
        return False


def external_files(model: ir.Model, path: Path) -> dict[str, Path]:
    """Name → path of the files beside `path` that hold tensors of the model, sorted.

    Raises InputError for names and links that lead out of the folder and for missing files.
    """
    folder, found, problems = Folder.at(path.parent), {}, []
    for location in sorted({str(tensor.location) for tensor in _external(model)}):
        try:
            place = folder.find(location)
        except InputError as error:
            problems += [Diagnostic("onnx.external-data", d.message, location, d.hint) for d in error.diagnostics]
            continue
        if place is None:
            message = f"the file with the tensors, {location!r}, is missing"
            problems.append(Diagnostic("onnx.external-data", message, path.name, "put it beside the .onnx file"))
        else:
            found[location] = place
    InputError.raise_all(problems[:_MAX_PROBLEMS])
    return found


def _external(model: ir.Model) -> Iterator[ir.ExternalTensor]:
    for graph in _graphs(model):
        for value in graph.initializers.values():
            if isinstance(value.const_value, ir.ExternalTensor):
                yield value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                    yield attribute.value


def _graphs(model: ir.Model) -> Iterator[ir.Graph]:
    """The graph, and the subgraphs of its nodes and of its functions' nodes."""
    yield from all_graphs(model.graph)
    for function in model.functions.values():
        yield from all_graphs(function)


def _map_external(model: ir.Model, path: Path) -> None:
    """Replaces external tensors by views of their files; each file is mapped once."""
    maps = {location: _mapped(place) for location, place in external_files(model, path).items()}
    problems = []
    for graph in _graphs(model):
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor):
                data = maps[str(tensor.location)]
                problem = _misplaced(tensor, len(data))
                if problem:
                    problems.append(Diagnostic("onnx.external-data", problem, value.name or ""))
                else:
                    value.const_value = _view(tensor, data)
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.ExternalTensor):
                    message = "a tensor inside of a node is stored in another file; only initializers may be"
                    problems.append(Diagnostic("onnx.external-data", message, node.name or node.op_type))
    InputError.raise_all(problems[:_MAX_PROBLEMS])


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def _misplaced(tensor: ir.ExternalTensor, size: int) -> str:
    if tensor.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) or any(size < 0 for size in tensor.shape.numpy()):
        return "a tensor of strings or of unknown type or shape can't be stored in another file"
    offset, length = tensor.offset or 0, tensor.length
    if length is not None and length != tensor.nbytes:
        return f"the stated length is {length} bytes, the tensor has {tensor.nbytes} bytes"
    if offset < 0 or offset + tensor.nbytes > size:
        return f"bytes {offset} to {offset + tensor.nbytes} are outside of the file, which has {size} bytes"
    return ""


def _view(tensor: ir.ExternalTensor, data: memoryview) -> ir.TensorProtocol:
    """The tensor as a read-only view of the mapped file; the view is created lazily."""
    shape, dtype, offset, nbytes = tensor.shape.numpy(), tensor.dtype, tensor.offset or 0, tensor.nbytes

    def view() -> ir.TensorProtocol:
        part = data[offset : offset + nbytes]
        if dtype.bitwidth < 8:
            return ir.PackedTensor(np.frombuffer(part, np.uint8), dtype, shape=ir.Shape(shape))
        array = np.frombuffer(part, dtype.numpy().newbyteorder("<"), math.prod(shape)).reshape(shape)
        array = array if array.flags.aligned else array.copy()
        array.flags.writeable = False
        return ir.Tensor(array, dtype=dtype)

    return ir.LazyTensor(view, dtype=dtype, shape=ir.Shape(shape), name=tensor.name)


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:300]
