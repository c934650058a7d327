"""Reads an `.onnx` file that may be hostile into a checked graph whose tensors stay in the file."""

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

MAX_NODES = 200_000  # a model of 1,000 layers has some 50,000
_MESSAGE = 2**31  # bytes of a protobuf message
_PROBLEMS = 20  # as many of a bad file are named
_MISFITS = (ArithmeticError, AttributeError, LookupError, RuntimeError, TypeError, ValueError)  # of a damaged file


def read_graph(path: Path) -> ir.Model:
    """The model at `path`, functions inlined; external tensors are memory-mapped when they are read.

    Raises InputError for anything that isn't a valid ONNX model, or whose data lies outside of its folder;
    UnsupportedError for a model that Kogata has made itself.
    """
    from onnx_ir.passes.common import InlinePass, RemoveInitializersFromInputsPass, RemoveUnusedNodesPass

    model = load_graph(path)
    _require_texts(model, path.name)
    _require_whole(model)
    count = sum(1 for _ in ir.traversal.RecursiveGraphIterator(model.graph))
    if count > MAX_NODES:
        raise InputError.of("onnx.too-large", f"the graph has {count:,} nodes; {MAX_NODES:,} are read", where=path.name)
    if DOMAIN in model.opset_imports or "kogata.version" in model.metadata_props:
        raise UnsupportedError.of(
            "onnx.exported",
            "this file is an export of Kogata's: its weights have been compressed already",
            where=path.name,
            hint="export the model that it was made from",
        )
    if not model.graph.outputs or not len(model.graph):
        raise InputError.of("onnx.unreadable", "not an ONNX model: it computes nothing", where=path.name)
    _map_external(model, path)
    try:
        InlinePass()(model)
        RemoveInitializersFromInputsPass()(model)
        RemoveUnusedNodesPass()(model)
    except _MISFITS as error:
        raise InputError.of("onnx.invalid", _first_line(error), where=path.name) from error
    _require_tensors(model.graph)
    check_graph(model, path.name)
    return model


def _require_tensors(graph: ir.Graph) -> None:
    """Raises InputError with inputs that aren't tensors of numbers: sequences, optional ones, texts, of no type."""
    InputError.raise_all(
        [
            Diagnostic("onnx.input-type", "the input is no tensor of numbers", str(value.name))
            for value in graph.inputs
            if not isinstance(value.type, ir.TensorType)
            or value.type.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED)
        ]
    )


def check_graph(model: ir.Model, where: str) -> None:
    """ONNX's checker, on the graph without its weights. Raises InputError where it isn't valid."""
    import onnx
    from onnx_ir.passes.common import CheckerPass

    try:
        CheckerPass()(model)
    except (onnx.checker.ValidationError, onnx.shape_inference.InferenceError, *_MISFITS) as error:
        raise InputError.of("onnx.invalid", f"not a valid ONNX model: {_first_line(error)}", where=where) from error


def load_graph(path: Path) -> ir.Model:
    """The model at `path` as it is, its external tensors unread. Raises InputError for anything else than ONNX."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if problem := file_problem(path):
        raise InputError.of("onnx.unreadable", problem, where=str(path))
    if path.stat().st_size >= _MESSAGE:
        raise InputError.of("onnx.unreadable", "larger than the 2 GiB that an ONNX file can have", where=path.name)
    logger = logging.getLogger("onnx_ir")  # remarks on what the checker refuses anyway
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        return ir.load(path)
    except (DecodeError, OSError, MemoryError, *_MISFITS) as error:
        message = f"not a readable ONNX file: {_first_line(error)}"
        raise InputError.of("onnx.unreadable", message, where=str(path)) from None
    finally:
        logger.setLevel(level)


def _require_texts(model: ir.Model, where: str) -> None:
    """Names that aren't UTF-8 are bytes to protobuf, and trip whatever meets them later."""
    for graph in _graphs(model):
        values = [*graph.inputs, *graph.outputs, *graph.initializers.values()]
        names: list[object] = [size.value for v in values for size in v.shape or () if isinstance(size, ir.SymbolicDim)]
        for node in graph:
            values += [value for value in (*node.inputs, *node.outputs) if value is not None]
            names += [node.name, node.op_type, node.domain, node.overload, *node.attributes]
        names += [value.name for value in values]
        if not all(name is None or isinstance(name, str) for name in names):
            raise InputError.of("onnx.unreadable", "a name in the graph isn't text", where=where)


