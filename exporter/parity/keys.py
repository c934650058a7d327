"""Names for what rows compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from exporter.formats import FORMS, Form


@dataclass(frozen=True)
class Unrounded:
    """A shipped file of this form, executed without rounding to float16 or int8."""

    form: Form


@dataclass(frozen=True)
class Decoded:
    """The imported graph with the matrices that a shipped file of this form stores."""

    form: Form


GraphKey = Literal["hub", "compressed"]
Key = Literal["checkpoint", "source"] | GraphKey | Form | Unrounded | Decoded
"""The checkpoint in torch, the user's own `.onnx` file ("source"), the imported graph ("hub"), the compressed graph,
a shipped file, one without rounding, or the graph with what a file stores.
"""


_TITLES: Mapping[Key, str] = {
    "checkpoint": "checkpoint in torch",
    "source": "source file",
    "hub": "imported graph",
    "compressed": "compressed graph",
}


def title(key: Key) -> str:
    """What `key` stands for, in words."""
    match key:
        case Unrounded():
            return f"{title(key.form)} without rounding"
        case Decoded():
            return f"graph with the weights of the {title(key.form)}"
        case Form():
            return f"shipped {FORMS[key].title}"
        case _:
            return _TITLES[key]


def row_name(key: Key, check: str = "") -> str:
    """The name of a row about `key`: "onnx", "onnx mobile lowering", "hub padding"; "fp16" without a form's name."""
    if isinstance(key, Decoded | Unrounded):
        return row_name(key.form, f"exact {check}" if isinstance(key, Unrounded) else check)
    if check == "fp16" and isinstance(key, Form) and key.label == key.format:
        return check
    return f"{key.label if isinstance(key, Form) else key} {check}".strip()
