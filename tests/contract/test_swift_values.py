"""The values that the Swift package is tested against are still those of the installed transformers."""

import json

import pytest
from support.swift_values import CONVERSATIONS, FILTERS, conversation_cases, filter_cases


def test_the_filters_values_come_from_transformers():
    stored, computed = json.loads(FILTERS.read_text("utf-8")), filter_cases()
    assert len(stored) == len(computed)
    for old, new in zip(stored, computed, strict=True):
        assert {**old, "probabilities": 0} == {**new, "probabilities": 0}
        assert old["probabilities"] == pytest.approx(new["probabilities"], rel=1e-6)


def test_the_conversations_texts_come_from_transformers():
    assert json.loads(CONVERSATIONS.read_text("utf-8")) == json.loads(json.dumps(conversation_cases()))
