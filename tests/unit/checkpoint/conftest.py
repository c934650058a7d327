"""Small checkpoints made without torch or transformers: configuration, two tensors, a word-level tokenizer."""

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from tokenizers import Tokenizer, models, pre_tokenizers

TENSORS = {
    "model.embed.weight": np.arange(12, dtype=np.float32).reshape(4, 3),
    "model.norm.weight": np.array([1.0, -2.0, 0.5], np.float16),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A whole checkpoint that opens without complaint, named `tiny`."""
    root = tmp_path / "tiny"
    root.mkdir()
    (root / "config.json").write_text(json.dumps({"model_type": "llama", "eos_token_id": [1, 2]}))
    save_file(TENSORS, root / "model.safetensors")
    vocabulary = {"<unk>": 0, "<eos>": 1, "<end>": 2, "hello": 3, "world": 4}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "tokenizer.json"))
    (root / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<eos>", "unk_token": "<unk>"})
    )
    return root
