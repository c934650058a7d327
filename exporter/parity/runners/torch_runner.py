"""The reference: the checkpoint in torch, with transformers' own model code.

fp32, eager attention, local files only, safetensors only, no remote code. Pooling is computed here, from the
checkpoint's `modules.json`, independently of what the importer made of it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import InputError, UnsupportedError
from exporter.parity.runners.base import Embeddings

if TYPE_CHECKING:
    import torch

_POOLINGS = ("cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens")  # the order they are concatenated in
_UNUSED = ("pooler.",)  # parts whose weights may be missing: their outputs are not compared


class TorchDecoder:
    """`transformers.AutoModelForCausalLM` with a `DynamicCache`."""

    def __init__(self, folder: Path) -> None:
        self.model, self.name = _load(folder, "AutoModelForCausalLM")

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
    """`transformers.AutoModel` and the pooling that sentence-transformers would add."""

    def __init__(self, folder: Path) -> None:
        self.model, self.name = _load(folder, "AutoModel")
        self._pooling = SentencePooling.read(folder)

    def encode(self, ids: NDArray[np.int64]) -> Embeddings:
        """`[n]` token ids, special tokens included."""
        import torch

        with torch.inference_mode():
            rows = torch.from_numpy(ids)[None]
            hidden = self.model(input_ids=rows, attention_mask=torch.ones_like(rows)).last_hidden_state[0]
            sentence = None if self._pooling is None else self._pooling.apply(hidden).numpy()
        return Embeddings(hidden.numpy(), sentence)


class SentencePooling:
    """sentence-transformers' Pooling and Normalize modules for one unpadded text."""

    def __init__(self, modes: tuple[str, ...], normalize: bool) -> None:
        self.modes, self.normalize = modes, normalize

    @classmethod
    def read(cls, folder: Path) -> SentencePooling | None:
        """What `modules.json` asks for; None without that file or without a Pooling module.

        Raises InputError for a damaged file, UnsupportedError for a module that isn't known here.
        """
        if not (folder / "modules.json").is_file():
            return None
        modules = _read_json(folder, "modules.json", list)
        modes: tuple[str, ...] = ()
        normalize = False
        for module in modules:
            kind = str(module.get("type", "")) if isinstance(module, dict) else ""
            match kind.rsplit(".", 1)[-1]:
                case "Transformer":
                    pass
                case "Pooling":
                    modes = _modes(_read_json(folder, f"{module.get('path', '')}/config.json", dict))
                case "Normalize":
                    normalize = True
                case other:
                    raise UnsupportedError.of(
                        "parity.sentence-module", f"parity can't compute the module {other!r}", where="modules.json"
                    )
        return cls(modes, normalize) if modes else None

    def apply(self, hidden: torch.Tensor) -> torch.Tensor:
        """`[n, hidden]` → `[hidden × modes]`."""
        import torch

        pooled: torch.Tensor = torch.cat([_pooled(hidden, mode) for mode in self.modes])
        return torch.nn.functional.normalize(pooled, dim=0) if self.normalize else pooled


def _pooled(hidden: torch.Tensor, mode: str) -> torch.Tensor:
    match mode:
        case "cls_token":
            return hidden[0]
        case "max_tokens":
            return hidden.amax(0)
        case "mean_tokens":
            return hidden.sum(0) / len(hidden)
        case _:  # mean_sqrt_len_tokens
            return hidden.sum(0) / math.sqrt(len(hidden))


def _modes(config: dict[str, Any]) -> tuple[str, ...]:
    asked = {key.removeprefix("pooling_mode_") for key, on in config.items() if key.startswith("pooling_mode_") and on}
    if not asked or asked - set(_POOLINGS):
        raise UnsupportedError.of(
            "parity.pooling",
            f"parity can't compute the pooling {sorted(asked - set(_POOLINGS)) or 'none'}",
            where="Pooling/config.json",
        )
    return tuple(mode for mode in _POOLINGS if mode in asked)


def _read_json(folder: Path, name: str, kind: type) -> Any:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        raise InputError.of("checkpoint.path", "a path leaves the checkpoint's folder", where=name)
    try:
        value = json.loads((folder / name).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError.of("checkpoint.json", f"can't be read: {error}", where=name) from error
    if not isinstance(value, kind):
        raise InputError.of("checkpoint.json", f"should hold a {kind.__name__}", where=name)
    return value


def _load(folder: Path, auto: str) -> tuple[Any, str]:
    """The model in eval mode and its runner name.

    Raises InputError where transformers can't load the folder, or would have to invent weights.
    """
    import torch
    import transformers
    from safetensors import SafetensorError

    with _quiet(transformers):
        try:
            model, info = getattr(transformers, auto).from_pretrained(
                str(folder),
                torch_dtype=torch.float32,
                attn_implementation="eager",
                local_files_only=True,
                trust_remote_code=False,
                use_safetensors=True,
                output_loading_info=True,
            )
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RuntimeError, SafetensorError) as error:
            raise InputError.of(
                "parity.reference",
                f"transformers can't load the checkpoint as a reference: {error}",
                where=folder.name,
                hint="--parity none exports without a check",
            ) from error
    missing = sorted(key for key in info["missing_keys"] if not key.startswith(_UNUSED))
    if missing or info["mismatched_keys"]:
        names = missing or [str(key) for key in info["mismatched_keys"]]
        raise InputError.of(
            "parity.reference-weights",
            f"the checkpoint lacks weights that transformers' model needs: {', '.join(names[:5])}",
            where=folder.name,
        )
    return model.eval(), f"torch {torch.__version__.split('+')[0]}, transformers {transformers.__version__}, fp32 eager"


@contextmanager
def _quiet(transformers: Any) -> Iterator[None]:
    """No progress bars and no warnings of transformers meanwhile: the missing weights are checked by us."""
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
