"""The inputs that parity feeds to graphs that we didn't draw."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.checkpoints import tiny_bert

from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError
from exporter.graph.model import GraphInput, GraphSpec
from exporter.parity.graphs import signals
from exporter.parity.graphs.samples import SAMPLES, Materials, Sample, make_samples
from exporter.texts import PromptFile

INT, FLOAT, HALF, BOOL = ir.DataType.INT64, ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BOOL


def spec(*inputs: GraphInput) -> GraphSpec:
    return GraphSpec("other", inputs, ("y",))


TEXT = spec(
    GraphInput("input_ids", INT, (1, 12), "ids", 211),
    GraphInput("attention_mask", INT, (1, 12), "mask"),
    GraphInput("token_type_ids", INT, (1, 12), "types", 2),
    GraphInput("position_ids", INT, (1, 12), "positions"),
)
IMAGE = spec(GraphInput("pixel_values", FLOAT, (1, 3, 20, 30), "image"))


def same(a: tuple[Sample, ...], b: tuple[Sample, ...]) -> bool:
    return all(
        x.feeds.keys() == y.feeds.keys() and all(np.array_equal(x.feeds[k], y.feeds[k]) for k in x.feeds)
        for x, y in zip(a, b, strict=True)
    )


@pytest.mark.parametrize("graph", [TEXT, IMAGE])
def test_samples_are_the_same_each_time_and_differ_from_each_other(graph: GraphSpec) -> None:
    first, second = (make_samples(graph, "full", None, Materials()).items for _ in range(2))
    assert same(first, second)
    assert len({sample.feeds[graph.inputs[0].name].tobytes() for sample in first}) == len(first) >= SAMPLES["full"]


def test_ids_without_a_tokenizer_are_in_the_vocabulary_and_masked_behind() -> None:
    lengths = set()
    for sample in make_samples(TEXT, "full", None, Materials()).items:
        ids, mask = sample.feeds["input_ids"], sample.feeds["attention_mask"]
        assert ids.shape == mask.shape == (1, 12)
        assert ids.dtype == np.int64
        assert ids.min() >= 0
        assert ids.max() < 211
        assert sample.length == mask.sum()
        np.testing.assert_array_equal(np.sort(mask[0])[::-1], mask[0])
        np.testing.assert_array_equal(sample.feeds["position_ids"][0], np.arange(12))
        lengths.add(sample.length)
    assert 12 in lengths
    assert len(lengths) > 1  # with and without padding


def test_ids_are_the_tokenizers(tmp_path: Path) -> None:
    tokenizer = load_tokenizer(tiny_bert(tmp_path / "bert"))
    prompts = tmp_path / "texts.txt"
    prompts.write_text("Wake me up\nDim the lamp", encoding="utf-8")
    made = make_samples(TEXT, "full", PromptFile(prompts), Materials(tokenizer))
    assert (made.source, [sample.label for sample in made.items]) == ("texts.txt", ["Wake me up", "Dim the lamp"])
    for sample, text in zip(made.items, ("Wake me up", "Dim the lamp"), strict=True):
        ids = tokenizer.encode(text, max_length=12)
        assert sample.feeds["input_ids"][0].tolist() == ids + [tokenizer.pad_id] * (12 - len(ids))
        assert sample.length == len(ids)


def test_images_are_normalized_with_the_checkpoints_numbers() -> None:
    """Pixels are 0 to 1 before; so values stay within (0 - mean) / std and (1 - mean) / std, and use most of it."""
    mean, std = [0.1, 0.5, 0.9], [0.2, 0.5, 0.25]
    made = make_samples(IMAGE, "full", None, Materials(preprocessor={"image_mean": mean, "image_std": std}))
    for sample in made.items:
        pixels = sample.feeds["pixel_values"][0] * np.array(std)[:, None, None] + np.array(mean)[:, None, None]
        assert pixels.min() > -1e-5
        assert pixels.max() < 1 + 1e-5
    spans = sorted(np.ptp(sample.feeds["pixel_values"][0], (1, 2)).min() * min(std) for sample in made.items)
    assert 0.03 < spans[0] < 0.07  # of low contrast
    assert spans[-3] > 0.15
    plain = make_samples(IMAGE, "full", None, Materials(preprocessor={"do_normalize": False, "image_mean": mean}))
    assert all(s.feeds["pixel_values"].min() >= 0 and s.feeds["pixel_values"].max() <= 1 for s in plain.items)


@pytest.mark.parametrize("shape", [(1, 4000), (1, 80, 100), (2, 1, 33, 21)])
def test_sounds_have_structure(shape: tuple[int, ...]) -> None:
    """Neighbours in time are alike, as in speech and unlike in noise."""
    for index in (0, 2, 5):  # speech, notes, a chord
        sound = signals.features(index, shape, {"sampling_rate": 8000})
        assert sound.shape == shape
        assert np.isfinite(sound).all()
        flat = sound.reshape(-1, shape[-1])[0] if len(shape) == 2 else sound[0].reshape(-1, shape[-1])[shape[-2] // 2]
        assert np.ptp(sound) > 0.3
        assert np.corrcoef(flat[:-1], flat[1:])[0, 1] > 0.2


@settings(deadline=None, max_examples=40)
@given(
    st.sampled_from(["image", "ids", "types", "mask", "positions", "features", "past", "numbers"]),
    st.lists(st.integers(1, 6), min_size=0, max_size=4),
    st.sampled_from([INT, FLOAT, HALF, BOOL]),
)
def test_any_input_gets_its_shape_and_type(kind: str, shape: list[int], dtype: ir.DataType) -> None:
    if kind == "image" and len(shape) != 4:
        return
    if kind == "features" and len(shape) < 2:
        return
    port = GraphInput("x", dtype, tuple(shape), kind, 7)  # type: ignore[arg-type]
    for sample in make_samples(spec(port), "quick", None, Materials()).items:
        assert sample.feeds["x"].shape == tuple(shape)
        assert sample.feeds["x"].dtype == dtype.numpy()


def test_a_users_archive(tmp_path: Path) -> None:
    path = tmp_path / "pictures.npz"
    pictures = np.random.default_rng(1).random((3, 3, 20, 30))
    np.savez(path, pixel_values=pictures)
    made = make_samples(IMAGE, "quick", PromptFile(path), Materials())
    assert (len(made.items), made.source) == (3, "pictures.npz")
    np.testing.assert_array_equal(made.items[1].feeds["pixel_values"], pictures[1:2].astype(np.float32))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pixels": np.zeros((1, 3, 20, 30))}, "the file has no array 'pixel_values'"),
        ({"pixel_values": np.zeros((1, 3, 20, 30)), "more": np.zeros(1)}, "the model has no input 'more'"),
        ({"pixel_values": np.zeros((2, 3, 20, 31))}, "the model takes"),
        ({"pixel_values": np.zeros((0, 3, 20, 30))}, "has 0 samples"),
        ({"pixel_values": np.full((1, 3, 20, 30), np.nan)}, "finite numbers"),
        ({"pixel_values": np.array("text")}, "is a single number"),
        ({"pixel_values": np.array([["a"]])}, "finite numbers"),
    ],
)
def test_archives_that_dont_fit(tmp_path: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=message):
        make_samples(IMAGE, "quick", PromptFile(path), Materials())


def test_ids_beyond_the_vocabulary(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    graph = spec(GraphInput("input_ids", INT, (1, 4), "ids", 10))
    for bad in (10, -1):
        np.savez(path, input_ids=np.array([[0, 1, 2, bad]]))
        with pytest.raises(InputError, match="outside of 0 to 9"):
            make_samples(graph, "quick", PromptFile(path), Materials())


class _Trap:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return exec, ("raise SystemExit('a pickle was opened')",)


def test_archives_are_never_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "x.npz"
    np.savez(path, pixel_values=np.array([_Trap()], dtype=object))
    with pytest.raises(InputError, match="not a readable"):
        make_samples(IMAGE, "quick", PromptFile(path), Materials())
    path.write_bytes(pickle.dumps(_Trap()))
    with pytest.raises(InputError, match="not a readable"):
        make_samples(IMAGE, "quick", PromptFile(path), Materials())


def test_texts_for_a_model_that_doesnt_read(tmp_path: Path) -> None:
    prompts = tmp_path / "texts.txt"
    prompts.write_text("hello")
    with pytest.raises(InputError, match="doesn't read texts"):
        make_samples(IMAGE, "quick", PromptFile(prompts), Materials())


def test_what_another_component_made() -> None:
    decoder = spec(
        GraphInput("encoder_hidden_states", FLOAT, (1, 4, 3), "output", None, ("encoder", "hidden")),
        GraphInput("encoder_mask", INT, (1, 4), "output", None, ("encoder", "mask")),
        GraphInput("input_ids", INT, (1, 5), "ids", 9),
    )
    made = [
        (Sample("a", {"mask": np.full((1, 4), i)}), {"hidden": np.full((1, 4, 3), i + 0.5, np.float32)})
        for i in range(3)
    ]
    samples = make_samples(decoder, "full", None, Materials(upstream={"encoder": made})).items
    assert len(samples) == 3
    for i, sample in enumerate(samples):
        assert np.all(sample.feeds["encoder_hidden_states"] == i + 0.5)
        assert np.all(sample.feeds["encoder_mask"] == i)
    other = spec(GraphInput("x", FLOAT, (1, 5, 3), "output", None, ("encoder", "hidden")))
    with pytest.raises(InputError, match=r"this input takes \[1, 5, 3\]"):
        make_samples(other, "full", None, Materials(upstream={"encoder": made}))
