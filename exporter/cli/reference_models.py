"""The generated pages about models: docs/families.md and docs/coreml-ops.md."""

from __future__ import annotations

import inspect
import re
import textwrap

from exporter.importers.encoder_heads import SLOTS
from exporter.importers.family import Family

FAMILIES_INTRODUCTION = """\
# Models

Generated from `exporter/importers/families/` by `make docs`. `kogata inspect CHECKPOINT` says how a checkpoint is
imported.

## Imported natively

The graph is built from `config.json` and the weights alone. Nothing is traced, no code of a checkpoint is run, and it
doesn't depend on another package's exporter. A family is one data file: how to read its configuration, and the names of
its weights. RoPE scalings: default, linear, dynamic NTK, llama3, YaRN, LongRoPE.

Each family is tested against the reference in the last column, on random weights with its special options enabled. The
tests compare the logits of the imported graph in onnxruntime, in one pass and through the KV cache, and those of the
Core ML program. `kogata export` compares your checkpoint with the same reference.

A decoder with sentence-transformers' `modules.json` is an embedding model: it gets no KV cache and no head, and its
class may be the bare model's (`Qwen3Model`). [encoders.md](encoders.md) has the details.
"""

OPTIMUM_INTRODUCTION = """\
## Imported through optimum

Every other `model_type` that optimum exports to ONNX: vision, speech, encoder-decoders, and text models of other
families. Core ML programs get fixed shapes; ONNX files keep dynamic ones. sentence-transformers' modules are added to
the exported graph. Parity compares with the model in
transformers and with the uncompressed graph. Text decoders get an ONNX file only, because Core ML programs with a KV
cache exist for the families above only. You can also export an `.onnx` file (`kogata export model.onnx`). The optimum
of `constraints.txt` exports these types:
"""

OPTIMUM_REMARKS = """\
Tiny random models of these types were tried: mixtures of experts (`qwen3_moe`, `gpt_oss`, `deepseek_v3`) work with
`--to onnx` and pass parity, where their weights aren't quantized. Types that optimum lists and Kogata can't export:
`vits`, `speecht5` and `musicgen` (text to speech and music isn't supported), `vit_mae` (its graph draws random masks)
and `colpali` (optimum finds no task for its class).
"""

OPS_INTRODUCTION = """\
# ONNX ops in Core ML programs

Generated from the lowering's registry by `make docs`. An ONNX model is converted to opset 23, its shapes are fixed, and
everything computed from shapes is folded. The remaining ops must be among these. Otherwise the export ends with exit
code 3 before it writes anything, and lists every unsupported op with its nodes.
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
    from exporter.importers.optimum_export import optimum_types

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
            OPTIMUM_REMARKS,
        ]
    )


def ops_page() -> str:
    """docs/coreml-ops.md."""
    from exporter.lower.coreml import supported_ops

    names = ", ".join(f"`{name}`" for name in supported_ops())
    return f"{OPS_INTRODUCTION}\n{textwrap.fill(names, 120)}.\n"


def _models(family: Family) -> str:
    """The models of a family: the first sentence of its file's docstring."""
    module = inspect.getmodule(family.layout)
    stated = inspect.cleandoc((module and module.__doc__) or "")
    return re.split(r"\.(?:\s|$)", " ".join(stated.split("\n\n")[0].split()), maxsplit=1)[0]


def _tasks(family: Family) -> str:
    """The tasks of the classes whose checkpoints are read."""
    names = family.architectures
    return ", ".join(_TASKS[slot] for ending, slot in SLOTS.items() if any(name.endswith(ending) for name in names))


def _reference(model_type: str) -> str:
    from exporter.runners.references import REFERENCES

    return REFERENCES[model_type].described if model_type in REFERENCES else "transformers"
