"""The rules by which optimum makes an empty cache, against its own code and transformers' list of models."""

from __future__ import annotations

import inspect
import re

import pytest
from optimum.onnxruntime import ORTModelForCausalLM
from transformers import CONFIG_MAPPING

from exporter.bundle.optimum_decoder import NOT_IN_TRANSFORMERS, READS_HEAD_DIM, READS_KV_HEADS, optimum_obstacle
from exporter.importers.families import FAMILIES

QWEN3 = {"family": "qwen3", "hidden_size": 1024, "heads": 16, "kv_heads": 8, "head_dim": 128}  # Qwen3-0.6B
PHI4 = {"family": "phi3", "hidden_size": 3072, "heads": 24, "kv_heads": 8, "head_dim": 128}  # Phi-4-mini


def test_the_lists_are_optimum_s_own() -> None:
    source = inspect.getsource(ORTModelForCausalLM.__init__)
    lists = [set(re.findall(r'"(\w+)"', them)) for them in re.findall(r"model_type in \{(.*?)\}", source, re.DOTALL)]
    assert lists[0] == READS_HEAD_DIM
    assert lists[1] - {"deepseek_v3"} == READS_KV_HEADS - {"gpt_bigcode"}  # that one asks multi_query instead
    assert 'model_type == "gpt_bigcode"' in source


def test_families_that_are_code_of_a_checkpoint_are_not_in_transformers() -> None:
    assert {family for family in FAMILIES if family not in CONFIG_MAPPING} == NOT_IN_TRANSFORMERS


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        (QWEN3, "hidden_size / heads = 64 wide, and they are 128"),
        (PHI4, "each query head, 24, and it has 8"),
        (QWEN3 | {"head_dim": 64}, ""),
        (QWEN3 | {"family": "gemma3_text"}, ""),
        (PHI4 | {"family": "openelm"}, "no model type openelm"),
        (PHI4 | {"kv_heads": 24}, ""),
    ],
)
def test_reasons(model: dict[str, object], reason: str) -> None:
    found = optimum_obstacle(model)
    assert reason in found
    assert bool(found) == bool(reason)
