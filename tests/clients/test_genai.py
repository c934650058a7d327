"""onnxruntime-genai: greedy tokens of every decoder family, and the chat template.

The reference is transformers' own model and template.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version

import numpy as np
import onnxruntime_genai as genai
import pytest
from support.client_exports import FAMILIES, MESSAGES, ONNX_FORMS, STEPS, Exported
from transformers import AutoTokenizer

from exporter.formats import Form


@pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)
@pytest.mark.parametrize("family", FAMILIES)
def test_greedy_tokens_and_chat_template(
    family: str, form: Form, decoder: Callable[[str, Form], Exported], record: Callable[..., None]
) -> None:
    exported = decoder(family, form)
    model = genai.Model(str(exported.folder))
    tokenizer = genai.Tokenizer(model)
    # By default it leaves special tokens to the chat template (microsoft/onnxruntime-genai#1442).
    tokenizer.update_options(add_special_tokens="true")
    found = []
    for answer in exported.answers:
        assert tokenizer.encode(answer.text).tolist() == answer.ids
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(answer.ids) + STEPS, do_sample=False)
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(answer.ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        found.append(generator.get_sequence(0).tolist())
    exported.judge(found)
    wanted = AutoTokenizer.from_pretrained(exported.checkpoint).apply_chat_template(
        MESSAGES, tokenize=False, add_generation_prompt=True
    )
    assert tokenizer.apply_chat_template(json.dumps(MESSAGES), add_generation_prompt=True) == wanted
    record(
        "onnxruntime-genai", version("onnxruntime-genai"), form.name, "ids, greedy tokens, chat prompt", "equal", family
    )
