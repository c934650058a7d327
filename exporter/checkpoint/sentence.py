"""Reads `modules.json`: what sentence-transformers computes after the encoder. Code that it names is never run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.sentence_dense import SentenceDense, read_dense
from exporter.checkpoint.tokens.files import TOKENIZER_CONFIG
from exporter.errors import InputError

MODULES = "modules.json"
_GENERAL_CONFIG = "config_sentence_transformers.json"
_CROSS_ENCODER = "CrossEncoder"  # `model_type` there
_EXPECTED_TASK = {False: ("feature-extraction", "last_hidden_state"), True: ("sequence-classification", "logits")}
_NO_LIMIT = 2**20  # tokenizers write 1e30 for "no limit"
# The names that sentence-transformers tries for the transformer's settings, in its order.
_SETTINGS = tuple(
    f"sentence_{kind}_config.json"
    for kind in ("bert", "roberta", "distilbert", "camembert", "albert", "xlm-roberta", "xlnet")
)
_POOLINGS = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


@dataclass(frozen=True)
class SentenceModules:
    """How a sentence embedding is computed from token embeddings.

    pooling: "mean", "cls", or another of sentence-transformers' modes ("max", "mean_sqrt_len", "weightedmean",
        "lasttoken"); None without a pooling module, or with several modes at once.
    normalize: whether the embedding is scaled to L2 norm 1.
    dense: the layers between pooling and normalization, in order.
    max_seq_length: in tokens, special tokens included; None where it isn't stated.
    cross_encoder: the modules score pairs of texts with the model's own head; nothing is pooled. activation: torch's
        full name of the function that turns its logits into scores, None where it isn't stated.
    truncate: only the first so many elements of the embedding are kept, after all modules (Matryoshka models); None:
        all of them. prompts: name → text that is put before a text. default_prompt: the name of the prompt that is used
        unless the caller names another; None: no prompt.
    unsupported: in words, what else the modules do; an export that ignored it would compute another result.
    files: the files that were read.
    """

    pooling: str | None
    normalize: bool
    max_seq_length: int | None
    unsupported: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    dense: tuple[SentenceDense, ...] = ()
    cross_encoder: bool = False
    activation: str | None = None
    truncate: int | None = None
    prompts: Mapping[str, str] = field(default_factory=dict)
    default_prompt: str | None = None


def read_sentence(folder: Folder, *, tokenizer_lowercases: bool) -> SentenceModules | None:
    """The modules, or None when the folder has no `modules.json`. `InputError` when the files are malformed.

    tokenizer_lowercases: the tokenizer makes text lower case, so `do_lower_case` changes nothing and is accepted.
    """
    modules = folder.read_json(MODULES)
    if modules is None:
        return None
    if not isinstance(modules, list) or not all(
        isinstance(m, dict) and isinstance(m.get("type"), str) and isinstance(m.get("path", ""), str) for m in modules
    ):
        raise InputError.of("checkpoint.sentence", f"{MODULES} is not a list of modules", where=MODULES)
    kinds = [_kind(module["type"]) for module in modules]
    files, unsupported = [MODULES], []
    pooling, max_seq_length = None, None
    dense: list[SentenceDense] = []
    general = folder.read_object(_GENERAL_CONFIG) or {}
    pairs = general.get("model_type") == _CROSS_ENCODER
    once = [kind for kind in kinds if kind not in ("Dense", "Dropout")]
    if kinds != sorted(kinds, key=_order) or len(set(once)) != len(once) or kinds[:1] != ["Transformer"]:
        unsupported.append(f"the module order {' → '.join(kinds) or '(none)'}")
    for module, kind in zip(modules, kinds, strict=True):
        if kind == "Transformer":
            if module.get("path"):
                unsupported.append(f"a transformer in the subfolder {module['path']!r}")
            settings = _settings(folder, files)
            unsupported += _unlike_text(settings, pairs, tokenizer_lowercases)
            max_seq_length = settings.get("max_seq_length") or _longest(folder)
        elif kind == "Pooling":
            pooling = _pooling(folder, module.get("path", ""), files, unsupported)
        elif kind == "Dense":
            dense += read_dense(folder, module.get("path", ""), files, unsupported)
        elif kind not in ("Normalize", "Dropout"):  # Dropout does nothing outside of training
            unsupported.append(f"the module {kind}")
    if general:
        files.append(_GENERAL_CONFIG)
    prompts, default_prompt = _prompts(general)
    if pairs and kinds != ["Transformer"]:
        unsupported.append(f"a cross-encoder of the modules {' → '.join(kinds)}")
    activation = general.get("activation_fn") if pairs else None
    return SentenceModules(
        pooling,
        "Normalize" in kinds,
        max_seq_length,
        tuple(unsupported),
        tuple(files),
        tuple(dense),
        pairs,
        None if activation is None else str(activation),
        _truncate(general),
        prompts,
        default_prompt,
    )


def _kind(type_name: str) -> str:
    """`sentence_transformers.models.Pooling` → `Pooling`. A class of another package keeps its full name."""
    package, _, name = type_name.rpartition(".")
    return name if package.split(".")[0] == "sentence_transformers" else type_name


def _order(kind: str) -> int:
    return {"Transformer": 0, "Pooling": 1, "Normalize": 3}.get(kind, 2)


def _settings(folder: Folder, files: list[str]) -> Mapping[str, Any]:
    """The transformer module's settings, empty where there are none. `max_seq_length` is checked."""
    for name in _SETTINGS:
        settings = folder.read_object(name, small_integers=True)
        if settings is None:
            continue
        files.append(name)
        length = settings.get("max_seq_length")
        if length is not None and (type(length) is not int or length < 1):
            raise InputError.of("checkpoint.sentence", f"max_seq_length is {length!r}", where=name)
        return settings
    return {}