def _require_whole(model: ir.Model) -> None:
    """Raises InputError with tensors that have fewer or more elements than their shape says."""
    problems = [
        Diagnostic("onnx.tensor", f"the tensor holds other data than its shape {list(tensor.shape)} says", name)
        for name, tensor in _inline(model)
        if not _is_whole(tensor)
    ]
    InputError.raise_all(problems[:_PROBLEMS])


def _inline(model: ir.Model) -> Iterator[tuple[str, ir.TensorProtoTensor]]:
    """Every tensor that lies in the file itself, with the name of its value or node."""
    for graph in _graphs(model):
        for name, value in graph.initializers.items():
            if isinstance(value.const_value, ir.TensorProtoTensor):
                yield name, value.const_value
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.TENSOR and isinstance(attribute.value, ir.TensorProtoTensor):
                    yield node.name or node.op_type, attribute.value


def _is_whole(tensor: ir.TensorProtoTensor) -> bool:
    if tensor.dtype == ir.DataType.STRING:
        return True
    if tensor.dtype == ir.DataType.UNDEFINED or any(size < 0 for size in tensor.shape.numpy()):
        return False
    if tensor.raw.HasField("raw_data"):  # whose length says it without a copy
        return len(tensor.raw.raw_data) == tensor.nbytes
    try:
        return bool(tensor.numpy().size == tensor.size)
    except _MISFITS:
        return False


def external_files(model: ir.Model, path: Path) -> dict[str, Path]:
    """Name → place of the files beside `path` that hold tensors of the model, sorted.

    Raises InputError for names that leave the folder, links out of it and files that aren't there.
    """
    folder, found, problems = Folder.at(path.parent), {}, []
    for location in sorted({str(tensor.location) for tensor in _external(model)}):
        try:
            place = folder.find(location)
        except InputError as error:
            problems += [Diagnostic("onnx.external-data", d.message, location, d.hint) for d in error.diagnostics]
            continue
        if place is None:
            message = f"the tensors' file {location!r} is missing"
            problems.append(Diagnostic("onnx.external-data", message, path.name, "keep it beside the .onnx file"))
        else:
            found[location] = place
    InputError.raise_all(problems[:_PROBLEMS])
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
    """The graph and those inside of nodes, also of functions' nodes."""
    pending: list[ir.Graph | ir.Function] = [model.graph, *model.functions.values()]
    while pending:
        graph = pending.pop()
        if isinstance(graph, ir.Graph):
            yield graph
        for node in graph:
            for attribute in node.attributes.values():
                if attribute.type == ir.AttributeType.GRAPH:
                    pending.append(attribute.as_graph())
                elif attribute.type == ir.AttributeType.GRAPHS:
                    pending += list(attribute.as_graphs())


def _map_external(model: ir.Model, path: Path) -> None:
    """Gives each external tensor its bytes out of one mapping a file."""
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
                    message = "a tensor inside of a node lies in another file; only initializers may"
                    problems.append(Diagnostic("onnx.external-data", message, node.name or node.op_type))
    InputError.raise_all(problems[:_PROBLEMS])


def _mapped(path: Path) -> memoryview:
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        return memoryview(mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ) if size else b"")


def _misplaced(tensor: ir.ExternalTensor, size: int) -> str:
    if tensor.dtype in (ir.DataType.STRING, ir.DataType.UNDEFINED) or any(size < 0 for size in tensor.shape.numpy()):
        return "a tensor of texts, or of no known type or shape, can't lie in another file"
    offset, length = tensor.offset or 0, tensor.length
    if length is not None and length != tensor.nbytes:
        return f"{length} bytes are given for a tensor of {tensor.nbytes}"
    if offset < 0 or offset + tensor.nbytes > size:
        return f"bytes {offset} to {offset + tensor.nbytes} of a file of {size}"
    return ""


def _view(tensor: ir.ExternalTensor, data: memoryview) -> ir.TensorProtocol:
    """The tensor as a read-only view of the mapped file, made when it is asked for."""
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
