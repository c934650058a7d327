"""What an export will do, once its options and its targets are brought together."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fractions import Fraction
from pathlib import Path
from typing import Literal

from exporter.compress.choices import UNCOMPRESSED, Choice
from exporter.errors import Diagnostic, UnsupportedError, UsageError
from exporter.formats import FORMATS, FORMS, MOBILE, PORTABLE, Form, Format, default_form
from exporter.graph.model import Hub
from exporter.lower.onnx import INTEGERS, OnnxWeights
from exporter.lower.onnx.mobile import mobile_problem
from exporter.pipeline.options import OutputOptions
from exporter.targets import PALETTE_BITS, Target

BITS = 4  # the default: a quarter of the bytes of float16, and most models answer the same
INT4 = Choice(4, block=32)  # of int4 weights: the smallest error; docs/compression.md has the others
GROUP_SIZE = 16  # as in Apple's shipped model: fine enough for 4 bits, and the LUTs cost some 2 % at 1,024 columns

BudgetKind = Literal["bpw", "size", "kl"]
OPTIONS: Mapping[BudgetKind, str] = {"bpw": "--bpw", "size": "--max-size", "kl": "--max-kl"}
_SIZE = re.compile(r"(\d{1,15}(?:\.\d{1,9})?) ?([kKmMgG]?)([iI]?)[bB]?", re.ASCII)


@dataclass(frozen=True)
class Budget:
    """A limit that mixed bits must meet; `value` is never exceeded.

    bpw: stored bits over all parameters of the model. size: bytes of an artifact, of the larger one where there are
        two formats. kl: nats between the uncompressed model and what ships.
    text: the value as it was written.
    """

    kind: BudgetKind
    value: float
    text: str

    @property
    def option(self) -> str:
        """As it was asked for: "--bpw 3.7"."""
        return f"{OPTIONS[self.kind]} {self.text}"


@dataclass(frozen=True)
class Widths:
    """How weights are stored, as asked for; at most one of the first three is given. All None means `BITS` for all.

    bits: of all palettes; 16 keeps everything. budget: mixed bits. plan: file with bits for every matrix.
    group_size: output rows that share one LUT.
    """

    bits: int | None = None
    budget: Budget | None = None
    plan: Path | None = None
    group_size: int | None = None


@dataclass(frozen=True)
class Settings:
    """What an export writes, and how it compresses. forms: in the order in which they are written.

    bits: of all palettes; None where they are mixed. group_size: output rows that share one LUT, where bits are not
        mixed. widths: what was asked for. onnx_weights: how ONNX files store matrices, None where each form stores
        them in its own way. own_form: whether the form of ONNX was asked for, or the weights that only it has. luts:
        whether something was asked for that only LUTs have: groups of rows, training.
    """

    forms: tuple[Form, ...]
    targets: tuple[Target, ...]
    bits: int | None
    group_size: int
    widths: Widths = Widths()
    onnx_weights: OnnxWeights | None = None
    own_form: bool = False
    luts: bool = False

    def weights_of(self, form: Form) -> OnnxWeights:
        """How files of this form store matrices."""
        usual: OnnxWeights = "palette"
        if form == MOBILE:
            usual = "int4" if self.bits == BITS and not self.luts else "int8"
        fits = self.onnx_weights is not None and (self.onnx_weights in INTEGERS) == (form == MOBILE)
        return self.onnx_weights if fits and self.onnx_weights is not None else usual

    def for_model(self, hubs: Sequence[Hub]) -> Settings:
        """With the form that suits the model where none was asked for: decoders get the form for phones, unless bits
        were asked for that only palettes have: fewer than 4, or mixed ones.

        Raises UnsupportedError where the model doesn't have the form for phones that was asked for.
        """
        problems = [problem for hub in hubs if (problem := mobile_problem(hub)) is not None]
        if self.own_form or self.bits == UNCOMPRESSED:
            UnsupportedError.raise_all(problems if MOBILE in self.forms else [])
            return self
        few = self.bits is None or self.bits < BITS
        if problems or few or any(hub.task != "text-generation" for hub in hubs):
            return self
        return replace(self, forms=tuple(MOBILE if form == PORTABLE else form for form in self.forms))

    @property
    def grid_forms(self) -> tuple[Form, ...]:
        """The forms that store matrices as grids of their own, and not as palettes or their values."""
        return tuple(form for form in self.forms if self.weights_of(form) == "int4")

    @property
    def grids_only(self) -> bool:
        """Whether nothing is written that needs palettes."""
        return bool(self.forms) and self.grid_forms == self.forms

    @property
    def formats(self) -> tuple[Format, ...]:
        """The formats of `forms`, each once."""
        return tuple(dict.fromkeys(form.format for form in self.forms))

    @property
    def allowed_bits(self) -> tuple[int, ...]:
        """The bits that every target takes."""
        return tuple(bits for bits in PALETTE_BITS if all(bits in target.bits for target in self.targets))

    def targets_of(self, kind: Format) -> tuple[Target, ...]:
        """The targets that take this format."""
        return tuple(target for target in self.targets if kind in target.formats)

    def require_bits(self, used: Mapping[int, Sequence[str]]) -> None:
        """used: bits → names of the tensors. Raises UnsupportedError with everything that a target can't take."""
        UnsupportedError.raise_all(
            [
                _refused(target, bits, f"--for {target.name}: {_some(used[bits])}")
                for target in self.targets
                for bits in sorted(used)
                if bits not in target.bits
            ]
        )


