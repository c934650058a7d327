"""The trained sample at 4 bits in every client that runs it: the answers of `kogata run`, with external data too."""

from __future__ import annotations

import json
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime_genai as genai
import pytest
from optimum.onnxruntime import ORTModelForCausalLM
from support.client_exports import ONNX_FORMS, Exported, export_form
from support.command import kogata
from support.paths import ROOT
from transformers import AutoTokenizer

TEXTS = ("dim the bedroom lamp to thirty percent at nine", "明日の朝7時に起こして", "I'm cold")
COMPARED = "answers of `kogata run`, 4 bits"
PACKAGE = "@huggingface/transformers"
LONGEST = 160  # tokens, more than any answer has


@pytest.fixture(scope="module", params=ONNX_FORMS, ids=lambda form: form.name)
def home(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """With external data, although it is far too small for that."""
    root = tmp_path_factory.mktemp("home")
    checkpoint = ROOT / "samples" / "home_intents" / "checkpoint"
    made = export_form(checkpoint, root, request.param, external_data=True, bits=4)
    assert (made.folder / "model.onnx.data").stat().st_size > (made.folder / "model.onnx").stat().st_size
    return made


@pytest.fixture(scope="module")
def answers(home: Exported) -> list[str]:
    """What `kogata run` says. Its own tests hold it to transformers."""
    from exporter.pipeline.run import run_bundle

    found = [str(run_bundle(home.bundle, text, "onnx", None).as_json()["text"]) for text in TEXTS]
    assert json.loads(found[0])["action"] == "set_brightness"
    return found


def test_genai(home: Exported, answers: list[str], record: Callable[..., None]) -> None:
    model = genai.Model(str(home.folder))
    tokenizer = genai.Tokenizer(model)
    for text, wanted in zip(TEXTS, answers, strict=True):
        message = json.dumps([{"role": "user", "content": text}])
        ids = tokenizer.encode(tokenizer.apply_chat_template(message, add_generation_prompt=True))
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=LONGEST, do_sample=False)
        generator = genai.Generator(model, params)
        generator.append_tokens(ids)
        while not generator.is_done():
            generator.generate_next_token()
        assert tokenizer.decode(np.array(generator.get_sequence(0)[len(ids) :])) == wanted
    record("onnxruntime-genai", version("onnxruntime-genai"), home.form.name, COMPARED, "equal", "home-intents")


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "in place"])
def test_optimum(packed: bool, home: Exported, answers: list[str], tmp_path: Path, record: Callable[..., None]) -> None:
    folder, place = home.folder, {}
    if packed:
        folder, place = tmp_path / "packed", {"subfolder": "onnx"}
        assert kogata("pack", home.bundle, "--for", "transformers.js", "-o", folder, "-q") == 0
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = ORTModelForCausalLM.from_pretrained(folder, **place)
    for text, wanted in zip(TEXTS, answers, strict=True):
        message = [{"role": "user", "content": text}]
        ids = tokenizer.apply_chat_template(message, add_generation_prompt=True, return_tensors="pt", return_dict=False)
        made = model.generate(ids, max_length=LONGEST, do_sample=False)[0, ids.shape[1] :]
        assert tokenizer.decode(made, skip_special_tokens=True) == wanted
    record("optimum-onnx", version("optimum-onnx"), home.form.name, COMPARED, "equal", "home-intents")


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "in place"])
def test_transformers_js(
    packed: bool, home: Exported, answers: list[str], transformers_js: Callable[[list[dict[str, Any]]], dict[str, Any]],
    tmp_path: Path, record: Callable[..., None], npm_version: Callable[[str], str],
) -> None:  # fmt: skip
    """Packed, and from the bundle's own folder, where `subfolder: ""` says that the model lies beside config.json."""
    folder, place = home.folder, {"subfolder": ""}
    if packed:
        folder, place = tmp_path / "packed", {}
        assert kogata("pack", home.bundle, "--for", "transformers.js", "-o", folder, "-q") == 0
        for file in (home.folder / "model.onnx", home.folder / "model.onnx.data"):
            assert (folder / "onnx" / file.name).read_bytes() == file.read_bytes()
    job = {"id": "home", "kind": "chat", "folder": str(folder), "dtype": "fp32", "texts": TEXTS, "longest": LONGEST}
    result = transformers_js([{**job, **place}])["home"]
    assert result.get("answers") == answers, result
    how = COMPARED if packed else f"{COMPARED}, unpacked"
    record("transformers.js (Node)", npm_version(PACKAGE), home.form.name, how, "equal", "home-intents")
