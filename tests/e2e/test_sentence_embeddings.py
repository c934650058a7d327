"""Embedding models from the command to the number, against sentence-transformers (torch, fp32, eager attention).

Nothing is compressed, so that the numbers differ by rounding alone: 1e-4 in ONNX, 2e-2 in float16.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from support.checkpoints import tiny_llama, write_json
from support.command import kogata_plain as kogata
from support.encoder_checkpoints import tiny_encoder, write_pooling

TEXT = "Dim the bedroom lamp."
PROMPTS = {"query": "Instruct: find it\nQuery: ", "document": "passage: "}
STATED = {"prompts": PROMPTS, "default_prompt_name": "query", "truncate_dim": 20}


def embedding(folder: Path, artifact: str, capsys: pytest.CaptureFixture[str]) -> np.ndarray:
    capsys.readouterr()
    assert kogata("run", folder, TEXT, "--artifact", artifact, "--format", "json", "-q") == 0
    return np.array(json.loads(capsys.readouterr().out)["result"]["embedding"], np.float32)


@pytest.mark.parametrize("decoder", [True, False])
def test_a_prompt_and_a_truncation(decoder: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, out = tmp_path / "checkpoint", tmp_path / "bundle"
    if decoder:
        tiny_llama(folder)
        tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
        write_json(folder / "tokenizer_config.json", tokenizer | {"model_input_names": ["input_ids", "attention_mask"]})
    else:
        tiny_encoder(folder, "bert")
    write_pooling(folder, "lasttoken" if decoder else "mean_tokens", normalize=True)
    write_json(folder / "config_sentence_transformers.json", STATED)
    prompts = tmp_path / "texts.txt"
    prompts.write_text("Dim the lamp.\nyes\nClose the blinds, please.\n")
    options = ("--bits", "16", "--calibrate", "none", "--prompts", prompts, "-q")
    assert kogata("export", folder, "-o", out, *options) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert manifest["task"] == "feature-extraction"
    assert {key: manifest["model"][key] for key in STATED} == STATED
    assert {part["verdict"] for part in manifest["parity"].values()} == {"passed"}
    card = (out / "README.md").read_text()
    assert "## Prompts" in card
    assert "passage: " in card
    wanted = SentenceTransformer(str(folder), device="cpu").encode(TEXT)
    assert wanted.shape == (20,)
    np.testing.assert_allclose(embedding(out, "onnx", capsys), wanted, atol=1e-4)
    np.testing.assert_allclose(embedding(out, "coreml", capsys), wanted, atol=2e-2)
    assert kogata("check", out, "--against", folder, "--prompts", prompts, "-q") == 0
    assert kogata("verify", out, "-q") == 0