def settle(outputs: OutputOptions, widths: Widths) -> Settings:
    """Options win over targets, targets over defaults.

    Raises UsageError for options that make no sense, UnsupportedError with everything that a target can't take.
    """
    _require_one(widths)
    formats, targets = outputs.formats, outputs.targets
    mixed = widths.budget is not None or widths.plan is not None
    bits = None if mixed else BITS if widths.bits is None else widths.bits
    if bits is not None and bits not in PALETTE_BITS:
        raise UsageError.of(
            "options.bits", f"palettes can't have {bits} bits", where="--bits", hint=f"one of {_listed(PALETTE_BITS)}"
        )
    asked = tuple(f for f in FORMATS if f in formats) if formats else ()
    brought = tuple(f for f in FORMATS if any(f in target.formats for target in targets)) if targets else FORMATS
    UsageError.raise_all(
        [
            Diagnostic(
                "options.to", f"{t.title} takes {_listed(t.formats)}, not {_listed(asked)}", "--to", "leave out --to"
            )
            for t in targets
            if asked and not set(asked) & set(t.formats)
        ]
    )
    UnsupportedError.raise_all(
        [_refused(t, bits, f"--for {t.name}") for t in targets if bits is not None and bits not in t.bits]
    )
    sizes = [target.group_size for target in targets]
    usual = widths.group_size or min(sizes, default=GROUP_SIZE)
    wanted = _onnx_forms(outputs)
    if wanted and "onnx" not in (asked or brought):
        option = "--onnx-form" if outputs.forms else "--onnx-weights"
        raise UsageError.of("options.onnx", "nothing is exported to ONNX", where=option, hint=f"leave out {option}")
    forms = [form for kind in asked or brought for form in _forms_of(kind, wanted)]
    own = any(form.format == "onnx" for form in wanted)
    settings = Settings(
        tuple(forms), targets, bits, usual, widths, outputs.onnx_weights, own, widths.group_size is not None
    )
    _require_grid_options(settings)
    return settings


def _require_grid_options(settings: Settings) -> None:
    """Raises UsageError for options about palettes where int4 weights have none."""
    widths, where = settings.widths, "--onnx-weights int4"
    if not settings.grid_forms:
        return
    problems = []
    if settings.grids_only and widths.bits not in (None, BITS):
        problems.append(
            (f"stores 4 bits, not {widths.bits}", "leave out --bits; --bpw, --max-size and --max-kl mix in 8")
        )
    if settings.grids_only and widths.group_size is not None:
        problems.append(("has no groups of rows", "leave out --group-size"))
    if not settings.grids_only and settings.bits is None:
        problems.append(("needs bits of its own", "give a budget or a plan to one form at a time: --to onnx"))
    if not settings.grids_only and settings.bits == UNCOMPRESSED:
        problems.append(("compresses", "leave out --bits 16, or export twice"))
    UsageError.raise_all(
        [Diagnostic("options.onnx-weights", f"{where} {words}", where, hint) for words, hint in problems]
    )


