"""Whether what was made keeps to the sizes that targets and budgets allow, and was compressed as asked."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from exporter.bundle import Manifest
from exporter.compress.choices import UNCOMPRESSED, Choice, pays
from exporter.compress.palettizer import NO_GAIN, PLANNED
from exporter.errors import Diagnostic, Level
from exporter.formats import Form
from exporter.parity import ParityReport
from exporter.pipeline.settings import Settings


def size_findings(manifest: Manifest, settings: Settings) -> tuple[Diagnostic, ...]:
    """Warnings about artifacts that exceed a target's limit, and a note about a budget that isn't used up."""
    findings: list[Diagnostic] = []
    for artifact in manifest.artifacts:
        for target in settings.targets_of(artifact.kind):
            limit = target.limits.of(artifact.kind)
            if limit is not None and isinstance(limit.value, int | float) and artifact.bytes > limit.value:
                message = f"{artifact.bytes:,} bytes; the limit of {target.title} is {limit.value:,}: {limit.source}"
                where = artifact.path.rsplit("/", 1)[-1]
                findings.append(Diagnostic("target.size", message, where=where, hint="fewer --bits", level="warning"))
    budget, bpw = settings.widths.budget, manifest.compression.bpw
    if budget is not None and budget.kind == "bpw" and bpw < 0.99 * budget.value:
        message = f"{bpw:.3f} bits per weight are used: more bits would not reduce the loss"
        findings.append(Diagnostic("budget.unused", message, budget.option, level="note"))
    return tuple(findings)


LEAST_KEPT_BYTES = 16_384  # of uncompressed weights that count: below, names, nodes and LUTs take as much
_FLOAT_BYTES = 4  # of a weight before compression
_NAMED = 3  # uncompressed tensors that a finding names


def kept_findings(manifest: Manifest, settings: Settings) -> tuple[Diagnostic, ...]:
    """Weights that stayed as they are although palettes were asked for: an error, a failed gate, where they are the
    larger part of the files' weights, else a note where they take more than a tenth.

    Matrices so small that even one LUT would take more than it saves count for the note only.
    """
    if settings.bits == UNCOMPRESSED or settings.onnx_weights not in (None, "palette"):
        return ()
    facts = manifest.compression
    kept = sorted(
        (t for t in facts.tensors if t["bits"] is None and t["reason"] != PLANNED), key=lambda t: -t["stored_bytes"]
    )
    bytes_kept = sum(t["stored_bytes"] for t in kept)
    original = sum(_FLOAT_BYTES * math.prod(t["shape"]) for t in facts.tensors if t["bits"] is not None)
    share = bytes_kept / max(1, bytes_kept + original)
    if bytes_kept < LEAST_KEPT_BYTES or share <= 0.1:
        return ()
    asked = f"--bits {settings.bits}" if settings.bits is not None else facts.mixed or "a budget"
    shown = "; ".join(f"{t['name']}, {t['stored_bytes']:,} bytes: {t['reason']}" for t in kept[:_NAMED])
    message = f"{bytes_kept:,} bytes of weights ({share:.0%}) were not compressed as {asked} asks: {shown}"
    refused = [t for t in kept if not _too_small(t, settings.bits)]
    larger = "a larger --group-size saves bytes; " if any(t["reason"].startswith(NO_GAIN) for t in refused) else ""
    hint = f"{larger}the manifest lists all of them; --bits 16 exports without compression"
    refused_bytes = sum(t["stored_bytes"] for t in refused)
    large = refused_bytes >= LEAST_KEPT_BYTES and refused_bytes > 0.5 * (bytes_kept + original)
    level: Level = "error" if large else "note"
    return (Diagnostic("compress.kept", message, "weights", hint, level),)


def _too_small(tensor: Mapping[str, Any], bits: int | None) -> bool:
    """Whether no palette of `bits` saves bytes: not even one LUT for all rows. Mixed bits are chosen among those that
    save."""
    if not tensor["reason"].startswith(NO_GAIN):
        return False
    shape = tensor["shape"]
    return bits is None or not pays(shape, tensor["stored_bytes"], Choice(bits, shape[0]))


def budget_findings(manifest: Manifest, settings: Settings) -> tuple[Diagnostic, ...]:
    """Errors where files, bits per weight or the loss exceed the budget: a failed gate."""
    budget = settings.widths.budget
    if budget is None:
        return ()
    facts = manifest.compression
    if budget.kind == "kl":  # parity holds it on texts of its own
        kl = max((fit.shipped for fit in facts.calibration), default=0.0)
        broken = {"the model": f"a KL of {kl:.4g} on calibration texts"} if kl > budget.value else {}
    elif budget.kind == "bpw":
        bpw = facts.stored_bytes * 8 / max(1, facts.parameters)
        broken = {"the model": f"{bpw:.4f} bits per weight"} if bpw > budget.value else {}
    else:
        sizes: Counter[Form] = Counter()
        for artifact in manifest.artifacts:
            sizes[artifact.form] += artifact.bytes
        broken = {form.label: f"{size:,} bytes" for form, size in sizes.items() if size > budget.value}
    return tuple(
        Diagnostic("budget.exceeded", f"{measured}, over the budget {budget.option}", where)
        for where, measured in broken.items()
    )


def failures(parity: ParityReport | None, sizes: Sequence[Diagnostic]) -> tuple[str, ...]:
    """What the manifest says of failed gates beside the verdict of each artifact's parity.

    sizes: what the size gates found; their notes aren't failures.
    """
    words = [f"{finding.where}: {finding.message}" for finding in sizes if finding.level == "error"]
    if parity is not None and parity.verdict == "failed":
        words += [finding.message for finding in parity.findings if finding.level == "error"]
        words = words or ["parity failed; parity/report.json has the rows"]
    return tuple(dict.fromkeys(words))


def gate_findings(manifest: Manifest, settings: Settings) -> tuple[Diagnostic, ...]:
    """What both size gates found: the budget, and weights that were to be compressed and were not."""
    return (*budget_findings(manifest, settings), *kept_findings(manifest, settings))
