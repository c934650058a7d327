"""The program of every encoder family and task, executed from the saved package, against transformers.

Tolerance: 2e-2 of the largest output. Everything is rounded to float16 after each op, 2**-11 each time; random models
of this size lose a few units of that. A wrong wiring moves the output by a tenth of its largest value or more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import transformers
from support.encoder_checkpoints import FAMILIES, HEADS, tiny_encoder

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import EncoderSpec
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import load_mlpackage

TOLERANCE = 2e-2
IDS = [2, 9, 31, 17, 8, 40, 12, 33, 21, 3]
TYPES = [0, 0, 0, 0, 0, 1, 1, 1, 1, 1]
TYPED = ("albert", "bert", "electra")
PAIRED = ("ForSequenceClassification", "ForQuestionAnswering")
AUTO = {head: head.replace("For", "AutoModelFor") for head in HEADS} | {"Model": "AutoModel"}
LABELS = {"id2label": {0: "no", 1: "maybe", 2: "yes"}, "label2id": {"no": 0, "maybe": 1, "yes": 2}}
# Every head of three unlike families, two heads of the others (which are drawn by the same code), and other wirings.
ALL_HEADS = ("bert", "deberta-v2", "modernbert")
CASES: list[tuple[str, str, dict[str, Any]]] = [
    *((family, head, {}) for family in FAMILIES for head in (HEADS if family in ALL_HEADS else HEADS[:2])),
    *(
        ("deberta-v2", head, {"share_att_key": False, "position_buckets": -1, "type_vocab_size": 2})
        for head in ("Model", "ForQuestionAnswering")
    ),
    *(
        ("modernbert", head, {"classifier_pooling": "mean", "local_attention": 4, "norm_bias": True})
        for head in ("Model", "ForSequenceClassification")
    ),
    ("distilbert", "ForMaskedLM", {}),
    ("roberta", "ForMaskedLM", {"pad_token_id": 4}),
]


def wanted(folder: Path, head: str, types: list[int] | None) -> dict[str, np.ndarray]:
    auto = getattr(transformers, AUTO[head])
    model = auto.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    given = {} if types is None else {"token_type_ids": torch.tensor([types])}
    with torch.no_grad():
        result = model(input_ids=torch.tensor([IDS]), **given)
    names = {"last_hidden_state": "token_embeddings"}
    keep = ("last_hidden_state", "logits", "start_logits", "end_logits")
    return {names.get(name, name): value[0].numpy() for name, value in result.items() if name in keep}


@pytest.mark.parametrize(("family", "head", "settings"), CASES, ids=[f"{f}-{h}-{len(s)}" for f, h, s in CASES])
def test_program_equals_transformers_at_every_length(
    family: str, head: str, settings: dict[str, Any], tmp_path: Path
) -> None:
    labels = LABELS if head in ("ForSequenceClassification", "ForTokenClassification") else {}
    folder = tiny_encoder(tmp_path / "checkpoint", family, head, **settings, **labels)
    hub = import_checkpoint(open_checkpoint(folder))
    lower_coreml(hub, tmp_path / "e.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "e.mlpackage")
    paired = head in PAIRED and (family in TYPED or settings.get("type_vocab_size") == 2)
    assert [i.name for i in model.inputs] == ["input_ids", "attention_mask", *(["token_type_ids"] if paired else [])]
    reference = wanted(folder, head, TYPES if paired else None)
    for _, length in sorted(model.inputs[0].enumerated)[:: 1 if head == "Model" else 2]:
        feeds = {"input_ids": np.full((1, length), 7, np.int32)}  # what stands in the padding must not matter
        feeds["input_ids"][0, : len(IDS)] = IDS
        feeds["attention_mask"] = (np.arange(length)[None] < len(IDS)).astype(np.int32)
        if paired:
            feeds["token_type_ids"] = np.ones((1, length), np.int32)
            feeds["token_type_ids"][0, : len(TYPES)] = TYPES
        out = model.predict(feeds)
        assert set(out) == set(reference)
        for name, expected in reference.items():
            found = out[name][0] if head == "ForSequenceClassification" else out[name][0, : len(IDS)]
            assert np.abs(found - expected).max() < TOLERANCE * np.abs(expected).max()
            if head != "Model":
                assert_same_choice(found, expected, np.abs(found - expected).max())


def assert_same_choice(found: np.ndarray, expected: np.ndarray, error: float) -> None:
    """Top-1 equal, but for ties that the error itself may decide."""
    rows, others = np.atleast_2d(expected), np.atleast_2d(found.astype(np.float32))
    for row, other in zip(rows, others, strict=True):
        assert row[row.argmax()] - row[other.argmax()] <= 2 * error


def test_class_labels_are_in_the_saved_specification(tmp_path: Path) -> None:
    import coremltools as ct

    folder = tiny_encoder(tmp_path / "checkpoint", "distilbert", "ForSequenceClassification", **LABELS)
    hub = import_checkpoint(open_checkpoint(folder))
    lower_coreml(hub, tmp_path / "e.mlpackage", CoreMLOptions())
    spec = ct.models.MLModel(str(tmp_path / "e.mlpackage"), skip_model_load=True).get_spec()
    assert spec.description.predictedFeatureName == "classLabel"
    assert spec.description.predictedProbabilitiesName == "classLabel_probs"
    kinds = {output.name: output.type.WhichOneof("Type") for output in spec.description.output}
    assert kinds == {"classLabel": "stringType", "classLabel_probs": "dictionaryType", "logits": "multiArrayType"}
    model = load_mlpackage(tmp_path / "e.mlpackage")
    assert model.classifier is not None
    assert model.classifier.labels == ("no", "maybe", "yes")
    assert (model.classifier.label, model.classifier.probabilities) == ("classLabel", "classLabel_probs")


def test_a_description_that_names_other_class_outputs_is_damaged(tmp_path: Path) -> None:
    import coremltools as ct

    folder = tiny_encoder(tmp_path / "checkpoint", "distilbert", "ForSequenceClassification", **LABELS)
    lower_coreml(import_checkpoint(open_checkpoint(folder)), tmp_path / "e.mlpackage", CoreMLOptions())
    file = tmp_path / "e.mlpackage" / "Data" / "com.apple.CoreML" / "model.mlmodel"
    spec = ct.proto.Model_pb2.Model.FromString(file.read_bytes())
    spec.description.predictedProbabilitiesName = "other"
    file.write_bytes(spec.SerializeToString(deterministic=True))
    with pytest.raises((InputError, UnsupportedError)):
        load_mlpackage(tmp_path / "e.mlpackage")


@pytest.mark.parametrize(
    "settings",
    [
        {"problem_type": "multi_label_classification"},
        {"problem_type": "regression", "num_labels": 1},
        {"id2label": {0: "same", 1: "same"}},
    ],
)
def test_other_classifiers_have_logits_only(settings: dict[str, Any], tmp_path: Path) -> None:
    folder = tiny_encoder(tmp_path / "checkpoint", "bert", "ForSequenceClassification", **settings)
    hub = import_checkpoint(open_checkpoint(folder))
    assert isinstance(hub.spec, EncoderSpec)
    lower_coreml(hub, tmp_path / "e.mlpackage", CoreMLOptions())
    model = load_mlpackage(tmp_path / "e.mlpackage")
    assert model.classifier is None
    assert [o.name for o in model.outputs] == ["logits"]
