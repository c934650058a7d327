"""States: what a stateful program remembers, and a cached decoder against attention over the whole sequence."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exporter.errors import InputError
from exporter.runners.mil import MilModel, MilState

RNG = np.random.default_rng(8)
HEADS, DIM, CONTEXT = 2, 8, 16
TABLE, OUT = (RNG.standard_normal((12, HEADS * DIM)).astype(np.float16) for _ in range(2))
QKV = [(RNG.standard_normal((HEADS * DIM, HEADS * DIM)) / 4).astype(np.float16) for _ in range(3)]


@pytest.fixture(scope="module")
def counter(roundtrip: Any) -> MilModel:
    """total += x, twice in one prediction; gives what it read before, between and after."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    def body(x: Any, total: Any) -> Any:
        before = mb.read_state(input=total, name="before")
        between = mb.coreml_update_state(state=total, value=mb.add(x=before, y=x), name="between")
        mb.coreml_update_state(state=total, value=mb.add(x=between, y=x))
        after = mb.read_state(input=total, name="after")
        table = mb.gather(x=np.arange(50, dtype=np.float32), indices=mb.cast(x=after, dtype="int32"), axis=0)
        return before, between, after, mb.identity(x=table, name="looked_up")

    assert ct.target.iOS18
    return roundtrip(body, [mb.TensorSpec((2,), types.fp16), mb.StateTensorSpec((2,), types.fp16)])


def test_reads_see_the_writes_before_them(counter: MilModel) -> None:
    state, x = counter.new_state(), np.array([1, 2], np.float16)
    first = counter.predict({"x": x}, state)
    assert {name: value.tolist() for name, value in first.items()} == {
        "before": [0, 0], "between": [1, 2], "after": [2, 4], "looked_up": [2, 4],
    }  # fmt: skip
    assert counter.predict({"x": x}, state)["before"].tolist() == [2, 4]
    assert state.read("total").tolist() == [4, 8]
    assert counter.predict({"x": x}, counter.new_state())["before"].tolist() == [0, 0]


def test_a_copy_goes_its_own_way(counter: MilModel) -> None:
    state, x = counter.new_state(), np.array([1, 2], np.float16)
    counter.predict({"x": x}, state)
    branch = state.copy()
    counter.predict({"x": x}, state)
    assert branch.read("total").tolist() == [2, 4]
    assert state.read("total").tolist() == [4, 8]
    state.read("total")[:] = 99
    assert state.read("total").tolist() == [4, 8]


def test_a_failed_prediction_leaves_the_state_alone(counter: MilModel) -> None:
    state = counter.new_state()
    with pytest.raises(InputError) as caught:
        counter.predict({"x": np.array([40, 40], np.float16)}, state)
    assert caught.value.diagnostics[0].where.startswith("gather '")
    assert state.read("total").tolist() == [0, 0]


def test_a_missing_or_foreign_state_is_refused(counter: MilModel) -> None:
    x = np.array([1, 2], np.float16)
    foreign = MilState({"other": counter.new_state().tensors["total"]})
    larger = MilState({"total": counter.new_state().tensors["total"].repeat(2)})
    for state in (None, foreign, larger):
        with pytest.raises(InputError, match="needs states"):
            counter.predict({"x": x}, state)


