"""Names for what rows compare."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from exporter.formats import FORMS, Form


@dataclass(frozen=True)
class Unrounded:
    """A shipped program of this form, executed without rounding to float16."""

    form: Form


GraphKey = Literal["hub", "compressed"]
Key = Literal["checkpoint", "source"] | GraphKey | Form | Unrounded
"""The checkpoint in torch, the user's own `.onnx` file ("source"), the imported graph ("hub"), the compressed graph,
a shipped file, or one without rounding.
"""


def title(key: Key) -> str:
    """What `key` stands for, in words."""
    match key:
        case Unrounded():
            return f"{title(key.form)} without rounding"
        case Form():
            return f"shipped {FORMS[key].title}"
        case "checkpoint":
            return "checkpoint in torch"
        case "source":
            return "source file"
        case "hub":
            return "imported graph"
        case _:
            return "compressed graph"


def row_name(key: Key, check: str = "") -> str:
    """The name of a row about `key`: "onnx", "onnx mobile lowering", "hub padding"; "fp16" without a form's name."""
    if check == "fp16" and isinstance(key, Form) and key.label == key.format:
        return check
    return f"{key.label if isinstance(key, Form) else key} {check}".strip()
