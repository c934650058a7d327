"""The reference: the checkpoint in torch, with transformers' own model code.

fp32, local files only, safetensors only, no remote code. The attention implementation is the one that transformers
chooses by itself, as users of the model get it: `sdpa` for most classes. Forcing `eager` would hide faults of that code
(transformers 4.57 adds Falcon's alibi twice there). Pooling is computed here, from the checkpoint's `modules.json`,
independently of what the importer made of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.checkpoint.spelling import older_spelling
from exporter.errors import InputError
from exporter.runners.base import Embeddings, answer_of
from exporter.runners.pooling import SentencePooling
from exporter.runners.references import Loaded, find_reference
from exporter.runners.references.source import read_config

if TYPE_CHECKING:
    import torch

    from exporter.graph.model import Task

_LOGITS = ("logits", "start_logits", "end_logits")
AUTO_CLASSES: Mapping[str, str] = {  # task → the class that picks a model with the head for it
    "text-classification": "AutoModelForSequenceClassification",
    "text-ranking": "AutoModelForSequenceClassification",
    "token-classification": "AutoModelForTokenClassification",
    "fill-mask": "AutoModelForMaskedLM",
    "question-answering": "AutoModelForQuestionAnswering",
}
# Parts whose weights may be missing: their outputs are not compared. transformers 5 renames what is in vision towers.
_UNUSED = ("pooler.", "model.vision_tower.", "model.multi_modal_projector.")


class TorchDecoder:
    """`transformers.AutoModelForCausalLM` with a `DynamicCache`, or the family's own reference where there is none."""

    def __init__(self, folder: Path) -> None:
        self.model, self.name = load_reference(folder, "AutoModelForCausalLM")

    def session(self) -> TorchDecoderSession:
        """A session with an empty cache."""
        return TorchDecoderSession(self.model)


class TorchDecoderSession:
    """One text; `feed` appends to transformers' cache."""

    def __init__(self, model: Any) -> None:
        from transformers import DynamicCache

        self._model = model
        self._cache = DynamicCache()

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[q]` token ids → logits `[q, vocab]`."""
        import torch

        with torch.inference_mode():
            result = self._model(input_ids=torch.from_numpy(ids)[None], past_key_values=self._cache, use_cache=True)
        self._cache = result.past_key_values
        logits: NDArray[np.float32] = result.logits[0].numpy()
        return logits


class TorchEncoder:
    """`transformers.AutoModel` and what sentence-transformers would add, or the model with the head for `task`."""

    def __init__(self, folder: Path, task: Task = "feature-extraction") -> None:
        auto = AUTO_CLASSES.get(task, "AutoModel")
        self.model, self.name = load_reference(folder, auto)
        self._pooling = SentencePooling.read(folder) if auto == "AutoModel" else None
        # The path of the bare model's modules.
        self.inner = "" if auto == "AutoModel" else f"{self.model.base_model_prefix}."

    def encode(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Embeddings:
        """`[n]` token ids, special tokens included, and token types."""
        import torch

        with torch.inference_mode():
            made = self.model(**torch_feeds(self.model, ids, types))
            if "last_hidden_state" not in made:
                return answer_of({name: made[name].numpy() for name in _LOGITS if name in made}, len(ids))
            hidden = made.last_hidden_state[0]
            sentence = None if self._pooling is None else self._pooling.apply(hidden).numpy()
        return Embeddings(hidden.numpy(), sentence)


def torch_feeds(model: Any, ids: NDArray[np.int64], types: NDArray[np.int64] | None) -> dict[str, torch.Tensor]:
    """The inputs of a transformers encoder for one text; with token types where the model knows more than one."""
    import torch

    rows = torch.from_numpy(ids)[None]
    feeds = {"input_ids": rows, "attention_mask": torch.ones_like(rows)}
    if types is not None and getattr(model.config, "type_vocab_size", 0) > 1:
        feeds["token_type_ids"] = torch.from_numpy(types)[None]
    return feeds


def load_reference(folder: Path, auto: str) -> tuple[Any, str]:
    """The model in eval mode and its runner name.

    Raises InputError where torch can't load the folder, or where weights are missing.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    reference = find_reference(folder) if auto == "AutoModelForCausalLM" else None
    with quiet(transformers):
        try:
            loaded = _automatic(folder, auto) if reference is None else reference.load(folder)
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RuntimeError, ArithmeticError,
                SafetensorError) as error:  # fmt: skip
            raise InputError.of(
                "parity.reference",
                f"torch can't load the checkpoint as a reference: {error}",
                where=folder.name,
                hint="--parity none exports without a check",
            ) from error
    if missing := [name for name in loaded.missing if not name.startswith(_UNUSED)]:
        raise InputError.of(
            "parity.reference-weights",
            f"the checkpoint lacks weights that the model in torch needs: {', '.join(missing[:5])}",
            where=folder.name,
        )
    name = f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, fp32"
    name = f"{name} {_attention(loaded.model)}".rstrip()
    return loaded.model, name if reference is None else f"{name}, {reference.described}"


def _attention(model: Any) -> str:
    """The attention implementation in use, "eager" or "sdpa" say; "" for a module that doesn't state one."""
    return str(getattr(getattr(model, "config", None), "_attn_implementation", None) or "")


def _automatic(folder: Path, auto: str) -> Loaded:
    """The model that transformers itself picks for the folder."""
    import torch
    import transformers

    model_class, stated = getattr(transformers, auto), read_config(folder)
    restated, config = older_spelling(stated), None
    if restated != stated:
        known = getattr(model_class, "config_class", None)  # which the classes that pick a model have not
        known = known or type(transformers.AutoConfig.from_pretrained(str(folder), local_files_only=True))
        config = known.from_dict(restated)
    model, info = model_class.from_pretrained(
        str(folder),
        config=config,
        torch_dtype=torch.float32,
        local_files_only=True,
        trust_remote_code=False,
        use_safetensors=True,
        output_loading_info=True,
        **_attention_choice(stated),
    )
    return Loaded(model.eval(), tuple(sorted([*info["missing_keys"], *map(str, info["mismatched_keys"])])))


def _attention_choice(stated: Mapping[str, Any]) -> dict[str, str]:
    """transformers' own choice, but for GPT-2 with other scales of scores: its sdpa code (4.57) ignores these settings,
    and gives other logits than the model was trained with."""
    rescaled = not stated.get("scale_attn_weights", True) or stated.get("scale_attn_by_inverse_layer_idx", False)
    return {"attn_implementation": "eager"} if stated.get("model_type") == "gpt2" and rescaled else {}


@contextmanager
def quiet(transformers: Any) -> Iterator[None]:
    """Silences transformers' progress bars and warnings: the caller checks for missing weights itself."""
    logging = transformers.utils.logging
    verbosity, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if bars:
            logging.enable_progress_bar()
