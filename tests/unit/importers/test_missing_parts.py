"""A model type that no route imports is refused with what it has, as transformers' own configurations state it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from support.checkpoints import tiny_llama
from transformers import AutoConfig

from exporter.checkpoint import open_checkpoint
from exporter.errors import UnsupportedError
from exporter.importers.families import FAMILIES
from exporter.importers.missing_parts import missing_parts
from exporter.importers.optimum_export import export_task
from exporter.importers.routes import route_of

MOE, MAMBA, LATENT = "a mixture of experts", "state-space layers (Mamba)", "multi-head latent attention"
LINEAR = "layers of linear attention"


@pytest.mark.parametrize(
    ("model_type", "settings", "parts"),
    [
        ("mixtral", {}, {MOE}),
        ("dbrx", {}, {MOE}),
        ("olmoe", {}, {MOE}),
        ("phimoe", {}, {MOE}),
        ("qwen2_moe", {}, {MOE}),
        ("ernie4_5_moe", {}, {MOE}),
        ("glm4_moe", {}, {MOE}),
        ("hunyuan_v1_moe", {"num_experts": 8}, {MOE}),
        ("llama4", {}, {MOE}),
        ("granitemoehybrid", {"layer_types": ["mamba", "attention"] * 16}, {MOE, MAMBA}),
        ("granitemoehybrid", {"num_local_experts": 0, "layer_types": ["mamba"] * 32}, {MAMBA}),
        ("bamba", {}, {MAMBA}),
        ("jamba", {}, {MOE, MAMBA}),
        ("zamba2", {}, {MAMBA}),
        ("falcon_h1", {}, {MAMBA}),
        ("mamba", {}, {MAMBA}),
        ("falcon_mamba", {}, {MAMBA}),
        ("deepseek_v2", {}, {MOE, LATENT}),
        ("qwen3_next", {}, {MOE, LINEAR}),
        ("minimax", {}, {MOE, LINEAR}),
        ("recurrent_gemma", {}, {"recurrent layers"}),
        ("rwkv", {}, {"recurrent layers"}),
        ("lfm2", {}, {"layers of short convolutions"}),
        ("switch_transformers", {}, {MOE}),
        ("funnel", {}, set()),
        ("fnet", {}, set()),
    ],
)
def test_what_a_published_type_has(model_type: str, settings: dict[str, Any], parts: set[str]) -> None:
    assert set(missing_parts(AutoConfig.for_model(model_type, **settings).to_dict())) == parts


@pytest.mark.parametrize("model_type", sorted(FAMILIES))
def test_the_supported_families_have_none_of_it(model_type: str) -> None:
    try:
        config = AutoConfig.for_model(model_type)
    except ValueError:
        pytest.skip("its class exists only beside its weights")
    assert missing_parts(config.to_dict()) == ()


@pytest.mark.parametrize(
    ("changes", "says", "never"),
    [
        ({"model_type": "mixtral", "num_local_experts": 8}, "has a mixture of experts, which Kogata", "nearest"),
        ({"model_type": "falcon_h2", "mamba_d_ssm": 64}, "has state-space layers (Mamba), which", "nearest"),
        ({"model_type": "fnet"}, "neither Kogata nor optimum", "nearest"),  # transformers knows it: it isn't misspelt
        ({"model_type": "lllama"}, "the nearest name is 'llama'", "has "),
    ],
)
def test_a_refusal_says_what_is_missing(changes: dict[str, Any], says: str, never: str, tmp_path: Path) -> None:
    tiny_llama(tmp_path / "model")
    rewrite(tmp_path / "model" / "config.json", changes)
    with pytest.raises(UnsupportedError) as caught:
        route_of(open_checkpoint(tmp_path / "model"))
    message = caught.value.diagnostics[0].message
    assert says in message
    assert never not in message


def rewrite(path: Path, changes: dict[str, Any]) -> None:

    config = json.loads(path.read_text()) | changes
    config["architectures"] = ["SomeModel"]
    path.write_text(json.dumps(config))


def test_half_a_model_is_not_for_an_unknown_task() -> None:
    with pytest.raises(UnsupportedError) as caught:
        export_task({"model_type": "t5"}, "T5EncoderModel")
    message = caught.value.diagnostics[0].message
    assert message == (
        "optimum exports no T5EncoderModel; of t5, it exports the classes for feature-extraction, text2text-generation"
    )


@pytest.mark.parametrize(
    ("kind", "name"),
    [
        ("vits", "VitsModel"),
        ("speecht5", "SpeechT5ForTextToSpeech"),
        ("musicgen", "MusicgenForConditionalGeneration"),
    ],
)
def test_text_to_speech_is_what_is_missing(kind: str, name: str) -> None:
    """transformers lists VitsModel as a base model too, which is where optimum finds its task first."""
    with pytest.raises(UnsupportedError, match=f"{name} makes sound from text; Kogata doesn't support text to speech"):
        export_task({"model_type": kind}, name)
