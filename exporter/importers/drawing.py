"""Decides how a checkpoint is drawn: its family, its layout, and a tensor for every weight. Refuses what can't be."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, replace
from typing import get_args

from exporter.checkpoint import Checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import Pooling
from exporter.importers import decoder, encoder
from exporter.importers.binding import Binding, bind
from exporter.importers.config import ConfigReader
from exporter.importers.decoder import DecoderLayout
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import as_cross_encoder
from exporter.importers.families import FAMILIES
from exporter.importers.family import Family
from exporter.importers.sentence import DENSE_ACTIVATIONS

_LONGEST_TABLE = 1 << 20  # positions; its cos and sin take 0.5 GB at 64 pairs

_POOLINGS: dict[str, Pooling] = {pooling: pooling for pooling in get_args(Pooling)}


@dataclass(frozen=True)
class Plan:
    """What drawing needs."""

    family: Family
    layout: DecoderLayout | EncoderLayout
    binding: Binding


def plan_import(checkpoint: Checkpoint, context: int | None, default: int | None = None) -> Plan:
    """How the graph will be built. `binding.unused` names the checkpoint's tensors that the graph does without.

    context: longest sequence in tokens. default: the longest that a decoder gets where `context` is None; None means
    what the model was made for. Raises as `import_checkpoint` states.
    """
    config = ConfigReader(checkpoint.config)
    family = _family(config)
    _check_architecture(config, family)
    config.refuse("quantization_config", [], "export the checkpoint that it was quantized from")
    layout = _with_sentence(family.layout(config), checkpoint, config)
    tensors = checkpoint.tensors
    layers = len(layout.layers) if isinstance(layout, DecoderLayout) else layout.layers
    if layers > len(tensors):  # before names are made for each of a billion layers
        config.invalid("num_hidden_layers", f"{layers}, with {len(tensors)} tensors in the checkpoint")
    config.finish()
    layout = _with_context(layout, context, default)
    if isinstance(layout, DecoderLayout):
        shapes, head_dim = decoder.tensor_shapes(layout), layout.head_dim
    else:
        shapes, head_dim = encoder.tensor_shapes(layout), 1
    return Plan(family, layout, bind(family, shapes, tensors, layers=layers, head_dim=head_dim))


def _family(config: ConfigReader) -> Family:
    model_type = config.get("model_type")
    if model_type is None and (family := _family_of_class(config)) is not None:
        return family
    if not isinstance(model_type, str) or not model_type:
        message = "model_type is missing" if model_type is None else "model_type is not a name"
        raise InputError.of(
            "config.model_type", message, where="config.json", hint="it names the architecture: llama, bert, …"
        )
    if model_type in FAMILIES:
        return FAMILIES[model_type]
    shown = model_type if len(model_type) <= 60 else f"{model_type[:57]}..."
    close = difflib.get_close_matches(shown.lower(), FAMILIES, n=1)
    nearest = f"; the nearest name is {close[0]!r}" if close else ""
    raise UnsupportedError.of(
        "model.unknown",
        f"model type {shown!r} is not supported{nearest}",
        where="config.json: model_type",
        hint=f"supported: {', '.join(sorted(FAMILIES))}",
    )


def _family_of_class(config: ConfigReader) -> Family | None:
    """The one family that the class named in `architectures` belongs to: MiniCPM's first files state no more."""
    stated = config.get("architectures")
    named = {str(name) for name in stated} if isinstance(stated, list) else set()
    families = [family for family in FAMILIES.values() if named & set(family.architectures)]
    return families[0] if len(families) == 1 else None


def _check_architecture(config: ConfigReader, family: Family) -> None:
    """The class says which head the checkpoint was trained with; without one, the family's own is assumed."""
    stated = config.get("architectures")
    if stated is None:
        return
    if not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        config.invalid("architectures", "not a list of class names")
    elif stated and not any(name in family.architectures for name in stated):
        hint = f"supported for {family.model_type}: {', '.join(family.architectures)}"
        config.unsupported("architectures", f"{', '.join(stated)[:200]} is not supported", hint)


def _with_sentence(
    layout: DecoderLayout | EncoderLayout, checkpoint: Checkpoint, config: ConfigReader
) -> DecoderLayout | EncoderLayout:
    """The layout with what sentence-transformers' modules put behind the encoder."""
    sentence = checkpoint.sentence
    if sentence is None:
        return layout
    for what in sentence.unsupported:
        config.unsupported("modules.json", f"{what} is not supported")
    if isinstance(layout, DecoderLayout):
        config.unsupported("modules.json", "a sentence embedding from a decoder is not supported")
        return layout
    context = min(layout.context, sentence.max_seq_length or layout.context)
    if sentence.cross_encoder:
        return replace(layout, head=as_cross_encoder(config, layout.head, sentence.activation), context=context)
    if sentence.pooling is not None and sentence.pooling not in _POOLINGS:
        hint = f"supported: {', '.join(_POOLINGS)}"
        config.unsupported("modules.json", f"pooling by {sentence.pooling!r} is not supported", hint)
    if sentence.pooling is None and sentence.normalize and not sentence.unsupported:
        config.unsupported("modules.json", "normalization without pooling is not supported")
    for module in sentence.dense:
        if module.activation not in DENSE_ACTIVATIONS:
            hint = f"supported: {', '.join(DENSE_ACTIVATIONS)}"
            config.unsupported("modules.json", f"a dense layer with {module.activation} is not supported", hint)
    return replace(
        layout,
        head=None,  # sentence-transformers runs the bare model, whatever head the checkpoint was trained with
        dense=sentence.dense,
        pooling=_POOLINGS.get(sentence.pooling or ""),
        normalize=sentence.normalize,
        context=context,
    )


def _with_context(
    layout: DecoderLayout | EncoderLayout, context: int | None, default: int | None
) -> DecoderLayout | EncoderLayout:
    longest = layout.longest if isinstance(layout, EncoderLayout) else layout.context
    if context is not None and not 1 <= context <= longest:
        message = f"a context of {context} tokens was asked for; the model was made for 1 to {longest}"
        raise InputError.of("context.range", message, where="config.json: max_position_embeddings")
    if context is None:
        most = default if default is not None and isinstance(layout, DecoderLayout) else layout.context
        context = min(layout.context, most)
    if isinstance(layout, DecoderLayout) and context > _LONGEST_TABLE:
        message = f"a context of {context} tokens makes position tables too large for a phone"
        hint = f"ask for at most {_LONGEST_TABLE} tokens with --context"
        raise InputError.of("context.range", message, where="config.json: max_position_embeddings", hint=hint)
    return replace(layout, context=context)