def _onnx_forms(outputs: OutputOptions) -> tuple[Form, ...]:
    """The forms that were asked for, or the one that has the weights that were asked for.

    Raises UsageError for weights that none of the forms has.
    """
    weights, forms = outputs.onnx_weights, outputs.forms
    if weights is None:
        return forms
    form = MOBILE if weights in INTEGERS else PORTABLE
    if form not in forms and any(asked.format == "onnx" for asked in forms):
        raise UsageError.of(
            "options.onnx-weights",
            f"only the form {form.name} stores weights as {weights}",
            where="--onnx-weights",
            hint=f"add --onnx-form {form.name}",
        )
    return tuple(dict.fromkeys((*forms, form)))


def _forms_of(kind: Format, asked: Sequence[Form]) -> tuple[Form, ...]:
    """The forms of a format that were asked for, in the order of `FORMS`; its default form where none was."""
    return tuple(form for form in FORMS if form.format == kind and form in asked) or (default_form(kind),)


def read_budget(bpw: float | None, max_size: str | None, max_kl: float | None) -> Budget | None:
    """The budget that was asked for, if any. Raises UsageError for two budgets, and for one that isn't positive."""
    stated: list[tuple[BudgetKind, float, str]] = []
    if bpw is not None:
        stated.append(("bpw", bpw, f"{bpw:g}"))
    if max_size is not None:
        stated.append(("size", read_size(max_size), max_size))
    if max_kl is not None:
        stated.append(("kl", max_kl, f"{max_kl:g}"))
    if len(stated) > 1:
        raise _exclusive([OPTIONS[kind] for kind, _, _ in stated])
    UsageError.raise_all(
        [
            Diagnostic("options.budget", f"{OPTIONS[kind]} must be a positive number; got {text}", OPTIONS[kind])
            for kind, value, text in stated
            if not 0 < value < math.inf
        ]
    )
    return Budget(*stated[0]) if stated else None


def read_size(text: str, option: str = "--max-size") -> int:
    """Bytes in "300MB" (10^6), "250MiB" (2^20), "1.2 GB" or "1000000"; rounded down. UsageError about `option`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise UsageError.of(
            "options.size",
            f"{option} takes a size such as 300MB, 1.2GB or 250MiB; got '{text[:40]}'",
            where=option,
        )
    number, prefix, binary = found[1], found[2].lower(), bool(found[3])
    scale = (1024 if binary else 1000) ** " kmg".index(prefix or " ")
    whole, _, decimals = number.partition(".")
    return int(Fraction(f"{whole}.{decimals or 0}") * scale)


def _require_one(widths: Widths) -> None:
    stated = ["--bits"] if widths.bits is not None else []
    stated += [OPTIONS[widths.budget.kind]] if widths.budget is not None else []
    if widths.plan is not None:
        stated += ["--plan"] if widths.group_size is None else ["--plan", "--group-size"]
    if len(stated) > 1:
        raise _exclusive(stated)


def _exclusive(options: Sequence[str]) -> UsageError:
    message = f"{' and '.join(options)} can't be combined"
    return UsageError(
        Diagnostic("options.budget", message, options[-1], "each of them sets the bits of the weights: give one")
    )


def _refused(target: Target, bits: int, where: str) -> Diagnostic:
    return Diagnostic(
        "target.bits",
        f"{target.title} can't take palettes of {bits} bits: {target.reasons.get('bits', 'see its profile')}",
        where=where,
        hint=f"one of {_listed(target.bits)}",
    )


def _some(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"


def _listed(items: Sequence[object]) -> str:
    return ", ".join(map(str, items))
