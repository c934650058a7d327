"""The rows of the report: which two subjects each compares, within which limits, and what follows from which."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import onnx_ir as ir

from exporter.formats import Form
from exporter.graph.model import GraphSpec
from exporter.parity import thresholds
from exporter.parity.keys import Decoded, Key, Unrounded, row_name, title
from exporter.parity.options import Compared, ParityOptions
from exporter.parity.thresholds import Limit
from exporter.runners.shipped import rounds


@dataclass(frozen=True)
class Comparison:
    """A planned row. artifacts: the shipped files that fail with it. causes: names of rows that explain its failure."""

    name: str
    reference: Key
    artifact: Key
    artifacts: tuple[Form, ...]
    limits: tuple[Limit, ...]
    causes: tuple[str, ...] = ()

    @property
    def compares(self) -> str:
        """In words."""
        return f"{title(self.reference)} against {title(self.artifact)}"

    @property
    def psnr_limit(self) -> float | None:
        """Its limit in dB, where it is gated on PSNR."""
        return next((limit.value for limit in self.limits if limit.metric == "psnr_db"), None)

    @property
    def compresses(self) -> bool:
        """Whether it compares the graph before with the graph after compression."""
        return self.reference == "hub" and (self.artifact == "compressed" or isinstance(self.artifact, Decoded))


@dataclass(frozen=True)
class Lossy:
    """What compression may cost this model. integers: where a file stores and computes with integers."""

    palettes: tuple[Limit, ...]
    integers: tuple[Limit, ...]

    def of(self, form: Form) -> tuple[Limit, ...]:
        """The limits for the files of a form."""
        return self.integers if rounds(form) == "int8" else self.palettes


def comparisons(
    keys: Sequence[Key], subjects: Compared, options: ParityOptions, lossy: Lossy
) -> tuple[Comparison, ...]:
    """Every row that can be computed from the subjects there are.

    The end-to-end rows compare with the checkpoint; without one, with the source file or else the imported graph.
    """
    forms = tuple(key for key in keys if isinstance(key, Form))
    origins: tuple[Key, ...] = ("checkpoint", "source", "hub")
    origin: Key = next((key for key in origins if key in keys), "hub")
    source: Key = "source" if "source" in keys else "checkpoint"
    rows = [
        Comparison("import", source, "hub", forms, _import_limits(keys, subjects)),
        Comparison("compression", "hub", "compressed", forms, lossy.palettes),
    ]
    lowered = {form: _lowering(form, keys, subjects, options, lossy) for form in forms}
    rows += [row for own in lowered.values() for row in own]
    names = {form: tuple(row.name for row in own) for form, own in lowered.items()}
    rows += [
        Comparison(
            row_name(form),
            origin,
            form,
            (form,),
            thresholds.replaced(lossy.of(form), options.limits),
            ("import", "compression", *names[form]),
        )
        for form in forms
    ]
    same = [form for form in forms if rounds(form) != "int8"]  # the forms whose files hold the same weights
    for other in same[1:]:
        first = same[0]
        name, causes = f"{row_name(first)} vs {row_name(other)}", (*names[first], *names[other])
        rows.append(Comparison(name, first, other, (first, other), thresholds.ARTIFACTS, causes))
    return tuple(row for row in rows if row.reference in keys and row.artifact in keys)


def _import_limits(keys: Sequence[Key], subjects: Compared) -> tuple[Limit, ...]:
    """A user's own file may compute in float16 or with quantized activations, which round."""
    if "source" not in keys or subjects.hub is None:
        return thresholds.IMPORT
    graph = subjects.hub.model.graph
    if any("Quantize" in node.op_type and node.op_type != "DequantizeLinear" for node in graph.all_nodes()):
        return thresholds.IMPORT_QUANTIZED
    half = (ir.DataType.FLOAT16, ir.DataType.BFLOAT16)
    stored = any(value.dtype in half for value in graph.initializers.values())
    return thresholds.IMPORT_HALF if stored else thresholds.IMPORT


def _lowering(
    form: Form, keys: Sequence[Key], subjects: Compared, options: ParityOptions, lossy: Lossy
) -> tuple[Comparison, ...]:
    """From the graph to the shipped file; where its runtime rounds, in two steps: without rounding, then with."""
    if rounds(form) == "int8":
        return (
            Comparison(row_name(form, "weights"), "hub", Decoded(form), (form,), lossy.integers),
            Comparison(row_name(form, "lowering"), Decoded(form), Unrounded(form), (form,), thresholds.LOWERING_ONNX),
            Comparison(row_name(form, "int8"), Unrounded(form), form, (form,), thresholds.INT8),
        )
    written = subjects.compressed  # where this isn't known, "compressed" isn't among the keys either
    graph: Key = "hub" if written is not None and "compressed" not in keys else "compressed"
    name = row_name(form, "lowering")
    if not rounds(form):
        exact = thresholds.ONNX_ROUNDED if options.onnx_weights == "fp16" else thresholds.LOWERING_ONNX
        return (Comparison(name, graph, form, (form,), exact),)
    dense = written is not None and isinstance(written.spec, GraphSpec)
    limits = thresholds.LOWERING_COREML_DENSE if dense else thresholds.LOWERING_COREML
    return (
        Comparison(name, graph, Unrounded(form), (form,), limits),
        Comparison(row_name(form, "fp16"), Unrounded(form), form, (form,), thresholds.FP16),
    )
