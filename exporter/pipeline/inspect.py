"""`kogata inspect`: what is inside a checkpoint, an .onnx file, an .mlpackage or a bundle. No model is run."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.errors import Diagnostic, InputError, UnsupportedError

if TYPE_CHECKING:
    from exporter.checkpoint import Checkpoint
    from exporter.graph.model import DecoderSpec, Hub

Fact = str | int | float | None
_SHOWN_LABELS = 8


@dataclass(frozen=True)
class Contents:
    """kind: what the path is. facts: in reading order. tables: (title, columns, rows). diagnostics: what prevents an
    export."""

    kind: str
    facts: Mapping[str, Fact]
    tables: Sequence[tuple[str, Sequence[str], Sequence[Sequence[Fact]]]] = ()
    diagnostics: tuple[Diagnostic, ...] = ()

    def as_json(self) -> dict[str, Any]:
        """Facts and tables, rows as objects."""
        tables = {title: [dict(zip(columns, row, strict=True)) for row in rows] for title, columns, rows in self.tables}
        return {"kind": self.kind, "facts": dict(self.facts), **tables}


def inspect_path(reference: str, revision: str | None) -> Contents:
    """Reads what the path is. Raises InputError for something that Kogata doesn't know or can't read."""
    path = Path(reference)
    if (path / "manifest.json").is_file() and (path / "SHA256SUMS").is_file():
        return _bundle(path)
    if path.suffix == ".mlpackage":
        return _mlpackage(path)
    if path.suffix == ".onnx":
        return _onnx(path)
    return _checkpoint(reference, revision)


def _checkpoint(reference: str, revision: str | None) -> Contents:
    from exporter.checkpoint import open_checkpoint
    from exporter.graph.model import DecoderSpec, EncoderSpec
    from exporter.importers import import_checkpoint
    from exporter.importers.routes import route_of

    checkpoint = open_checkpoint(reference, revision=revision)
    tensors, source = checkpoint.tensors, checkpoint.source
    facts: dict[str, Fact] = {
        "family": str(checkpoint.config.get("model_type", "unknown")),
        "parameters": tensors.parameters,
        "bytes": tensors.total_bytes,
        "dtype": ", ".join(sorted(str(dtype) for dtype in tensors.dtypes)),
        "license": source.license or "not stated",
        "languages": ", ".join(source.languages) or "not stated",
        "repository": source.repo or "local folder",
        "revision": source.revision or "none",
        "chat template": "yes" if checkpoint.chat_template else "no",
    }
    try:
        if route_of(checkpoint) == "optimum":
            return Contents("checkpoint", facts | _through_optimum(checkpoint))
        hub = import_checkpoint(checkpoint)
    except UnsupportedError as error:
        return Contents("checkpoint", facts | {"export": "not supported"}, (), error.diagnostics)
    spec = hub.spec
    assert isinstance(spec, DecoderSpec | EncoderSpec)  # other models come through optimum
    facts |= {"task": hub.task, "context": spec.context, "hidden size": spec.hidden_size, "vocabulary": spec.vocab_size}
    if isinstance(spec, DecoderSpec):
        facts |= {"layers": spec.cache.layers, "attention": _attention(spec), **_windows(hub, spec)}
    elif spec.labels:
        facts["labels"] = (
            f"{len(spec.labels)}: {', '.join(spec.labels[:_SHOWN_LABELS])}{', …' * (len(spec.labels) > _SHOWN_LABELS)}"
        )
    elif hub.task == "feature-extraction":
        facts["pooling"] = f"{spec.pooling or 'none'}{', normalized' if spec.normalize else ''}"
    facts |= {"family": hub.family, "export": "native"}
    return Contents("checkpoint", facts)


def _attention(spec: DecoderSpec) -> str:
    """How query heads share keys and values, and the width of a head."""
    queries, keys = sorted(set(spec.heads)), sorted(set(spec.cache.kv_heads))
    kind = "full" if spec.heads == spec.cache.kv_heads else "multi-query" if keys == [1] else "grouped"
    shown = " query heads on ".join("–".join(str(n) for n in dict.fromkeys((c[0], c[-1]))) for c in (queries, keys))
    return f"{kind}: {shown}, of {spec.cache.head_dim}{', by layer' if len(queries) > 1 else ''}"


def _windows(hub: Hub, spec: DecoderSpec) -> dict[str, Fact]:
    """Sliding windows, soft caps and positions."""
    attentions = [node for node in hub.model.graph if node.op_type == "Attention"]
    masks = Counter(node.inputs[3].name for node in attentions if node.inputs[3] is not None)
    facts: dict[str, Fact] = {}
    if spec.windows:
        sliding = ", ".join(f"{width} tokens in {masks[f'mask.window.{width}']} layers" for width in spec.windows)
        facts["sliding window"] = sliding
    caps = sorted({node.attributes["softcap"].as_float() for node in attentions if "softcap" in node.attributes})
    if caps:
        facts["soft cap on scores"] = ", ".join(f"{cap:g}" for cap in caps)
    rotated = sum(node.op_type == "RotaryEmbedding" for node in hub.model.graph) // 2
    positions = f"rotary in {rotated} of {spec.cache.layers} layers" if rotated else "learned"
    return facts | {"positions": "rotary" if rotated == spec.cache.layers else positions}


def _through_optimum(checkpoint: Checkpoint) -> dict[str, Fact]:
    """What is known before optimum traces the model."""
    from exporter.importers.model_sizes import read_sizes
    from exporter.importers.optimum_export import VERSION, optimum_task
    from exporter.importers.sentence_graph import stated_sentence

    sentence = stated_sentence(checkpoint)
    architecture, task = optimum_task(checkpoint)
    sizes = read_sizes(checkpoint, None)
    facts: dict[str, Fact] = {"architecture": architecture, "task": task}
    if sentence is not None:
        facts["pooling"] = f"{sentence.pooling}{', normalized' if sentence.normalize else ''}"
    if checkpoint.tokenizer_files:
        facts["context"] = sizes.context
    if any(key in checkpoint.config for key in ("image_size", "vision_config", "patch_size")):
        facts["image"] = f"{sizes.channels} × {sizes.image[0]} × {sizes.image[1]}"
    return facts | {"export": f"through optimum-onnx {VERSION}"}


def _onnx(path: Path) -> Contents:
    from exporter.importers.graph_file import load_graph

    model = load_graph(path)
    graph = model.graph
    if not graph.outputs:  # an empty file is a valid protobuf message
        raise InputError.of("onnx.unreadable", "not an ONNX model: it has no outputs", where=str(path))
    ports = [
        (role, value.name, value.dtype.name if value.dtype else "unknown", _shape(value.shape))
        for role, values in (("input", graph.inputs), ("output", graph.outputs))
        for value in values
    ]
    stored = [v.const_value for v in graph.initializers.values() if v.const_value is not None]
    return Contents(
        "ONNX model",
        {
            "producer": f"{model.producer_name or 'unknown'} {model.producer_version or ''}".strip(),
            "opset": ", ".join(
                f"{domain or 'ai.onnx'} {version}" for domain, version in sorted(graph.opset_imports.items())
            ),
            "functions": ", ".join(sorted(str(f.name) for f in model.functions.values())) or "none",
            "nodes": len(graph),
            "tensor bytes": sum(t.nbytes for t in stored),
            **dict(sorted(model.metadata_props.items())),
        },
        (
            ("inputs and outputs", ("role", "name", "type", "shape"), ports),
            ("ops", ("op", "count"), _counts(f"{n.domain}::{n.op_type}".removeprefix("::") for n in graph)),
            ("tensors by type", ("type", "bytes"), _bytes_by_type(stored)),
        ),
    )


def _bytes_by_type(tensors: Iterable[Any]) -> list[tuple[str, int]]:
    total: Counter[str] = Counter()
    for tensor in tensors:
        total[tensor.dtype.name] += tensor.nbytes
    return sorted(total.items(), key=lambda item: -item[1])


def _mlpackage(path: Path) -> Contents:
    from exporter.runners.mil import load_mlpackage

    model = load_mlpackage(path, any_op=True)
    ports = [
        (role, f.name, f.dtype, f.constraint() if f.shape or f.ranges else "by input")
        for role, features in (("input", model.inputs), ("output", model.outputs), ("state", model.states))
        for f in features
    ]
    operations = model.function.operations
    size = sum(f.stat().st_size for f in path.rglob("*") if f.is_file())
    return Contents(
        "Core ML package",
        {"function": model.function.name, "opset": model.function.opset, "operations": len(operations), "bytes": size},
        (
            ("inputs, outputs and states", ("role", "name", "type", "shape"), ports),
            ("ops", ("op", "count"), _counts(op.kind for op in operations if op.kind != "const")),
        ),
    )


def _bundle(path: Path) -> Contents:
    from exporter.bundle import read_manifest

    manifest = read_manifest(path / "manifest.json")
    compression = manifest.compression
    by_bits = Counter((t["bits"], t["group_size"] or t.get("block")) for t in compression.tensors)
    artifacts = [
        (
            str(a.form),
            a.path,
            a.bytes,
            a.min_os,
            ", ".join(a.target) or "any",
            manifest.parity[a.path].verdict,
            manifest.parity[a.path].runner,
        )
        for a in manifest.artifacts
    ]
    bits = [("kept" if b is None else str(b), g, n) for (b, g), n in sorted(by_bits.items(), key=lambda i: str(i[0]))]
    return Contents(
        "bundle",
        {
            "name": manifest.name,
            "task": manifest.task,
            "family": str(manifest.model.get("family")),
            "license": manifest.source.license or "not stated",
            "repository": manifest.source.repo or "local folder",
            "revision": manifest.source.revision or "none",
            "digest": manifest.source.digest,
            "context": manifest.context or "no text",
            "parameters": compression.parameters,
            "bits per weight": f"mixed, {compression.bpw:.2f}" if compression.mixed else compression.bpw,
            "kogata": manifest.tools.get("kogata"),
        },
        (
            ("artifacts", ("form", "path", "bytes", "from", "targets", "parity", "run by"), artifacts),
            ("tensors", ("bits", "block" if compression.grids else "group size", "count"), bits),
        ),
    )


def _counts(names: Iterable[str]) -> list[tuple[str, int]]:
    return sorted(Counter(names).items(), key=lambda item: (-item[1], item[0]))


def _shape(shape: Any) -> str:
    return "unknown" if shape is None else f"[{', '.join(re.sub(r'^None$', '?', str(d)) for d in shape)}]"
