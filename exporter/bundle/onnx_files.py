"""The files that optimum, transformers and onnxruntime-genai need beside `model.onnx`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeGuard

from exporter.bundle.facts import Interface, Port

if TYPE_CHECKING:
    import onnx

    from exporter.graph.model import DecoderSpec

# The text decoders that onnxruntime-genai 0.18 knows by name (`ModelType::IsLLM` in its src/models/model_type.h);
# "decoder" is its name for any other with the same inputs and outputs.
GENAI_TYPES = frozenset(
    {
        "chatglm", "ernie4_5", "gemma", "gemma2", "gemma3_text", "granite", "internlm2", "llama", "mistral",
        "nemotron", "olmo", "phi", "phi3", "phimoe", "qwen2", "qwen3", "smollm3",
    }
)  # fmt: skip
_TOKEN_IDS = ("bos_token_id", "eos_token_id", "pad_token_id")
# A path on the author's disk, and remote code: neither belongs in an app.
_NOT_SHIPPED = ("_name_or_path", "auto_map")


def model_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """`config.json` for optimum and transformers: that of the checkpoint, without paths and remote code."""
    return {key: value for key, value in config.items() if key not in _NOT_SHIPPED}


def generation_config(config: Mapping[str, Any], generation: Mapping[str, Any]) -> dict[str, Any]:
    """`generation_config.json`: that of the checkpoint, or made from its token ids as transformers does."""
    if generation:
        return {key: value for key, value in generation.items() if key not in _NOT_SHIPPED}
    ids = {key: config[key] for key in _TOKEN_IDS if config.get(key) is not None}
    return {"_from_model_config": True, **ids}


def tokenizer_config(stated: Mapping[str, Any], template: str | None, longest: int | None) -> dict[str, Any]:
    """`tokenizer_config.json` for transformers.js 4: it reads no chat_template.jinja, which other clients prefer, and
    no maximum length of sentence-transformers' modules.

    template: the chat template. longest: that maximum length, in tokens, special tokens included.
    """
    settings = dict(stated)
    if template is not None:
        settings.setdefault("chat_template", template)
    return settings if longest is None else {**settings, "model_max_length": longest}


def end_tokens(config: Mapping[str, Any], generation: Mapping[str, Any]) -> tuple[int, ...]:
    """The ids that end a text: from generation_config, else from config; empty where neither has one."""
    for settings in (generation, config):
        value = settings.get("eos_token_id")
        ids = value if isinstance(value, list) else [value]
        found = tuple(i for i in ids if _is_id(i))
        if found:
            return found
    return ()


def _is_id(value: Any) -> TypeGuard[int]:
    """Whether it is a token id; some old configurations have −1 for "none"."""
    return type(value) is int and value >= 0


@dataclass(frozen=True)
class GenaiFile:
    """The graph that onnxruntime-genai opens. shares_cache: whether the new cache may be the buffer of the old one, as
    GroupQueryAttention allows."""

    name: str = "model.onnx"
    shares_cache: bool = False


def genai_config(
    spec: DecoderSpec,
    family: str,
    context: int,
    config: Mapping[str, Any],
    generation: Mapping[str, Any],
    file: GenaiFile = GenaiFile(),
) -> dict[str, Any]:
    """`genai_config.json` of onnxruntime-genai 0.18 for a graph with the inputs and outputs of `DecoderSpec`.

    context: longest sequence in tokens, prompt and answer together.
    ValueError where there are no `end_tokens`: onnxruntime-genai would take id 0 as the end.
    """
    ends = end_tokens(config, generation)
    if not ends:
        raise ValueError("no end-of-text token")

    def token(key: str, default: int) -> int:
        found = [s[key] for s in (generation, config) if _is_id(s.get(key))]
        return found[0] if found else default

    model = {
        "type": family if family in GENAI_TYPES else "decoder",
        "bos_token_id": token("bos_token_id", ends[0]),
        "eos_token_id": list(ends) if len(ends) > 1 else ends[0],
        "pad_token_id": token("pad_token_id", ends[0]),
        "context_length": context,
        "vocab_size": spec.vocab_size,
        "decoder": {
            "filename": file.name,
            "head_size": spec.cache.head_dim,
            "hidden_size": spec.hidden_size,
            "num_attention_heads": max(spec.heads),
            "num_hidden_layers": spec.cache.layers,
            "num_key_value_heads": max(spec.cache.kv_heads),
            "session_options": {"log_id": "onnxruntime-genai", "provider_options": []},
            "inputs": {
                "input_ids": "input_ids",
                "attention_mask": "attention_mask",
                "position_ids": "position_ids",
                "past_key_names": "past_key_values.%d.key",
                "past_value_names": "past_key_values.%d.value",
            },
            "outputs": {
                "logits": "logits",
                "present_key_names": "present.%d.key",
                "present_value_names": "present.%d.value",
            },
        },
    }
    return {"model": model, "search": _search(context, generation) | {"past_present_share_buffer": file.shares_cache}}


def _search(context: int, generation: Mapping[str, Any]) -> dict[str, Any]:
    """The default sampling: the checkpoint's settings, else transformers' defaults."""

    def number(key: str, default: float) -> float:
        value = generation.get(key)
        return value if isinstance(value, int | float) and not isinstance(value, bool) else default

    return {
        "diversity_penalty": 0.0,
        "do_sample": generation.get("do_sample") is True,
        "early_stopping": True,
        "length_penalty": 1.0,
        "max_length": context,
        "min_length": 0,
        "no_repeat_ngram_size": 0,
        "num_beams": 1,
        "num_return_sequences": 1,
        "repetition_penalty": number("repetition_penalty", 1.0),
        "temperature": number("temperature", 1.0),
        "top_k": int(number("top_k", 50)),
        "top_p": number("top_p", 1.0),
    }


def onnx_interface(model: Path) -> Interface:
    """The inputs and outputs of an ONNX file. External data is not read."""
    import onnx

    graph = onnx.load(model, load_external_data=False).graph
    stored = {tensor.name for tensor in graph.initializer}
    return Interface(
        inputs=tuple(_port(value) for value in graph.input if value.name not in stored),
        outputs=tuple(_port(value) for value in graph.output),
    )


def _port(value: onnx.ValueInfoProto) -> Port:
    import onnx

    tensor = value.type.tensor_type
    shape = tuple(
        d.dim_param or (d.dim_value if d.HasField("dim_value") and d.dim_value >= 0 else "?") for d in tensor.shape.dim
    )
    return Port(value.name, onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type).name, shape)
