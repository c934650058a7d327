"""References for families that transformers has no class for.

Their modeling code comes with the checkpoint and is never run. What they compute is put together here from
transformers' own classes, or written in torch after the paper. Nothing of it is shared with the importers: the
two readings of `config.json` and of the weights check each other.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from exporter.runners.references.source import Loaded, Source, read_config, read_source

__all__ = ["Loaded", "Reference", "find_reference"]


@dataclass(frozen=True)
class Reference:
    """One family's reference.

    described: what computes it, as reports print it.
    architectures: the class names by which a `config.json` without `model_type` is known (MiniCPM's first ones).
    """

    described: str
    architectures: tuple[str, ...]
    build: Callable[[Source], Loaded]

    def load(self, folder: Path) -> Loaded:
        """The model in float32 with the checkpoint's weights.

        Raises InputError for files that can't be read; KeyError, TypeError, ValueError, ArithmeticError or
        RuntimeError for a configuration that describes no model, or another one than the weights.
        """
        return self.build(read_source(folder))


def _minicpm(source: Source) -> Loaded:
    from exporter.runners.references.minicpm import load_minicpm

    return load_minicpm(source)


def _internlm2(source: Source) -> Loaded:
    from exporter.runners.references.internlm import load_internlm2

    return load_internlm2(source)


def _internlm3(source: Source) -> Loaded:
    from exporter.runners.references.internlm import load_internlm3

    return load_internlm3(source)


def _openelm(source: Source) -> Loaded:
    from exporter.runners.references.openelm import load_openelm

    return load_openelm(source)


REFERENCES: Mapping[str, Reference] = {
    "minicpm": Reference("MiniCPM computed by transformers' Granite", ("MiniCPMForCausalLM",), _minicpm),
    "internlm2": Reference("InternLM2 computed by transformers' Llama", ("InternLM2ForCausalLM",), _internlm2),
    "internlm3": Reference("InternLM3 computed by transformers' Llama", ("InternLM3ForCausalLM",), _internlm3),
    "openelm": Reference("OpenELM computed by kogata's torch module", ("OpenELMForCausalLM",), _openelm),
}


def find_reference(folder: Path) -> Reference | None:
    """The reference for the checkpoint in `folder`; None where transformers has a class of its own."""
    config = read_config(folder)
    model_type = config.get("model_type")
    if model_type is None:
        stated = config.get("architectures")
        names = stated if isinstance(stated, list) else []
        return next(
            (known for known in REFERENCES.values() if any(name in known.architectures for name in names)), None
        )
    return REFERENCES.get(model_type) if isinstance(model_type, str) else None
