"""Every encoder family and task against transformers' own class (fp32, eager attention).

Tolerance: 1e-4 of the largest output. Both sides compute in float32 and differ in the order of sums, which leaves
about 1e-6; a wrong wiring moves these random models by a tenth of the largest output or more. bf16 weights are exact
in both, since both sides widen them to float32.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from numpy.typing import NDArray
from support.checkpoints import SENTENCES
from support.encoder_checkpoints import FAMILIES, HEADS, tiny_encoder
from support.hub_sessions import open_session
from transformers import AutoTokenizer

from exporter.checkpoint import open_checkpoint
from exporter.importers import import_checkpoint, reference_points
from exporter.importers.native import plan_import

TOLERANCE = 1e-4
AUTO = {
    "Model": "AutoModel",
    "ForSequenceClassification": "AutoModelForSequenceClassification",
    "ForTokenClassification": "AutoModelForTokenClassification",
    "ForMaskedLM": "AutoModelForMaskedLM",
    "ForQuestionAnswering": "AutoModelForQuestionAnswering",
}
LABELED = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
BF16 = {"dtype": "bfloat16", "max_shard_size": "20KB"}

# family → configurations with its quirks on, beside the plain one
QUIRKS: dict[str, list[dict[str, Any]]] = {
    "albert": [
        {"num_hidden_groups": 1, "hidden_act": "gelu", **BF16},
        {"num_hidden_groups": 4, "embedding_size": 36, "layer_norm_eps": 0.1, "seed": 3},
    ],
    "bert": [
        {"hidden_act": "relu", "type_vocab_size": 1, **BF16},
        {"hidden_act": "quick_gelu", "layer_norm_eps": 0.1, "seed": 3, "type_vocab_size": 4},
    ],
    "camembert": [{"type_vocab_size": 2, **BF16}],
    "data2vec-text": [{"pad_token_id": 0, **BF16}],
    "deberta-v2": [
        {"pos_att_type": ["c2p"], "position_buckets": -1, **BF16},
        {"pos_att_type": "p2c", "share_att_key": False, "type_vocab_size": 2, "position_biased_input": True},
        {
            "share_att_key": False,
            "norm_rel_ebd": "none",
            "max_relative_positions": 40,
            "position_buckets": 6,
            "embedding_size": 20,
            "hidden_act": "gelu_new",
            "pooler_hidden_act": "tanh",
        },
    ],
    "distilbert": [{"activation": "relu", **BF16}, {"n_heads": 1, "seed": 3}],
    "electra": [{"embedding_size": 36, **BF16}, {"hidden_act": "silu", "layer_norm_eps": 0.1, "seed": 3}],
    "modernbert": [
        {"attention_bias": True, "mlp_bias": True, "norm_bias": True, "classifier_bias": True, **BF16},
        {"global_attn_every_n_layers": 2, "local_attention": 6, "classifier_pooling": "mean", "local_rope_theta": None},
        {"hidden_activation": "silu", "classifier_activation": "relu", "decoder_bias": False, "norm_eps": 0.1},
        {"global_attn_every_n_layers": 1, "num_attention_heads": 1, "seed": 3},
    ],
    "mpnet": [{"hidden_act": "gelu_new", **BF16}, {"layer_norm_eps": 0.1, "num_attention_heads": 1}],
    "roberta": [{"type_vocab_size": 2, **BF16}, {"pad_token_id": 5, "hidden_act": "gelu_fast", "seed": 3}],
    "xlm-roberta": [{"layer_norm_eps": 0.1, **BF16}],
}
# Every head of the plain configuration; with quirks, the bare model and one head after the other.
CASES = [(family, head, -1) for family in FAMILIES for head in HEADS] + [
    (family, head, i)
    for family, quirks in QUIRKS.items()
    for i in range(len(quirks))
    for head in (HEADS[0], HEADS[1 + i % (len(HEADS) - 1)])
]
TEXTS = ("Dim the lamp.", *SENTENCES[1:5], "yes")  # from one word to the end of the context
SECOND = "At nine, the lamp."


def feeds_for(folder: Path, head: str) -> dict[str, NDArray[np.int64]]:
    """Texts of several lengths in a padded batch; pairs where the task takes them."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    pairs = head in ("ForSequenceClassification", "ForQuestionAnswering")
    second = [SECOND] * len(TEXTS) if pairs else None
    batch = tokenizer(list(TEXTS), second, padding=True, truncation=True, max_length=60, return_tensors="np")
    feeds = {name: array.astype(np.int64) for name, array in batch.items()}
    types = transformers.AutoConfig.from_pretrained(folder).to_dict().get("type_vocab_size", 0)
    feeds.pop("token_type_ids", None)
    if types > 1:  # any of them anywhere, which no tokenizer gives
        feeds["token_type_ids"] = np.random.default_rng(0).integers(0, types, feeds["input_ids"].shape)
    return feeds


def expected(folder: Path, head: str, feeds: dict[str, NDArray[np.int64]]) -> dict[str, NDArray[np.float32]]:
    auto = getattr(transformers, AUTO[head])
    model, info = auto.from_pretrained(
        folder, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    assert all("pooler." in key for key in info["missing_keys"])
    given = {name: torch.from_numpy(array) for name, array in feeds.items()}
    with torch.no_grad():
        result = model.eval()(**given)
    names = {"last_hidden_state": "token_embeddings"}
    keep = ("last_hidden_state", "logits", "start_logits", "end_logits")
    return {names.get(name, name): value.numpy() for name, value in result.items() if name in keep}


@pytest.mark.parametrize(("family", "head", "quirk"), CASES)
def test_outputs_equal_transformers(family: str, head: str, quirk: int, tmp_path: Path) -> None:
    options = QUIRKS[family][quirk] if quirk >= 0 else {}
    labels = LABELED if head in ("ForSequenceClassification", "ForTokenClassification") else {}
    folder = tiny_encoder(tmp_path, family, head, **options, **labels)
    checkpoint = open_checkpoint(folder)
    hub = import_checkpoint(checkpoint)
    feeds = feeds_for(folder, head)
    mask = feeds["attention_mask"] == 1
    assert not mask[:, -1].all(), "the batch is meant to be padded"
    wanted = expected(folder, head, feeds)
    session = open_session(hub)
    assert {i.name for i in session.get_inputs()} == set(feeds)
    outputs = [o.name for o in session.get_outputs()]
    assert outputs == list(wanted)
    found = session.run(outputs, feeds)
    for array, name in zip(found, outputs, strict=True):
        real = slice(None) if head == "ForSequenceClassification" else mask
        reference = wanted[name][real]
        assert np.isfinite(array[real]).all()
        np.testing.assert_allclose(array[real], reference, rtol=0, atol=TOLERANCE * np.abs(reference).max())
    if labels:
        assert hub.spec.labels == ("no", "maybe", "yes")
    names = {name.rsplit("/", 1)[0] for name in hub.stored}  # a fused tensor's parts are `name/q`, `name/k`, …
    assert names | set(plan_import(checkpoint, None).binding.unused) == set(checkpoint.tensors)


@pytest.mark.parametrize("family", FAMILIES)
def test_reference_points_are_modules(family: str, tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path, family)
    hub = import_checkpoint(open_checkpoint(folder))
    points = reference_points(hub)
    assert "token_embeddings" in points
    model = transformers.AutoModel.from_pretrained(folder)
    for module in points.values():
        model.get_submodule(module)
