"""Plans a native import: finds the checkpoint's family, its layout and a tensor for every weight."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from exporter.checkpoint import Checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.importers import decoder, encoder
from exporter.importers.binding import Binding, bind
from exporter.importers.config import ConfigReader
from exporter.importers.decoder import DecoderLayout
from exporter.importers.encoder import EncoderLayout
from exporter.importers.encoder_heads import as_cross_encoder
from exporter.importers.families import FAMILIES
from exporter.importers.family import Family, Ignorable
from exporter.importers.sentence import read_modules

_NO_HEAD = "the head generates text; an embedding doesn't need it"
_MAX_TABLE_ROWS = 1 << 20  # positions; cos and sin of 64 pairs then take 0.5 GB


@dataclass(frozen=True)
class NativePlan:
    """Everything that building the graph needs."""

    family: Family
    layout: DecoderLayout | EncoderLayout
    binding: Binding


def plan_import(checkpoint: Checkpoint, context: int | None, default: int | None = None) -> NativePlan:
    """The plan for a checkpoint. `binding.unused` names the checkpoint's tensors that the graph doesn't use.

    context: longest sequence in tokens. default: the longest context of a decoder if `context` is None; None: what the
    model was made for. Raises the same errors as `import_checkpoint`.
    """
    config = ConfigReader(checkpoint.config)
    family = _family(config)
    _check_architecture(config, family, embeds=embeds(checkpoint))
    config.refuse("quantization_config", [], "export the checkpoint that it was quantized from")
    layout = _with_sentence(family.layout(config), checkpoint, config)
    tensors = checkpoint.tensors
    layers = len(layout.layers) if isinstance(layout, DecoderLayout) else layout.layers
    if layers > len(tensors):  # a hostile file may state a billion layers: stop before making names for all of them
        config.invalid("num_hidden_layers", f"{layers} layers, but the checkpoint has only {len(tensors)} tensors")
    config.finish()
    layout = _with_context(layout, context, default)
    if isinstance(layout, DecoderLayout):
        shapes, head_dim = decoder.tensor_shapes(layout), layout.head_dim
        family = family if layout.sentence is None else _without_head(family)
    else:
        shapes, head_dim = encoder.tensor_shapes(layout), 1
    return NativePlan(family, layout, bind(family, shapes, tensors, layers=layers, head_dim=head_dim))


def _family(config: ConfigReader) -> Family:
    model_type = config.get("model_type")
    if model_type is None and (family := _family_of_class(config)) is not None:
        return family
    if not isinstance(model_type, str) or not model_type:
        message = "model_type is missing" if model_type is None else "model_type is not a string"
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
    """The only family with the class named in `architectures`: MiniCPM's first checkpoints have no `model_type`."""
    stated = config.get("architectures")
    named = {str(name) for name in stated} if isinstance(stated, list) else set()
    families = [family for family in FAMILIES.values() if named & set(family.architectures)]
    return families[0] if len(families) == 1 else None


def embeds(checkpoint: Checkpoint) -> bool:
    """Whether sentence-transformers runs the bare model: then the class in `architectures` doesn't matter."""
    return checkpoint.sentence is not None and not checkpoint.sentence.cross_encoder


def has_class(family: Family, names: Sequence[str], *, embeds: bool) -> bool:
    """Whether one of the classes `names` can be imported natively. embeds: so can the bare model's class."""
    return any(name in family.architectures for name in names) or (embeds and family.has_bare_class(names))


def _without_head(family: Family) -> Family:
    """The family as the bare model is stored, alone or inside of a model with a head, whose tensors aren't used."""
    stored = [name for role, name in family.names.items() if role in ("head", "head.bias")]
    heads = [Ignorable(re.escape(name), _NO_HEAD) for name in stored]
    prefixes = dict.fromkeys([*family.prefixes, *(prefix.partition(".")[2] for prefix in family.prefixes)])
    return replace(family, prefixes=tuple(prefixes), ignorable=(*heads, *family.ignorable))


def _check_architecture(config: ConfigReader, family: Family, *, embeds: bool) -> None:
    """Records a problem if `architectures` names a class with a head that the family's importer doesn't support."""
    stated = config.get("architectures")
    if stated is None:
        return
    if not isinstance(stated, list) or not all(isinstance(name, str) for name in stated):
        config.invalid("architectures", "not a list of class names")
    elif stated and not has_class(family, stated, embeds=embeds):
        hint = f"supported for {family.model_type}: {', '.join(family.architectures)}"
        config.unsupported("architectures", f"{', '.join(stated)[:200]} is not supported", hint)


def _with_sentence(
    layout: DecoderLayout | EncoderLayout, checkpoint: Checkpoint, config: ConfigReader
) -> DecoderLayout | EncoderLayout:
    """The layout together with the modules that sentence-transformers runs after the model."""
    modules = checkpoint.sentence
    if isinstance(layout, DecoderLayout):
        if modules is None and layout.bidirectional:
            message = "true is not supported without sentence-transformers' modules: the model can't generate text"
            config.unsupported("use_bidirectional_attention", message)
        elif modules is not None:
            config.refuse("is_causal", [True], "transformers ignores it for this model type and stays causal")
    if modules is None:
        return layout
    context = min(layout.context, modules.max_seq_length or layout.context)
    width = layout.width if isinstance(layout, DecoderLayout) else layout.hidden_size
    sentence = read_modules(modules, config, width)
    if isinstance(layout, DecoderLayout):
        if modules.cross_encoder:
            config.unsupported("modules.json", "a cross-encoder from a decoder is not supported")
        return replace(layout, sentence=sentence, context=context)
    if modules.cross_encoder:
        return replace(layout, head=as_cross_encoder(config, layout.head, modules.activation), context=context)
    return replace(layout, head=None, sentence=sentence, context=context)  # the model runs without its head


def _with_context(
    layout: DecoderLayout | EncoderLayout, context: int | None, default: int | None
) -> DecoderLayout | EncoderLayout:
    longest = layout.longest if isinstance(layout, EncoderLayout) else layout.context
    if context is not None and not 1 <= context <= longest:
        message = f"the context of {context} tokens is outside of the model's range, 1 to {longest}"
        raise InputError.of("context.range", message, where="config.json: max_position_embeddings")
    if context is None:
        most = default if default is not None and isinstance(layout, DecoderLayout) else layout.context
        context = min(layout.context, most)
    if isinstance(layout, DecoderLayout) and context > _MAX_TABLE_ROWS:
        message = f"a context of {context} tokens makes the position tables too large for a phone"
        hint = f"set --context to at most {_MAX_TABLE_ROWS} tokens"
        raise InputError.of("context.range", message, where="config.json: max_position_embeddings", hint=hint)
    return replace(layout, context=context)
