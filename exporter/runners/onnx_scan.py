"""What an ONNX file says without its weights: loops, and the files that its tensors lie in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from exporter.errors import InputError
from exporter.runners.bounded import LOOPS


@dataclass(frozen=True)
class OnnxScan:
    """loop: the name of a loop in the graph, or its op; "" if there is none. data: the files with external data, all in
    the file's own folder.
    """

    loop: str
    data: tuple[Path, ...]


def scan_onnx(path: Path) -> OnnxScan:
    """Parses the file at `path`, without external data.

    Raises InputError where it can't be read as ONNX or names data outside of its own folder.
    """
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load(str(path), load_external_data=False)
    except (OSError, DecodeError, ValueError) as error:
        raise InputError.of("parity.onnx-load", f"not a readable ONNX file: {error}", where=path.name) from error
    folder, loop = path.parent.resolve(), ""
    graphs, locations = [proto.graph, *proto.functions], set()
    while graphs:
        graph = graphs.pop()
        tensors = list(getattr(graph, "initializer", ()))
        for node in graph.node:
            loop = loop or (str(node.name or node.op_type) if node.op_type in LOOPS else "")
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                graphs += [attribute.g, *attribute.graphs]
        for tensor in tensors:
            for entry in tensor.external_data:
                if entry.key != "location":
                    continue
                if not (folder / entry.value).resolve().is_relative_to(folder):
                    raise InputError.of(
                        "onnx.external-data",
                        f"the tensor {tensor.name!r} reads {entry.value!r}, outside of the model's folder",
                        where=path.name,
                    )
                locations.add(folder / entry.value)
    return OnnxScan(loop, tuple(sorted(locations)))
