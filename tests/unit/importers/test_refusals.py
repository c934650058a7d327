"""What the importers refuse: each with the right error, every problem named, and never a traceback."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file, save_file
from support.checkpoints import tiny_bert, tiny_llama, write_json

from exporter.checkpoint import Checkpoint, SentenceModules, open_checkpoint
from exporter.errors import ExitCode, InputError, KogataError, UnsupportedError
from exporter.graph.model import Hub
from exporter.importers import import_checkpoint
from exporter.importers.families import FAMILIES


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(tiny_llama(tmp_path_factory.mktemp("llama")))


@pytest.fixture(scope="module")
def bert(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return open_checkpoint(tiny_bert(tmp_path_factory.mktemp("bert")))


def with_config(checkpoint: Checkpoint, **changes: Any) -> Checkpoint:
    """`...` removes the key."""
    config = dict(checkpoint.config) | changes
    return replace(checkpoint, config={key: value for key, value in config.items() if value is not ...})


def refusal(kind: type[KogataError], checkpoint: Checkpoint, context: int | None = None) -> list[str]:
    with pytest.raises(kind) as caught:
        import_checkpoint(checkpoint, context=context)
    assert type(caught.value) is kind
    assert all(d.code and d.where for d in caught.value.diagnostics)
    return [f"{d.message} | {d.hint}" for d in caught.value.diagnostics]


LLAMA_UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "mish"}, "hidden_act: 'mish' is not supported | supported: "),
    ({"rope_scaling": {"rope_type": "mrope", "factor": 4.0}}, "rope_type: 'mrope' is not supported"),
    ({"rope_scaling": {"type": "xpos", "factor": 4.0}}, "type: 'xpos' is not supported"),
    ({"sliding_window": 4096}, "sliding_window: 4096 is not supported"),
    ({"partial_rotary_factor": 0.5}, "partial_rotary_factor: 0.5 is not supported"),
    ({"quantization_config": {"quant_method": "gptq"}}, "quantization_config"),
    ({"architectures": ["LlamaForSequenceClassification"]}, "LlamaForSequenceClassification is not supported"),
]
BERT_UNSUPPORTED: list[tuple[dict[str, Any], str]] = [
    ({"hidden_act": "mish"}, "hidden_act: 'mish' is not supported"),
    ({"position_embedding_type": "relative_key_query"}, "position_embedding_type: 'relative_key_query'"),
    ({"is_decoder": True}, "is_decoder: True is not supported"),
    ({"add_cross_attention": True}, "add_cross_attention: True is not supported"),
    ({"architectures": ["BertForNextSentencePrediction"]}, "BertForNextSentencePrediction is not supported"),
]
LLAMA_INVALID: list[tuple[dict[str, Any], str]] = [
    ({"hidden_size": -32}, "hidden_size: -32 is not a whole number"),
    ({"hidden_size": "32"}, "hidden_size: '32' is not a whole number"),
    ({"hidden_size": True}, "hidden_size: True is not a whole number"),
    ({"hidden_size": 32.0}, "hidden_size: 32.0 is not a whole number"),
    ({"hidden_size": ...}, "hidden_size: nothing is not a whole number"),
    ({"hidden_size": 10**4000}, "hidden_size: 1000"),
    ({"vocab_size": [1] * 10**5}, "vocab_size: [1, 1"),
    ({"num_hidden_layers": 10**9}, "num_hidden_layers: 1000000000 is not a whole number from 1 to 1024"),
    ({"num_hidden_layers": 1000}, "num_hidden_layers: 1000 layers, but"),
    ({"num_hidden_layers": 0}, "num_hidden_layers: 0 is not"),
    ({"num_key_value_heads": 3}, "3 doesn't divide num_attention_heads, 4"),
    ({"num_attention_heads": 6, "head_dim": ...}, "6 doesn't divide hidden_size 32"),
    ({"head_dim": 11}, "head_dim: 11 is odd"),
    ({"rms_norm_eps": float("nan")}, "rms_norm_eps: nan is not a finite number"),
    ({"rms_norm_eps": -1e-6}, "rms_norm_eps: -1e-06"),
    ({"rms_norm_eps": 10**400}, "rms_norm_eps: 1000"),
    ({"rope_theta": 0}, "rope_theta: 0 is not"),
    ({"rope_theta": float("inf")}, "rope_theta: inf is not"),
    ({"rope_scaling": "linear"}, "rope_scaling: 'linear' is not an object"),
    ({"rope_scaling": {"type": "linear"}}, "factor: nothing is not"),
    ({"rope_scaling": {"rope_type": 3}}, "rope_type: 3 is not one of"),
    ({"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "low_freq_factor: nothing is not"),
    (
        {
            "rope_scaling": {
                "rope_type": "llama3",
                "factor": 8,
                "low_freq_factor": 4,
                "high_freq_factor": 4,
                "original_max_position_embeddings": 16,
            }
        },
        "high_freq_factor: 4 must be above low_freq_factor",
    ),
    ({"attention_bias": "yes"}, "attention_bias: 'yes' is neither true nor false"),
    ({"tie_word_embeddings": 1}, "tie_word_embeddings: 1 is neither"),
    ({"hidden_act": 7}, "hidden_act: 7 is not one of: "),
    ({"architectures": "LlamaForCausalLM"}, "architectures: not a list"),
    ({"max_position_embeddings": 2**30}, "too large for a phone | set --context to at most"),
    ({"model_type": ..., "architectures": ...}, "model_type is missing"),
    ({"model_type": ..., "architectures": ["LlamaModel"]}, "model_type is missing"),
    ({"model_type": ["llama"]}, "model_type is not a string"),
]
BERT_INVALID: list[tuple[dict[str, Any], str]] = [
    ({"num_attention_heads": 5}, "5 doesn't divide hidden_size, 36"),
    ({"layer_norm_eps": "1e-12"}, "layer_norm_eps: '1e-12' is not"),
    ({"max_position_embeddings": None, "type_vocab_size": 0}, "type_vocab_size: 0 is not"),
    ({"hidden_act": {"a": 1}}, "hidden_act: {'a': 1} is not one of"),
]


def cases(*tables: tuple[str, list[tuple[dict[str, Any], str]]]) -> Iterator[Any]:
    for family, table in tables:
        for changes, message in table:
            yield pytest.param(family, changes, message, id=f"{family} {message[:40]}")


@pytest.mark.parametrize(
    ("family", "changes", "message"), cases(("llama", LLAMA_UNSUPPORTED), ("bert", BERT_UNSUPPORTED))
)
def test_unsupported_values(family: str, changes: dict[str, Any], message: str, request: Any) -> None:
    (problem,) = refusal(UnsupportedError, with_config(request.getfixturevalue(family), **changes))
    assert message in problem


@pytest.mark.parametrize(("family", "changes", "message"), cases(("llama", LLAMA_INVALID), ("bert", BERT_INVALID)))
def test_invalid_values(family: str, changes: dict[str, Any], message: str, request: Any) -> None:
    problems = refusal(InputError, with_config(request.getfixturevalue(family), **changes))
    assert message in problems[0]
    assert all(len(problem) < 400 for problem in problems)


def test_all_unsupported_values_at_once(llama: Checkpoint) -> None:
    many = with_config(llama, hidden_act="mish", sliding_window=8, rope_scaling={"rope_type": "xpos", "factor": 2.0})
    assert len(refusal(UnsupportedError, many)) == 3
    both = refusal(InputError, with_config(many, vocab_size=-1))
    assert len(both) == 4
    assert both[0].startswith("vocab_size")


def test_unknown_model_type_lists_the_supported_and_the_nearest(llama: Checkpoint) -> None:
    with pytest.raises(UnsupportedError) as caught:
        import_checkpoint(with_config(llama, model_type="lama"))
    assert caught.value.exit_code == ExitCode.UNSUPPORTED
    (found,) = caught.value.diagnostics
    assert "'lama'" in found.message
    assert "nearest name is 'llama'" in found.message
    assert all(name in found.hint for name in FAMILIES)
    (problem,) = refusal(UnsupportedError, with_config(llama, model_type="rwkv"))
    assert "nearest" not in problem
    (problem,) = refusal(UnsupportedError, with_config(llama, model_type="x" * 10**6))
    assert len(problem) < 200 + len(found.hint)


SENTENCE = SentenceModules(pooling="mean", normalize=True, max_seq_length=None)


@pytest.mark.parametrize(
    ("sentence", "message"),
    [
        (replace(SENTENCE, pooling="attention"), "pooling by 'attention' is not supported | supported: mean, cls"),
        (replace(SENTENCE, unsupported=("the module LSTM",)), "the module LSTM is not supported"),
        (replace(SENTENCE, pooling=None), "normalization without pooling"),
        (replace(SENTENCE, pooling=None, unsupported=("pooling by mean + max",)), "pooling by mean + max"),
    ],
)
def test_unsupported_sentence_modules(bert: Checkpoint, sentence: SentenceModules, message: str) -> None:
    (problem,) = refusal(UnsupportedError, replace(bert, sentence=sentence))
    assert message in problem


def test_unknown_module_on_disk(tmp_path: Path) -> None:
    folder = tiny_bert(tmp_path, normalize=False)
    names = ("Transformer", "Pooling", "LSTM")
    paths = ("", "1_Pooling", "2_LSTM")
    modules = [{"path": p, "type": f"sentence_transformers.models.{n}"} for n, p in zip(names, paths, strict=True)]
    write_json(folder / "modules.json", modules)
    (problem,) = refusal(UnsupportedError, open_checkpoint(folder))
    assert "LSTM" in problem


def test_a_decoder_that_scores_pairs_or_ignores_is_causal(llama: Checkpoint) -> None:
    pairs = replace(SENTENCE, cross_encoder=True)
    (problem,) = refusal(UnsupportedError, replace(llama, sentence=pairs))
    assert "a cross-encoder from a decoder" in problem
    config = {**llama.config, "is_causal": False}
    (problem,) = refusal(UnsupportedError, replace(llama, sentence=SENTENCE, config=config))
    assert "is_causal: False is not supported" in problem


def edited(folder: Path, edit: Any) -> Checkpoint:
    state = load_file(folder / "model.safetensors")
    edit(state)
    save_file({name: tensor.contiguous() for name, tensor in state.items()}, folder / "model.safetensors")
    return open_checkpoint(folder)


def test_missing_surplus_and_misshapen_tensors_at_once(tmp_path: Path) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        del state["model.norm.weight"]
        del state["model.layers.1.mlp.up_proj.weight"]
        state["model.layers.0.self_attn.k_proj.weight"] = torch.zeros(24, 31)
        state["model.layers.0.self_attn.q_proj.bias"] = torch.zeros(48)
        state["model.layers.2.mlp.up_proj.weight"] = torch.zeros(56, 32)

    problems = refusal(InputError, edited(tiny_llama(tmp_path), edit))
    assert len(problems) == 5
    for part in (
        "model.norm.weight [32] is missing",
        "model.layers.1.mlp.up_proj.weight [56, 32] is missing",
        "model.layers.0.self_attn.k_proj.weight has shape [24, 31], config.json implies [24, 32]",
        "model.layers.0.self_attn.q_proj.bias [48] is not part of",
        "model.layers.2.mlp.up_proj.weight [56, 32] is not part of",
    ):
        assert any(part in problem for problem in problems), part


def test_config_of_another_size(llama: Checkpoint) -> None:
    problems = refusal(InputError, with_config(llama, intermediate_size=57))
    assert len(problems) == 2 * 3
    assert "has shape [56, 32], config.json implies [57, 32]" in problems[0]


def test_missing_biases_and_untied_head(llama: Checkpoint, tmp_path: Path) -> None:
    assert len(refusal(InputError, with_config(llama, attention_bias=True))) == 2 * 4
    tied = open_checkpoint(tiny_llama(tmp_path, tie_word_embeddings=True))
    (problem,) = refusal(InputError, with_config(tied, tie_word_embeddings=False))
    assert "lm_head.weight [331, 32] is missing" in problem


def test_head_that_differs_from_the_embedding_it_is_tied_to(llama: Checkpoint) -> None:
    (problem,) = refusal(InputError, with_config(llama, tie_word_embeddings=True))
    assert "lm_head.weight differs from model.embed_tokens.weight" in problem


def test_stored_integers_are_not_weights(tmp_path: Path) -> None:
    def edit(state: dict[str, torch.Tensor]) -> None:
        state["model.layers.0.mlp.up_proj.weight"] = torch.zeros(56, 32, dtype=torch.int8)

    (problem,) = refusal(InputError, edited(tiny_llama(tmp_path), edit))
    assert "is stored as int8" in problem


def test_another_familys_weights(llama: Checkpoint, bert: Checkpoint) -> None:
    problems = refusal(InputError, replace(bert, tensors=llama.tensors))
    assert any("embeddings.word_embeddings.weight" in problem and "is missing" in problem for problem in problems)
    assert any("model.embed_tokens.weight" in problem and "is not part of" in problem for problem in problems)


@pytest.mark.parametrize("context", [0, -1, 65])
def test_impossible_context(llama: Checkpoint, bert: Checkpoint, context: int) -> None:
    for checkpoint in (llama, bert):
        (problem,) = refusal(InputError, checkpoint, context)
        assert f"the context of {context} tokens is outside of the model's range, 1 to 64" in problem


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=5,
)
ROPE = st.fixed_dictionaries(
    {},
    optional={
        "rope_type": st.sampled_from(["default", "linear", "dynamic", "llama3", "yarn"]) | JSON,
        **{key: JSON | st.floats(0, 64) for key in ("factor", "low_freq_factor", "high_freq_factor", "rope_theta")},
        "original_max_position_embeddings": JSON | st.integers(1, 10**6),
    },
)


@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture], derandomize=True
)
@given(data=st.data())
def test_no_configuration_ends_in_a_traceback(llama: Checkpoint, bert: Checkpoint, data: st.DataObject) -> None:
    checkpoint = data.draw(st.sampled_from([llama, bert]))
    keys = st.sampled_from([*sorted(checkpoint.config), "rope_parameters", "head_dim", "sliding_window"])
    rope = st.fixed_dictionaries({}, optional={"rope_scaling": ROPE, "rope_parameters": ROPE})
    changes = data.draw(st.dictionaries(keys, JSON, max_size=3)) | data.draw(rope)
    try:
        hub = import_checkpoint(with_config(checkpoint, **changes))
    except (InputError, UnsupportedError):
        return
    assert isinstance(hub, Hub)
    tables = [v.const_value for name, v in hub.model.graph.initializers.items() if name.startswith("rope/")]
    for table in tables:
        assert isinstance(table, ir.TensorProtocol)
        assert abs(table.numpy()).max() <= 1  # not NaN either
