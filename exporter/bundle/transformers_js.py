"""The layout that transformers.js looks for: configuration and tokenizer, and below them `onnx/model.onnx`.

    DIR/
      config.json, tokenizer.json, …   of the bundle's `onnx/` folder
      onnx/model.onnx                  the same bytes; `onnx/model_q4.onnx` and so on for another dtype
      onnx/model.onnx.data             where the weights are large; the model refers to it by this name
      licenses/…
      kogata/manifest.json             the bundle's own
      SHA256SUMS                       every other file

Models on the hub have it too, so optimum and sentence-transformers open the folder as well.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Literal

from exporter.bundle.facts import Artifact
from exporter.bundle.manifest import MANIFEST
from exporter.formats import LAST

NAME = "transformers.js"
ROOT = "kogata"  # of the bundle's manifest
Dtype = Literal["fp32", "fp16", "q8", "q4", "q4f16"]
# `DEFAULT_DTYPE_SUFFIX_MAPPING` of transformers.js 4: it adds the suffix to the name of the file that it opens.
SUFFIXES: Mapping[Dtype, str] = {"fp32": "", "fp16": "_fp16", "q8": "_quantized", "q4": "_q4", "q4f16": "_q4f16"}

_OTHER_CLIENTS = ("genai_config.json", f"{LAST}.onnx", "chat.json")  # of onnxruntime-genai, and of apps
_LICENSES = "licenses/"


def places(paths: Mapping[str, int], models: tuple[Artifact, ...], dtype: Dtype) -> dict[str, str]:
    """Path in the bundle → path in the layout. paths: of the whole bundle. models: the ONNX files of one form."""
    moved = {path: path for path in paths if path.startswith(_LICENSES)} | {MANIFEST: f"{ROOT}/{MANIFEST}"}
    opened = {artifact.path for artifact in models}
    folder = PurePosixPath(models[0].path).parent
    for path in (path for artifact in models for path in artifact.files):
        inner = PurePosixPath(path).relative_to(folder)
        if path in opened:
            moved[path] = f"onnx/{inner.stem}{SUFFIXES[dtype]}.onnx"
        elif path.removesuffix(".data") in opened:
            moved[path] = f"onnx/{inner.name}"
        elif inner.name not in _OTHER_CLIENTS:
            moved[path] = str(inner)
    return dict(sorted(moved.items(), key=lambda item: item[1]))