def _unlike_text(settings: Mapping[str, Any], pairs: bool, tokenizer_lowercases: bool) -> Iterator[str]:
    """What the transformer's settings ask for that running the model over a text doesn't do, in words."""
    if settings.get("do_lower_case") and not tokenizer_lowercases:
        yield "do_lower_case, with a tokenizer that keeps the case"
    task, output = _EXPECTED_TASK[pairs]
    if settings.get("transformer_task") not in (None, task):
        yield f"a transformer for {str(settings['transformer_task'])[:60]}"
    modalities = settings.get("modality_config")
    text = modalities.get("text") if isinstance(modalities, Mapping) else None
    run = {"method": "forward", "method_output_name": output}
    if modalities is not None and text != run:
        yield f"a transformer whose text settings are not {run}"
    if settings.get("processing_kwargs"):
        yield "processing_kwargs"


def _longest(folder: Folder) -> int | None:
    """The tokenizer's limit. sentence-transformers uses it where the module states none; version 6 writes it there."""
    length = (folder.read_object(TOKENIZER_CONFIG) or {}).get("model_max_length")
    return length if type(length) is int and 0 < length < _NO_LIMIT else None


def _pooling(folder: Folder, path: str, files: list[str], unsupported: list[str]) -> str | None:
    name = f"{path}/config.json" if path else "config.json"
    settings = folder.read_object(name, small_integers=True)
    if settings is None:
        raise InputError.of("checkpoint.sentence", f"{MODULES} names {path!r}, but {name} is missing", where=name)
    files.append(name)
    if settings.get("include_prompt") is False:
        unsupported.append("pooling that leaves the prompt's tokens out")
    modes = _modes(settings, name)
    if len(modes) != 1:
        unsupported.append(f"pooling by {' + '.join(modes) or 'nothing'}")
        return None
    return modes[0]


def _modes(settings: Mapping[str, Any], name: str) -> list[str]:
    stated = settings.get("pooling_mode")  # the newer spelling
    if stated is not None:
        modes = [stated] if isinstance(stated, str) else stated
        if isinstance(modes, list) and all(isinstance(mode, str) for mode in modes):
            return [_POOLINGS.get(f"pooling_mode_{mode}", str(mode)) for mode in modes]  # mean_sqrt_len_tokens
        raise InputError.of("checkpoint.sentence", f"pooling_mode is {str(stated)[:80]!r}", where=name)
    # sentence-transformers' defaults: True for mean, False for all others.
    return [mode for flag, mode in _POOLINGS.items() if settings.get(flag, mode == "mean")]


def _prompts(general: Mapping[str, Any]) -> tuple[Mapping[str, str], str | None]:
    """All prompts that aren't empty, and the name of the default one. None is an empty prompt."""
    stated, default = general.get("prompts") or {}, general.get("default_prompt_name")
    known = isinstance(stated, dict) and all(prompt is None or isinstance(prompt, str) for prompt in stated.values())
    if not known or not (default is None or isinstance(default, str)):
        message = "prompts is not an object of texts, or default_prompt_name is not a name"
        raise InputError.of("checkpoint.sentence", message, where=_GENERAL_CONFIG)
    if default is not None and default not in stated:
        message = f"default_prompt_name is {default[:80]!r}, which prompts doesn't hold"
        raise InputError.of("checkpoint.sentence", message, where=_GENERAL_CONFIG)
    prompts = {name: prompt for name, prompt in stated.items() if prompt}
    return prompts, default if default in prompts else None


def _truncate(general: Mapping[str, Any]) -> int | None:
    size = general.get("truncate_dim")
    if size is not None and (type(size) is not int or size < 1):
        message = f"truncate_dim is {str(size)[:80]}, not a positive number of elements"
        raise InputError.of("checkpoint.sentence", message, where=_GENERAL_CONFIG)
    return size