@pytest.fixture(scope="module")
def decoder(roundtrip: Any) -> MilModel:
    """One attention layer over a KV cache, as a Llama decoder's: slice_update into states, mask from the caller."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

    def body(ids: Any, mask: Any, keys: Any, values: Any) -> Any:
        x = mb.gather(x=TABLE, indices=ids, axis=0)
        query, key, value = (
            mb.transpose(x=mb.reshape(x=mb.linear(x=x, weight=w), shape=[1, -1, HEADS, DIM]), perm=[0, 2, 1, 3])
            for w in QKV
        )
        total = mb.gather(x=mb.shape(x=mask), indices=np.int32(3), axis=0)
        past = mb.sub(x=total, y=mb.gather(x=mb.shape(x=ids), indices=np.int32(1), axis=0))

        def bounds(token: Any) -> Any:
            at = mb.expand_dims(x=token, axes=[0])
            return mb.concat(values=[np.zeros(2, np.int32), at, np.zeros(1, np.int32)], axis=0)

        cached = []
        whole = [True, True, False, True]
        for state, new in ((keys, key), (values, value)):
            updated = mb.slice_update(
                x=mb.read_state(input=state),
                update=new,
                begin=bounds(past),
                end=bounds(total),
                begin_mask=whole,
                end_mask=whole,
            )
            stored = mb.coreml_update_state(state=state, value=updated)
            cached.append(mb.slice_by_index(x=stored, begin=[0] * 4, end=bounds(total), end_mask=whole))
        heads = mb.scaled_dot_product_attention(query=query, key=cached[0], value=cached[1], attn_mask=mask)
        joined = mb.reshape(x=mb.transpose(x=heads, perm=[0, 2, 1, 3]), shape=[1, -1, HEADS * DIM])
        return mb.linear(x=joined, weight=OUT, name="logits")

    keys, values = (mb.StateTensorSpec((1, HEADS, CONTEXT, DIM), types.fp16) for _ in range(2))
    q, rows, width = get_new_symbol(), get_new_symbol(), get_new_symbol()
    specs = [mb.TensorSpec((1, q), types.int32), mb.TensorSpec((1, 1, rows, width), types.fp16), keys, values]
    inputs = [
        ct.TensorType("ids", ct.Shape((1, ct.RangeDim(1, CONTEXT))), dtype=np.int32),
        ct.TensorType("mask", ct.Shape((1, 1, ct.RangeDim(1, CONTEXT), ct.RangeDim(1, CONTEXT))), dtype=np.float16),
    ]
    return roundtrip(body, specs, inputs)


def feed(model: MilModel, ids: list[int], chunks: list[int], **options: Any) -> np.ndarray:
    state, logits, past = model.new_state(), [], 0
    for size in chunks:
        mask = np.where(np.tri(size, past + size, past) > 0, 0, -4e4).astype(np.float16)[None, None]
        part = np.array([ids[past : past + size]], np.int32)
        logits.append(model.predict({"ids": part, "mask": mask}, state, **options)["logits"][0])
        past += size
    return np.concatenate(logits)


def causal_attention(ids: list[int]) -> np.ndarray:
    x = TABLE[ids].astype(np.float64)
    query, key, value = ((x @ w.astype(np.float64).T).reshape(-1, HEADS, DIM).swapaxes(0, 1) for w in QKV)
    scores = query @ key.swapaxes(1, 2) / np.sqrt(DIM)
    scores = np.where(np.tri(len(ids)) > 0, scores, -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    heads = weights / weights.sum(-1, keepdims=True) @ value
    return heads.swapaxes(0, 1).reshape(len(ids), -1) @ OUT.astype(np.float64).T


def test_cached_decoding_is_attention_over_the_whole_sequence(decoder: MilModel) -> None:
    ids = [3, 1, 4, 1, 5, 9, 2, 6]
    expected = causal_attention(ids)
    for chunks in ([8], [5, 3], [3, 1, 1, 1, 2]):
        np.testing.assert_allclose(feed(decoder, ids, chunks, fp16_rounding=False), expected, rtol=1e-5, atol=1e-5)
        ours = feed(decoder, ids, chunks)
        # six roundings of values below 8, each off by at most 2**-9: far below what a wrong position would change
        np.testing.assert_allclose(ours, expected, atol=6 * 2**-9)
        # float32 sums in another order may round to the neighbouring fp16 number now and then
        np.testing.assert_allclose(ours, feed(decoder, ids, [8]), atol=2**-7)


def test_a_longer_sequence_than_the_cache_is_refused(decoder: MilModel) -> None:
    with pytest.raises(InputError, match=r"\[1, 1…16\]"):
        feed(decoder, [1] * 17, [17])
