"""What Kogata writes: formats, and the forms that each of them has.

A *format* is a kind of file (ONNX, Core ML). A *form* is what one family of runtimes wants of that format, such as
weights as a kernel reads them. `Form` is the key of an artifact everywhere: in memory, in the manifest and in parity.
A new form needs an entry in `FORMS`, a writer in `lower/`, and a runner where none of today's can execute it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Format = Literal["coreml", "onnx"]
FORMATS: tuple[Format, ...] = ("onnx", "coreml")  # in the order in which they are written
TITLES: Mapping[Format, str] = {"onnx": "ONNX", "coreml": "Core ML"}


@dataclass(frozen=True, order=True)
class Form:
    """One form of a format. `str(form)` is "onnx/portable"."""

    format: Format
    name: str

    def __str__(self) -> str:
        return f"{self.format}/{self.name}"


@dataclass(frozen=True)
class FormFacts:
    """What differs by form.

    title: for people. folder: where its files lie in a bundle. runner: what executes the shipped file in parity and
    `kogata run`, a name in `runners/shipped.py`. baseline: the device profile whose oldest system counts when an
    export names no target.
    """

    title: str
    folder: str
    runner: str
    baseline: str


PORTABLE = Form("onnx", "portable")
FLEXIBLE = Form("coreml", "flexible")
FORMS: Mapping[Form, FormFacts] = {
    PORTABLE: FormFacts("ONNX file", "onnx", "onnxruntime", "android"),
    FLEXIBLE: FormFacts("Core ML program", "coreml", "coreml", "iphone"),
}
"""Every form, in the order in which they are written; the first of a format is its default."""


def default_form(kind: Format) -> Form:
    """The form that a format has where nobody asks for another."""
    return next(form for form in FORMS if form.format == kind)


def read_form(text: str) -> Form | None:
    """The form that `str` made `text` of; None for any other text."""
    return next((form for form in FORMS if str(form) == text), None)
