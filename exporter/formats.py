"""What Kogata writes: formats, and the forms that each of them has.

A *format* is a kind of file (ONNX, Core ML). A *form* is what one family of runtimes wants of that format, such as
weights as a kernel reads them. `Form` is the key of an artifact everywhere: in memory, in the manifest and in parity.
A new form needs an entry in `FORMS`, a writer in `lower/forms.py` and a runtime in
`runners/shipped.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Literal

Format = Literal["coreml", "onnx"]
FORMATS: tuple[Format, ...] = ("onnx", "coreml")  # in the order in which they are written
TITLES: Mapping[Format, str] = {"onnx": "ONNX", "coreml": "Core ML"}
DEVICES: Mapping[Format, str] = {"onnx": "Android and everything else", "coreml": "iPhone"}  # that a format is for


@dataclass(frozen=True, order=True)
class Form:
    """One form of a format. `str(form)` is "onnx/portable"."""

    format: Format
    name: str

    def __str__(self) -> str:
        return f"{self.format}/{self.name}"

    @property
    def label(self) -> str:
        """In reports: "onnx" for the default form of a format, "onnx mobile" for another."""
        return self.format if self == default_form(self.format) else f"{self.format} {self.name}"


@dataclass(frozen=True)
class FormFacts:
    """What differs by form.

    title: for people. folder: where its files lie in a bundle; beside: where they lie in a bundle that has another form
    with the same folder, which comes first. baseline: the device profile whose oldest system counts
    when an export names no target. client_files: whether tokenizer and configuration lie beside the model, for clients
    that open the folder. runtime: the oldest that opens its files, found by opening them in older ones.
    """

    title: str
    folder: str
    baseline: str
    client_files: bool = False
    runtime: str | None = None
    beside: str | None = None


PORTABLE = Form("onnx", "portable")
MOBILE = Form("onnx", "mobile")
LAST = "model_last"  # of the mobile form: the graph with logits of the last token alone, on the same data
FLEXIBLE = Form("coreml", "flexible")
_RUNTIME = "onnxruntime 1.23"
FORMS: Mapping[Form, FormFacts] = {
    PORTABLE: FormFacts("ONNX file", "onnx", "android", client_files=True, runtime=_RUNTIME, beside="onnx-portable"),
    MOBILE: FormFacts("ONNX file for phones", "onnx", "android", client_files=True, runtime=_RUNTIME),
    FLEXIBLE: FormFacts("Core ML program", "coreml", "iphone"),
}
"""Every form, in the order in which they are written; the first of a format is its default."""


def default_form(kind: Format) -> Form:
    """The form that a format has where nobody asks for another."""
    return next(form for form in FORMS if form.format == kind)


def read_form(text: str) -> Form | None:
    """The form that `str` made `text` of; None for any other text."""
    return next((form for form in FORMS if str(form) == text), None)


def form_folder(form: Form, forms: Collection[Form]) -> str:
    """The folder of a bundle with artifacts of these forms that holds those of `form`."""
    facts = FORMS[form]
    others = any(other != form and FORMS[other].folder == facts.folder for other in forms)
    return facts.beside if others and facts.beside else facts.folder


def artifact_path(form: Form, name: str, component: str = "model", forms: Collection[Form] = ()) -> str:
    """Where in a bundle an app finds the artifact. component: of the model, "model" where it has only one. forms: all
    forms of the bundle."""
    folder = form_folder(form, forms)
    if form.format == "onnx":
        return f"{folder}/{component}.onnx"
    return f"{folder}/{name}.mlpackage" if component == "model" else f"{folder}/{name}-{component}.mlpackage"
