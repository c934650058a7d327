"""What stages say in their own types, in the words of the next: graph to candidates, results to a bundle's facts."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.bundle import (
    ArtifactPlan,
    Bound,
    BundlePlan,
    CompressionFacts,
    Interface,
    Manifest,
    ParityFacts,
    SourceFacts,
    onnx_interface,
    ports,
)
from exporter.checkpoint import Checkpoint
from exporter.compress import Candidate, Compression
from exporter.errors import Diagnostic
from exporter.graph.hub import Hub
from exporter.importers import unused_tensors
from exporter.machine import tool_versions
from exporter.parity import ParityReport
from exporter.parity.metrics import METRICS
from exporter.report import render_parity_html
from exporter.settings import Settings
from exporter.targets import Format, load_target

ANY_DEVICE: Mapping[Format, str] = {"coreml": "iphone", "onnx": "android"}  # whose oldest system counts without --for


@dataclass(frozen=True)
class PackingList:
    """Everything that a bundle is made of. artifacts: format → `model.onnx` or `.mlpackage`, in the work area."""

    name: str
    checkpoint: Checkpoint
    hub: Hub
    compression: Compression
    settings: Settings
    artifacts: Mapping[Format, Path]
    parity: ParityReport | None


def candidates(hub: Hub, checkpoint: Checkpoint) -> list[Candidate]:
    """Every checkpoint tensor that the graph holds; those that the graph calls weights are open to compression."""
    open_names = {weight.name for weight in hub.weights}
    found = []
    for name, value in hub.model.graph.initializers.items():
        tensor = value.const_value
        if tensor is not None and name in checkpoint.tensors:
            shape = tuple(int(n) for n in tensor.shape.numpy())
            found.append(Candidate(name, shape, tensor.nbytes, name in open_names, _loader(tensor)))
    return found


def _loader(tensor: ir.TensorProtocol) -> Callable[[], NDArray[np.float32]]:
    return lambda: tensor.numpy().astype(np.float32)


def kogata_metadata(name: str, checkpoint: Checkpoint) -> dict[str, str]:
    """What every artifact says of itself."""
    source = checkpoint.source
    entries = {
        "co.huggingface.exporters.name": source.repo or name,  # swift-transformers looks for a tokenizer by this name
        "kogata.version": tool_versions()["kogata"],
        "kogata.source.digest": source.digest,
        "kogata.source.repo": source.repo or "",
        "kogata.source.revision": source.revision or "",
        "kogata.source.license": source.license or "",
    }
    return {key: value for key, value in entries.items() if value}


def bundle_plan(packing: PackingList) -> BundlePlan:
    """The bundle's facts."""
    checkpoint, hub, parity = packing.checkpoint, packing.hub, packing.parity
    source = checkpoint.source
    compression = compression_facts(packing)
    report = None if parity is None else parity.as_json()
    return BundlePlan(
        name=packing.name,
        task=hub.task,
        family=hub.family,
        spec=hub.spec,
        context=hub.spec.context,
        source=SourceFacts(source.repo, source.revision, source.license, source.digest, source.license_link),
        languages=source.languages,
        compression=compression,
        artifacts=tuple(_artifact(packing, kind, path) for kind, path in packing.artifacts.items()),
        config=checkpoint.config,
        generation_config=checkpoint.generation_config,
        tokenizer_files=checkpoint.tokenizer_files,
        chat_template=checkpoint.chat_template,
        tools=tool_versions(),
        parity_report=report,
        parity_html=None if report is None else parity_page(packing.name, report, compression),
        license_files=_license_files(checkpoint),
    )


def parity_page(name: str, report: Mapping[str, Any], compression: CompressionFacts) -> bytes:
    """The report for people."""
    facts = {"bits": compression.bits, "bpw": compression.bpw, "group_size": compression.group_size}
    facts |= {"parameters": compression.parameters, "stored_bytes": compression.stored_bytes}
    return render_parity_html(name, report, {**facts, "tensors": [dict(t) for t in compression.tensors]})


def compression_facts(packing: PackingList) -> CompressionFacts:
    """Every tensor of the checkpoint: palettized, kept, or not part of the graph, and why."""
    compression, settings = packing.compression, packing.settings
    compressed = settings.bits < 16
    unused = unused_tensors(packing.checkpoint)
    tensors = packing.checkpoint.tensors
    left_out = [
        {
            "name": name,
            "shape": [int(n) for n in tensors[name].shape.numpy()],
            "bits": None,
            "group_size": None,
            "stored_bytes": 0,
            "reason": f"not stored: {reason}",
        }
        for name, reason in unused.items()
    ]
    return CompressionFacts(
        bits=settings.bits if compressed else None,
        group_size=settings.group_size if compressed else None,
        parameters=compression.parameters,
        stored_bytes=compression.stored_bytes,
        tensors=(*(asdict(decision) for decision in compression.decisions), *left_out),
    )


def size_findings(manifest: Manifest, settings: Settings) -> tuple[Diagnostic, ...]:
    """Artifacts that are larger than one of their targets takes well."""
    found = []
    for artifact in manifest.artifacts:
        for target in settings.targets_of(artifact.kind):
            limit = target.limits.mlpackage if artifact.kind == "coreml" else target.limits.pack
            if limit is not None and isinstance(limit.value, int | float) and artifact.bytes > limit.value:
                message = f"{artifact.bytes:,} bytes, and {target.title} takes {limit.value:,} well: {limit.source}"
                where = artifact.path.rsplit("/", 1)[-1]
                found.append(Diagnostic("target.size", message, where=where, hint="fewer --bits", level="warning"))
    return tuple(found)


def _artifact(packing: PackingList, kind: Format, path: Path) -> ArtifactPlan:
    targets = packing.settings.targets_of(kind)
    facts = {} if packing.parity is None else {"parity": parity_facts(packing.parity, kind)}
    return ArtifactPlan(
        kind=kind,
        path=path.parent if kind == "onnx" else path,
        interface=onnx_interface(path) if kind == "onnx" else _coreml_interface(path),
        target=tuple(target.name for target in targets),
        min_os=(targets[0] if targets else load_target(ANY_DEVICE[kind])).min_os,
        **facts,
    )


def _coreml_interface(path: Path) -> Interface:
    from exporter.parity.mil import load_mlpackage

    model = load_mlpackage(path)
    return Interface(ports(model.inputs), ports(model.outputs), ports(model.states))


def parity_facts(report: ParityReport, kind: Format) -> ParityFacts:
    """The end-to-end row of one artifact: checkpoint against shipped file."""
    row = report.row(kind)
    if row is None:
        return ParityFacts(report.artifact_verdict(kind))
    facts = row.as_json()
    return ParityFacts(
        verdict=report.artifact_verdict(kind),
        runner=row.runners[1],
        metrics=facts["metrics"],
        thresholds={check["metric"]: _bound(check) for check in facts["thresholds"]},
    )


def _bound(check: Mapping[str, Any]) -> Bound:
    side = "min" if METRICS[check["metric"]].higher_is_better else "max"
    return Bound(**{side: check["limit"]}, reason=check["reason"])


def _license_files(checkpoint: Checkpoint) -> dict[str, Path]:
    """Licence and notice texts, which licences such as Apache-2.0 and Llama's ask to be passed on."""
    names = re.compile(r"(license|licence|notice|use_policy|copying)(\..*)?", re.IGNORECASE)
    return {
        path.name: path for path in sorted(checkpoint.root.iterdir()) if names.fullmatch(path.name) and path.is_file()
    }
