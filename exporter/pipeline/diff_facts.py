"""What two bundles state about themselves, fact by fact, file by file and tensor by tensor."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from exporter.bundle import Manifest
from exporter.bundle.writer import CHAT_TEMPLATE
from exporter.pipeline.diff_quantities import artifact_row
from exporter.pipeline.diff_sides import FileFacts, Side

Value = str | int | float | None
_TOKENIZER = "tokenizer/"
_DIGITS = 12  # of a hash, for people to tell two apart


@dataclass(frozen=True)
class Change:
    """what: a fact's name, a file's path or a tensor's name. None: the side doesn't have it."""

    what: str
    old: Value
    new: Value
    changed: bool

    def as_json(self) -> dict[str, Any]:
        """All fields."""
        return {"what": self.what, "old": self.old, "new": self.new, "changed": self.changed}


def facts(old: Side, new: Side) -> tuple[Change, ...]:
    """Every fact that either side states, changed or not."""
    first, second = _facts(old), _facts(new)
    return tuple(
        Change(what, first.get(what), second.get(what), first.get(what) != second.get(what))
        for what in dict.fromkeys((*first, *second))
    )


def file_changes(old: Side, new: Side) -> tuple[Change, ...]:
    """Files whose content differs or that only one side has, with their bytes. SHA256SUMS always follows from these."""
    return tuple(
        Change(path, _bytes(old.files.get(path)), _bytes(new.files.get(path)), True)
        for path in sorted({*old.files, *new.files})
        if old.files.get(path) != new.files.get(path)
    )


def changed_tensors(old: Side, new: Side) -> tuple[Change, ...]:
    """Tensors whose bits, group size, shape, stored bytes or reason differ, in words."""
    first, second = _tensors(old.manifest), _tensors(new.manifest)
    return tuple(
        Change(name, first.get(name), second.get(name), True)
        for name in dict.fromkeys((*first, *second))
        if first.get(name) != second.get(name)
    )


def _facts(side: Side) -> dict[str, Value]:
    manifest, source = side.manifest, side.manifest.source
    compression = manifest.compression
    found: dict[str, Value] = {
        "name": manifest.name,
        "task": manifest.task,
        "family": str(manifest.model.get("family")),
        "verdict": manifest.verdict,
        "failures": "; ".join(manifest.failures) or None,
        "license": source.license,
        "license link": source.license_link,
        "repository": source.repo,
        "revision": source.revision,
        "source digest": source.digest,
        "languages": ", ".join(manifest.languages) or None,
        "context": manifest.context,
        "parameters": compression.parameters,
        "bits": compression.bits,
        "group size": compression.group_size,
        "mixed bits": compression.mixed,
        "tokenizer made": source.tokenizer,
        "chat template": _digest(side.files.get(f"{_TOKENIZER}{CHAT_TEMPLATE}")),
        **{path: _digest(file) for path, file in side.files.items() if _is_tokenizer(path)},
    }
    if manifest.chat is not None:
        found["chat template as pieces"] = "yes" if manifest.chat.reducible else f"no: {manifest.chat.reason}"
    for artifact in manifest.artifacts:
        row = artifact_row(manifest, artifact)
        found |= {
            f"form {row}": artifact.path,
            f"oldest system of {row}": artifact.min_os,
            f"oldest runtime of {row}": artifact.runtime,
            f"targets of {row}": ", ".join(artifact.target) or "any",
            f"verdict of {row}": manifest.parity[artifact.path].verdict,
            f"parity of {row} run by": manifest.parity[artifact.path].runner,
        }
    return found | {f"tool {name}": version for name, version in sorted(manifest.tools.items())}


def _is_tokenizer(path: str) -> bool:
    return path.startswith(_TOKENIZER) and path != f"{_TOKENIZER}{CHAT_TEMPLATE}"


def _digest(file: FileFacts | None) -> str | None:
    """The first digits of its SHA-256."""
    return None if file is None else f"sha256:{file.digest[:_DIGITS]}"


def _bytes(file: FileFacts | None) -> int | None:
    return None if file is None else file.bytes


def _tensors(manifest: Manifest) -> dict[str, str]:
    """Name → how the tensor is stored, in words."""
    return {str(tensor["name"]): _stored(tensor) for tensor in manifest.compression.tensors}


def _stored(tensor: Mapping[str, Any]) -> str:
    bits, group, reason = tensor["bits"], tensor["group_size"], tensor["reason"]
    how = f"kept ({reason})" if bits is None else f"{bits} bits" + (f", groups of {group} rows" if group else "")
    shape = "×".join(map(str, tensor["shape"]))
    return f"{how}, {shape}, {tensor['stored_bytes']:,} bytes"
