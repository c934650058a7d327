"""Bundles of tiny checkpoints for the tests that run clients, and what transformers says of the same checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from exporter.errors import UnsupportedError
from exporter.formats import FORMS, MOBILE, Form
from exporter.lower import forms
from exporter.lower.onnx import OnnxOptions
from exporter.lower.onnx.mobile import MobileOptions
from exporter.pipeline.export import export_checkpoint
from exporter.progress import NoProgress
from support.checkpoints import CHAT_TEMPLATE, SENTENCES
from support.decoder_checkpoints import DECODERS, FIXED_WIDTH, SIZES, tiny_decoder
from support.mapped_checkpoints import MAPPED, SAVED_BY_TRANSFORMERS
from support.requests import export_request

ONNX_FORMS = tuple(form for form in FORMS if form.format == "onnx")  # each is tested with every client
STEPS = 12  # greedy tokens: enough to run the cache well past the prompt
MESSAGES = [{"role": "user", "content": "Dim the lamp, please."}]

PLAIN: Mapping[str, Any] = {
    "head_dim": SIZES["hidden_size"] // SIZES["num_attention_heads"],
    "num_attention_heads": SIZES["num_attention_heads"],
    "num_key_value_heads": SIZES["num_attention_heads"],
    "rope_scaling": None,  # its factors are for another head_dim
}

_OURS = {**MAPPED, **SAVED_BY_TRANSFORMERS}
# Family → a checkpoint of it: the first of its variants.
FAMILIES: Mapping[str, Callable[[Path], torch.nn.Module]] = {
    **{name: (lambda folder, name=name: _saved(folder, name)) for name in DECODERS},
    **{
        name: (lambda folder, name=name: _OURS[name][0](folder, **_OURS[name][1]))
        for name in ("gpt2", "gpt_bigcode", "gpt_neo", "opt", "internlm2", "internlm3", "minicpm", "openelm")
    },
}


def _saved(folder: Path, family: str, **overrides: Any) -> torch.nn.Module:
    tiny_decoder(folder, family, **{**next(iter(DECODERS[family].values())), **overrides})
    return AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()


@dataclass(frozen=True)
class Answer:
    """A text's ids, and the ids that follow in greedy decoding, without the end token."""

    text: str
    ids: list[int]
    more: list[int]


@dataclass(frozen=True)
class Exported:
    """folder: of the ONNX form in the bundle. answers: the checkpoint's own, in torch. end: the id of the end token."""

    form: Form
    checkpoint: Path
    bundle: Path
    folder: Path
    answers: tuple[Answer, ...] = ()
    end: int = -1

    def judge(self, found: list[list[int]]) -> None:
        """found: for each answer the ids of prompt and continuation. The end token may follow, or not."""
        said = 0
        for answer, ids in zip(self.answers, found, strict=True):
            wanted = answer.ids + answer.more
            assert ids[: len(wanted)] == wanted
            assert ids[len(wanted) :] in ([], [self.end])
            said += len(answer.more)
        assert said >= STEPS, "mostly answers, not one end token after the other"


def export_form(checkpoint: Path, root: Path, form: Form, *, external_data: bool = False, **asked: Any) -> Exported:
    """Exports nothing but this form, uncompressed unless `bits` says otherwise.

    external_data: whether the weights lie in a file of their own, however large or small they are.
    """
    request = export_request(
        checkpoint,
        root / f"bundle-{form.name}",
        formats=("onnx",),
        forms=(form,),
        **{"bits": 16, "calibrate": "none", **asked},
    )
    with pytest.MonkeyPatch.context() as patch:
        limit = 1000 if external_data else 1 << 30
        patch.setattr(forms, "OnnxOptions", partial(OnnxOptions, external_data_above=limit))
        patch.setattr(forms, "MobileOptions", partial(MobileOptions, external_data_above=limit))
        try:
            bundle = export_checkpoint(request, NoProgress()).path
        except UnsupportedError as error:
            if error.diagnostics[0].code != "onnx.no-mobile-form":
                raise
            pytest.skip(error.diagnostics[0].message)
    return Exported(form, checkpoint, bundle, bundle / FORMS[form].folder)


def export_decoder(family: str, root: Path, form: Form, *, plain: bool = False) -> Exported:
    """A tiny checkpoint of the family with a chat template, its bundle, and its greedy answers.

    plain: with heads of hidden_size / heads, and a key/value head for each query head, as older models have.
    """
    if plain:
        reference = _saved(root / "checkpoint", family, **PLAIN)
    elif form == MOBILE and family in DECODERS and family not in FIXED_WIDTH:
        reference = _saved(root / "checkpoint", family, head_dim=16)
    else:
        reference = FAMILIES[family](root / "checkpoint")
    tokenizer = AutoTokenizer.from_pretrained(root / "checkpoint")
    (root / "checkpoint" / "chat_template.jinja").write_text(CHAT_TEMPLATE, encoding="utf-8")
    made = export_form(root / "checkpoint", root, form)
    end = tokenizer.eos_token_id
    answers = tuple(_answer(reference, text, tokenizer(text)["input_ids"], end) for text in SENTENCES[:3])
    return Exported(form, made.checkpoint, made.bundle, made.folder, answers, end)


def _answer(model: torch.nn.Module, text: str, prompt: list[int], end: int) -> Answer:
    """Plain greedy decoding in torch, without a cache: the simplest form there is."""
    ids = list(prompt)
    with torch.no_grad():
        for _ in range(STEPS):
            chosen = int(model(torch.tensor([ids]), use_cache=False).logits[0, -1].argmax())
            if chosen == end:
                break
            ids.append(chosen)
    return Answer(text, prompt, ids[len(prompt) :])
