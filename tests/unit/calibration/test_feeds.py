"""Texts as batches: what is in them, how they are padded, and that padding changes nothing.

Numbers of texts in a batch are compared with onnxruntime on each text alone, to 5e-5 of the largest as in
runners/torch_graph/test_models.py.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from support.graph_models import hub_of, in_onnxruntime

from exporter.calibration.feeds import Batch, text_batches
from exporter.errors import UnsupportedError
from exporter.graph.model import DecoderSpec, EncoderSpec, GraphInput, GraphSpec, Hub
from exporter.runners.torch_graph.graph import TorchGraph

TOLERANCE = 5e-5
RNG = np.random.default_rng(17)
TEXTS = [RNG.integers(5, 200, length) for length in (3, 9, 1, 9, 5, 12, 2)]


def port(name: str, *shape: int | str | None, dtype: ir.DataType = ir.DataType.INT64) -> ir.Value:
    return ir.Value(name=name, type=ir.TensorType(dtype), shape=ir.Shape(shape))


def bare_hub(*inputs: ir.Value, spec: EncoderSpec | GraphSpec | None = None) -> Hub:
    """A hub that has inputs and computes nothing."""
    model = ir.Model(ir.Graph(inputs, [], nodes=[], opset_imports={"": 23}), ir_version=10)
    return Hub(model, "test", spec or EncoderSpec(300, 8, 16), ())


def text_hub() -> Hub:
    return bare_hub(port("input_ids", "batch", "seq"), port("attention_mask", "batch", "seq"))


def contents(batch: Batch, texts: Sequence[Sequence[int]], pad_id: int = 0) -> None:
    """Each row is its text and then padding, which the mask and `real` know."""
    width = batch.feeds["input_ids"].shape[1]
    for i, row in enumerate(batch.rows):
        text = list(texts[row])
        rest = width - len(text)
        assert batch.feeds["input_ids"][i].tolist() == text + [pad_id] * rest
        assert batch.feeds["attention_mask"][i].tolist() == [1] * len(text) + [0] * rest
        assert batch.real[i].tolist() == [True] * len(text) + [False] * rest
    assert batch.tokens == sum(len(texts[row]) for row in batch.rows)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.lists(st.integers(0, 299), min_size=1, max_size=9), max_size=9), st.integers(1, 30))
def test_every_text_is_in_one_batch_that_has_room_for_it(texts: list[list[int]], tokens: int) -> None:
    batches = text_batches(text_hub(), texts, tokens=tokens, pad_id=7)
    rows = [row for batch in batches for row in batch.rows]
    assert sorted(rows) == list(range(len(texts)))
    assert [len(texts[row]) for row in rows] == sorted((len(text) for text in texts), reverse=True)
    for i, batch in enumerate(batches):
        contents(batch, texts, 7)
        width = len(texts[batch.rows[0]])
        assert batch.real.shape == (len(batch.rows), width)
        assert len(batch.rows) == 1 or batch.real.numel() <= tokens
        if i + 1 < len(batches):  # and full: one more would not have fitted
            assert (len(batch.rows) + 1) * width > tokens


@pytest.mark.parametrize("name", ["llama/plain", "gemma2/soft caps", "gpt2", "bert:Model", "mpnet:Model"])
def test_padding_changes_nothing(name: str) -> None:
    hub = hub_of(name)
    graph = TorchGraph(hub)
    batches = text_batches(hub, TEXTS, tokens=30, pad_id=1)
    assert [len(batch.rows) for batch in batches] == [2, 3, 2]
    decoder = isinstance(hub.spec, DecoderSpec)
    key = "logits" if decoder else "token_embeddings"
    for batch in batches:
        found = graph.run(batch.feeds, [key])[key].numpy()
        for i, row in enumerate(batch.rows):
            (alone,) = text_batches(hub, [TEXTS[row]], tokens=1)
            expected = in_onnxruntime(hub, {name: value.numpy() for name, value in alone.feeds.items()})[key][0]
            real = found[i, : len(TEXTS[row])]
            np.testing.assert_allclose(real, expected, rtol=0, atol=TOLERANCE * np.abs(expected).max())


def test_a_decoder_starts_at_position_zero_without_a_past() -> None:
    hub = hub_of("openelm")  # whose layers have one, two and two heads of keys
    (batch,) = text_batches(hub, [[5, 6, 7], [8]], tokens=6)
    contents(batch, [[5, 6, 7], [8]])
    assert batch.feeds["position_ids"].tolist() == [[0, 1, 2], [0, 1, 2]]
    shapes = [batch.feeds[f"past_key_values.{i}.{kind}"].shape for i in range(3) for kind in ("key", "value")]
    assert [tuple(shape) for shape in shapes] == [(2, heads, 0, 8) for heads in (1, 1, 2, 2, 2, 2)]
    assert set(batch.feeds) == {value.name for value in hub.model.graph.inputs}


def test_token_types_are_zeros_unless_they_are_given() -> None:
    hub = hub_of("bert:Model")
    texts = [[5, 6], [7, 8, 9]]
    (plain,) = text_batches(hub, texts, tokens=6)
    assert plain.feeds["token_type_ids"].tolist() == [[0, 0, 0], [0, 0, 0]]
    (typed,) = text_batches(hub, texts, tokens=6, types=[[0, 1], [0, 1, 1]])
    assert typed.rows == (1, 0)
    assert typed.feeds["token_type_ids"].tolist() == [[0, 1, 1], [0, 1, 0]]
    contents(typed, texts)


def test_a_graph_of_fixed_length_gets_it_and_no_more() -> None:
    hub = bare_hub(port("input_ids", "batch", 6), port("attention_mask", "batch", 6))
    texts = [[5, 6], [7] * 6, [8]]
    first, second = text_batches(hub, texts, tokens=13)
    assert (first.rows, second.rows) == ((1, 0), (2,))
    for batch in (first, second):
        contents(batch, texts)
        assert batch.feeds["input_ids"].shape[1] == 6
    with pytest.raises(ValueError, match="a sequence has 7 tokens, the graph takes 6"):
        text_batches(hub, [[5] * 7], tokens=100)


def test_a_graph_of_one_text_gets_one_at_a_time() -> None:
    hub = bare_hub(port("input_ids", 1, "seq"), port("attention_mask", 1, "seq"))
    batches = text_batches(hub, [[5, 6], [7, 8]], tokens=100)
    assert [batch.rows for batch in batches] == [(0,), (1,)]


def test_inputs_have_their_own_dtypes_and_kinds() -> None:
    """A graph file's description says what an input is, whatever its name."""
    kinds = {"tokens": "ids", "input_ids": "mask", "where": "positions", "segments": "types"}
    ports = tuple(GraphInput(name, ir.DataType.INT64, (1, 4), kind) for name, kind in kinds.items())
    dtypes = (ir.DataType.INT32, ir.DataType.FLOAT, ir.DataType.INT64, ir.DataType.BOOL)
    inputs = [port(name, None, None, dtype=dtype) for name, dtype in zip(kinds, dtypes, strict=True)]
    hub = bare_hub(*inputs, spec=GraphSpec("other", ports, ()))
    (batch,) = text_batches(hub, [[5, 6], [7]], tokens=4, types=[[0, 1], [1]])
    expected = {
        "tokens": torch.tensor([[5, 6], [7, 0]], dtype=torch.int32),
        "input_ids": torch.tensor([[1.0, 1.0], [1.0, 0.0]]),
        "where": torch.tensor([[0, 1], [0, 1]]),
        "segments": torch.tensor([[False, True], [True, False]]),
    }
    assert list(batch.feeds) == list(expected)
    for name, tensor in expected.items():
        torch.testing.assert_close(batch.feeds[name], tensor, rtol=0, atol=0)


def test_inputs_that_no_text_tells_are_named_at_once() -> None:
    unshaped = ir.Value(name="attention_mask", type=ir.TensorType(ir.DataType.INT64))
    inputs = (port("input_ids", "batch", "seq"), port("pixel_values", 1, 3, 8, 8, dtype=ir.DataType.FLOAT), unshaped)
    with pytest.raises(UnsupportedError) as caught:
        text_batches(bare_hub(*inputs, port("position_ids", "seq"), port("token_type_ids", 2, "seq")), [[5]], tokens=9)
    problems = {problem.where: problem.message for problem in caught.value.diagnostics}
    assert list(problems) == ["pixel_values", "attention_mask", "position_ids", "token_type_ids"]
    assert {problem.code for problem in caught.value.diagnostics} == {"calibration.inputs"}
    assert "fixed batch size 2" in problems.pop("token_type_ids")
    assert all("can't be made from a text" in message for message in problems.values())


def test_texts_without_tokens_are_told() -> None:
    with pytest.raises(ValueError, match="sequence 1 has no tokens"):
        text_batches(text_hub(), [[5], [], [6]], tokens=9)
    assert text_batches(text_hub(), [], tokens=9) == ()
