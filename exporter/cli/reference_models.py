"""The pages about models that are made from the code: docs/families.md and docs/coreml-ops.md."""

from __future__ import annotations

import inspect
import re
import textwrap

from exporter.importers.encoder_heads import SLOTS
from exporter.importers.family import Family

FAMILIES_INTRODUCTION = """\
# Models

Made from `exporter/importers/families/` by `make docs`. `kogata inspect CHECKPOINT` says which way yours goes.

## Natively

Drawn from `config.json` and the weights alone: nothing is traced, no code of a checkpoint is run, and no release of
another package can break it. A family is one file of data: how its configuration reads, and what its checkpoints call
each weight. RoPE scalings: default, linear, dynamic NTK, llama3, YaRN, LongRoPE. Each family is tested against the
reference in the last column, on random weights with its quirks on: logits of the imported graph in onnxruntime, whole
and through the cache, and of the Core ML program. The same reference is what `kogata export` compares your checkpoint
with.
"""

OPTIMUM_INTRODUCTION = """\
## Through optimum

Any other `model_type` that optimum exports to ONNX, with its tasks: vision, speech, encoder-decoders, and text models
of families that aren't above. Shapes are fixed for Core ML (ONNX files keep open ones), and parity compares with the
model in transformers and with the uncompressed graph. A text decoder exported this way has an ONNX file only: Core ML
programs with a KV cache are written for the families above. An `.onnx` file of your own is taken as it is
(`kogata export model.onnx`). The types that the optimum of `constraints.txt` knows:
"""

OPS_INTRODUCTION = """\
# ONNX ops in Core ML programs

Made from the lowering's registry by `make docs`. Models that come as ONNX are brought to opset 23, their shapes fixed
and everything that follows from shapes folded; what is then left must be among these ops. All that isn't is listed at
once, by op and node, before anything is written (exit code 3).
"""
_TASKS = {
    "sequence": "sequence classification, reranking",
    "token": "token classification",
    "mask": "fill-mask",
    "answer": "question answering",
    None: "embeddings",
}


def families_page() -> str:
    """docs/families.md."""
    from exporter.importers.families import FAMILIES
    from exporter.importers.optimum import optimum_types

    decoders: dict[tuple[str, ...], list[str]] = {}
    encoders: dict[tuple[str, ...], list[str]] = {}
    for model_type, family in sorted(FAMILIES.items()):
        writes = re.search("ForCausalLM|LMHead|ForConditionalGeneration", family.architectures[0])
        facts = (_models(family), *([] if writes else [_tasks(family)]), _reference(model_type))
        (decoders if writes else encoders).setdefault(facts, []).append(f"`{model_type}`")
    others = ", ".join(f"`{name}`" for name in sorted(optimum_types() - set(FAMILIES)))
    return "\n".join(
        [
            FAMILIES_INTRODUCTION,
            "### Decoders\n\n| `model_type` | models | reference |\n|---|---|---|",
            *(f"| {' | '.join((', '.join(names), *facts))} |" for facts, names in decoders.items()),
            "\n### Encoders\n\n| `model_type` | models | tasks | reference |\n|---|---|---|---|",
            *(f"| {' | '.join((', '.join(names), *facts))} |" for facts, names in encoders.items()),
            "",
            OPTIMUM_INTRODUCTION,
            textwrap.fill(others, 120, break_long_words=False, break_on_hyphens=False) + ".",
            "",
        ]
    )


def ops_page() -> str:
    """docs/coreml-ops.md."""
    from exporter.lower.coreml import supported_ops

    names = ", ".join(f"`{name}`" for name in supported_ops())
    return f"{OPS_INTRODUCTION}\n{textwrap.fill(names, 120)}.\n"


def _models(family: Family) -> str:
    """What the family's file says it holds: the first sentence of its docstring."""
    module = inspect.getmodule(family.layout)
    stated = inspect.cleandoc((module and module.__doc__) or "")
    return re.split(r"\.(?:\s|$)", " ".join(stated.split("\n\n")[0].split()), maxsplit=1)[0]


def _tasks(family: Family) -> str:
    """By the classes whose checkpoints are read."""
    names = family.architectures
    return ", ".join(_TASKS[slot] for ending, slot in SLOTS.items() if any(name.endswith(ending) for name in names))


def _reference(model_type: str) -> str:
    from exporter.runners.references import REFERENCES

    return REFERENCES[model_type].described if model_type in REFERENCES else "transformers"
