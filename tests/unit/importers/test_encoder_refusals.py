"""Encoder checkpoints that can't be drawn, or don't fit their configuration: what is wrong is named, all of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import edit_config
from support.encoder_checkpoints import tiny_encoder

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.model import EncoderSpec
from exporter.importers import import_checkpoint
from exporter.importers.relative import Buckets, Disentangled

SEQUENCE = "ForSequenceClassification"


def refused(folder: Path, kind: type[KogataError]) -> str:
    with pytest.raises(kind) as caught:
        import_checkpoint(open_checkpoint(folder))
    return "\n".join(f"{d.where}: {d.message} | {d.hint}" for d in caught.value.diagnostics)


@pytest.mark.parametrize(
    ("family", "head", "changes", "says"),
    [
        ("deberta-v2", "Model", {"conv_kernel_size": 3}, "conv_kernel_size: 3 is not supported"),
        ("deberta-v2", "Model", {"relative_attention": False}, "relative_attention"),
        ("deberta-v2", "Model", {"pos_att_type": "p2p|c2p"}, "pos_att_type: supported: c2p, p2c"),
        ("deberta-v2", "ForMaskedLM", {"legacy": False}, "legacy: fill-mask"),
        ("modernbert", "Model", {"rope_scaling": {"type": "linear", "factor": 2.0}}, "rope_scaling"),
        ("albert", "Model", {"inner_group_num": 2}, "inner_group_num: 2 is not supported"),
        ("mpnet", "Model", {"relative_attention_num_buckets": 64}, "relative_attention_num_buckets"),
        ("roberta", "Model", {"is_decoder": True}, "is_decoder: True is not supported"),
        ("roberta", "Model", {"position_embedding_type": "relative_key"}, "position_embedding_type"),
        ("electra", "Model", {"hidden_act": "mish"}, "hidden_act: 'mish' is not supported"),
        ("bert", SEQUENCE, {"problem_type": "riddle"}, "problem_type: 'riddle' is not supported"),
        (
            "bert",
            SEQUENCE,
            {"id2label": {"0": "s"}, "sentence_transformers": {"activation_fn": "torch.nn.modules.activation.Tanh"}},
            "the activation 'Tanh' is not supported",
        ),
    ],
)
def test_what_can_t_be_drawn_exits_3_and_says_so(
    family: str, head: str, changes: dict[str, Any], says: str, tmp_path: Path
) -> None:
    folder = tiny_encoder(tmp_path, family, head)
    edit_config(folder, **changes)
    assert says in refused(folder, UnsupportedError)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"id2label": {"1": "a", "2": "b"}}, "must have the keys 0 to 1"),
        ({"id2label": {"0": "a", "1": ["b"]}}, "only strings as labels"),
        ({"id2label": []}, "must be an object with 1 to"),
        ({"id2label": {"0": "a", "1": "b"}, "num_labels": 3}, "num_labels: is 3, but id2label has 2 labels"),
        ({"num_attention_heads": 5}, "5 doesn't divide hidden_size, 36"),
        ({"max_position_embeddings": 2}, "max_position_embeddings: is 2, but the first token has position 2"),
        ({"pad_token_id": "one"}, "pad_token_id: must be a whole number"),
    ],
)
def test_what_no_model_can_have_exits_2(changes: dict[str, Any], says: str, tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "roberta", SEQUENCE)
    edit_config(folder, **changes)
    assert says in refused(folder, InputError)


def test_labels_that_don_t_fit_the_weights_name_both_shapes(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "roberta", SEQUENCE)
    edit_config(folder, id2label={"0": "a", "1": "b", "2": "c"})
    text = refused(folder, InputError)
    assert "classifier.out_proj.weight has shape [2, 36], config.json implies [3, 36]" in text
    assert "classifier.out_proj.bias has shape [2], config.json implies [3]" in text


@pytest.mark.parametrize("family", ["bert", "deberta-v2", "distilbert", "modernbert", "mpnet"])
def test_missing_surplus_and_misshapen_tensors_are_named_at_once(family: str, tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, family, SEQUENCE)
    tensors = load_file(folder / "model.safetensors")
    lost, bent = sorted(name for name in tensors if "layer" in name and tensors[name].ndim == 2)[:2]
    rows, columns = tensors[bent].shape
    del tensors[lost]
    tensors[bent] = torch.zeros(rows, columns + 1)
    tensors["classifier.extra.weight"] = torch.zeros(3, 3)
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    text = refused(folder, InputError)
    assert f"{lost} [" in text
    assert "is missing" in text
    assert f"{bent} has shape [{rows}, {columns + 1}], config.json implies [{rows}, {columns}]" in text
    assert "classifier.extra.weight [3, 3] is not part of" in text


def test_a_head_that_differs_from_the_embedding_it_is_tied_to_is_refused(tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "bert", "ForMaskedLM")
    tensors = load_file(folder / "model.safetensors")
    tensors["cls.predictions.decoder.weight"] = tensors["bert.embeddings.word_embeddings.weight"] + 1
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    assert "though config.json ties them" in refused(folder, InputError)
    edit_config(folder, tie_word_embeddings=False)
    hub = import_checkpoint(open_checkpoint(folder))
    assert "cls.predictions.decoder.weight" in {weight.name for weight in hub.weights}


@pytest.mark.parametrize(
    ("config", "task", "scores"),
    [
        ({}, "text-classification", "softmax"),
        ({"problem_type": "single_label_classification"}, "text-classification", "softmax"),
        ({"problem_type": "multi_label_classification"}, "text-classification", "sigmoid"),
        ({"problem_type": "regression", "num_labels": 1}, "text-classification", "identity"),
        ({"num_labels": 1}, "text-ranking", "sigmoid"),
        ({"id2label": {0: "toxic"}}, "text-classification", "sigmoid"),
        ({"num_labels": 1, "sentence_transformers": {"version": "5.0"}}, "text-ranking", "sigmoid"),
        (
            {"num_labels": 1, "sbert_ce_default_activation_function": "torch.nn.modules.linear.Identity"},
            "text-ranking",
            "identity",
        ),
        ({"num_labels": 3, "sentence_transformers": {"version": "5.0"}}, "text-classification", "softmax"),
    ],
)
def test_what_a_sequence_classifier_is_for(config: dict[str, Any], task: str, scores: str, tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, "bert", SEQUENCE, **config)
    spec = import_checkpoint(open_checkpoint(folder)).spec
    assert isinstance(spec, EncoderSpec)
    assert (spec.task, spec.scores, spec.pairs) == (task, scores, True)
    count = config.get("num_labels", 2)
    assert spec.labels == (("toxic",) if "id2label" in config else tuple(f"LABEL_{i}" for i in range(count)))


def test_buckets_are_transformers_own() -> None:
    """Every distance up to 2,000, in the arithmetic that decides which bucket a boundary falls into."""
    import numpy as np
    from transformers.models.deberta_v2.modeling_deberta_v2 import make_log_bucket_position
    from transformers.models.mpnet.modeling_mpnet import MPNetEncoder

    apart = np.arange(-2000, 2001)
    theirs = MPNetEncoder.relative_position_bucket(torch.from_numpy(-apart), num_buckets=32).numpy()
    np.testing.assert_array_equal(Buckets().rows(apart), theirs)
    for buckets, distance in ((256, 512), (8, 64), (32, 1024), (6, 40)):
        kind = Disentangled(buckets, buckets, distance, frozenset({"c2p"}), True, False, 1e-7)
        theirs = make_log_bucket_position(torch.from_numpy(apart), buckets, distance).long().numpy()
        np.testing.assert_array_equal(kind.rows(apart), np.clip(theirs + buckets, 0, 2 * buckets - 1))
