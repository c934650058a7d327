"""The cache of the decoder program: its two states, and both kinds of callers, against transformers."""

from __future__ import annotations

from pathlib import Path

import coremltools as ct
import numpy as np
import pytest
from support.checkpoints import tiny_llama
from support.decoder_programs import exact_mask, feed, reference, swift_mask

from exporter.checkpoint import open_checkpoint
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import MilModel, load_mlpackage

PROMPT = [5, 17, 3, 99, 42, 7, 7, 60]
CALLERS = pytest.mark.parametrize("mask_of", [swift_mask, exact_mask])


def program(folder: Path, context: int | None = None) -> Path:
    path = folder.parent / f"tiny-{context}.mlpackage"
    lower_coreml(import_checkpoint(open_checkpoint(folder)), path, CoreMLOptions(context=context))
    return path


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MilModel]:
    folder = tiny_llama(tmp_path_factory.mktemp("llama"), tie_word_embeddings=True)
    return folder, load_mlpackage(program(folder))


def assert_close(got: np.ndarray, expected: np.ndarray) -> None:
    # fp16 keeps 11 bits; some 20 rounded ops a layer add up to a few units in the last place of the largest logit
    assert np.abs(got - expected).max() < 2e-2 * np.abs(expected).max()


@CALLERS
@pytest.mark.parametrize("cut", [[8], [5, 1, 1, 1], [1] * 8, [3, 5], [7, 1], [1, 7], [2, 3, 3]])
def test_both_callers_in_any_chunks(exported, mask_of, cut) -> None:
    folder, model = exported
    ends = np.cumsum(cut)
    chunks = [PROMPT[end - size : end] for end, size in zip(ends, cut, strict=True)]
    expected = reference(folder, PROMPT)
    got = feed(model, chunks, mask_of)
    assert_close(got, expected)
    assert (got.argmax(-1) == expected.argmax(-1)).all()


@CALLERS
@pytest.mark.parametrize("first", [[PROMPT], [[token] for token in PROMPT], [PROMPT[:3], PROMPT[3:]]])
@pytest.mark.parametrize("kept", [7, 4, 1])
@pytest.mark.parametrize("again", [[[1, 2]], [[1], [2]]])
def test_both_callers_can_return_to_an_earlier_position(exported, mask_of, first, kept, again) -> None:
    folder, model = exported
    state = model.new_state()
    feed(model, first, mask_of, state)
    got = feed(model, again, mask_of, state, past=kept)
    assert_close(got, reference(folder, [*PROMPT[:kept], 1, 2])[kept:])
    got = feed(model, [[9]], mask_of, state, past=kept + 2)
    assert_close(got, reference(folder, [*PROMPT[:kept], 1, 2, 9])[kept + 2 :])


@CALLERS
@pytest.mark.parametrize("again", [[PROMPT[::-1]], [[token] for token in PROMPT[::-1]]])
def test_starting_over(exported, mask_of, again) -> None:
    """In the same state from position 0, or in a new state, which is what swift-transformers does."""
    folder, model = exported
    expected = reference(folder, PROMPT[::-1])
    state = model.new_state()
    feed(model, [PROMPT], mask_of, state)
    assert_close(feed(model, again, mask_of, state), expected)
    assert_close(feed(model, again, mask_of), expected)


def test_the_kind_of_the_caller_belongs_to_the_state(exported) -> None:
    """Two conversations with one program at the same time."""
    folder, model = exported
    expected = reference(folder, PROMPT)
    wide, exact = model.new_state(), model.new_state()
    for past, token in enumerate(PROMPT):
        for state, mask_of in ((wide, swift_mask), (exact, exact_mask)):
            got = feed(model, [[token]], mask_of, state, past)
            assert_close(got, expected[past : past + 1])


def test_masks_of_one_width_for_the_whole_context(exported) -> None:
    """Some apps keep one buffer: [1, 1, q, context], with everything after the tokens hidden."""
    folder, model = exported

    def whole(past: int, new: int) -> np.ndarray:
        hidden = np.triu(np.ones((new, 64), bool), past + 1)
        return np.where(hidden, -4e4, 0)[None, None].astype(np.float16)

    got = feed(model, [PROMPT[:4], *[[token] for token in PROMPT[4:]]], whole)
    assert_close(got, reference(folder, PROMPT))


def test_a_full_cache_still_counts_beyond_float16(tmp_path: Path) -> None:
    """2,049 and more tokens: a single float16 could not count them. Two digits can, up to 2,048 times 1,024."""
    folder = tiny_llama(tmp_path / "llama", max_position_embeddings=4096, num_hidden_layers=1)
    model = load_mlpackage(program(folder))
    ids = np.random.default_rng(0).integers(5, 90, 2060).tolist()
    expected = reference(folder, ids)[-1]
    for mask_of in (swift_mask, exact_mask):
        state = model.new_state()
        got = feed(model, [ids[:2050], *[[i] for i in ids[2050:]]], mask_of, state)[-1]
        assert np.abs(got - expected).max() < 3e-2 * np.abs(expected).max()
        np.testing.assert_array_equal(state.read("keyCache")[0, 0, 0, -1, :2], [2, 12])  # 2,060 = 2 * 1,024 + 12


@CALLERS
@pytest.mark.parametrize("context", [31, 32, 33])
def test_every_position_of_the_context_can_be_used(tmp_path: Path, mask_of, context: int) -> None:
    """Also the last one, which lies beside the program's notes, and after it an earlier one."""
    folder = tiny_llama(tmp_path / "llama", num_hidden_layers=1)
    model = load_mlpackage(program(folder, context))
    ids = np.random.default_rng(context).integers(5, 90, context).tolist()
    state = model.new_state()
    got = feed(model, [ids[:20], ids[20:-1], ids[-1:]], mask_of, state)
    assert_close(got, reference(folder, ids))
    assert_close(feed(model, [ids[20:]], mask_of, state, past=20), reference(folder, ids)[20:])


@pytest.mark.parametrize(
    ("context", "head_dim", "shape"),
    [
        (64, 12, (2, 1, 2, 96, 32)),
        (31, 12, (2, 1, 2, 32, 32)),
        (32, 32, (2, 1, 2, 64, 32)),
        (50, 40, (2, 1, 2, 64, 64)),
    ],
)
def test_two_states_in_multiples_of_32(tmp_path: Path, context: int, head_dim: int, shape: tuple[int, ...]) -> None:
    """As coremltools reads the saved package. One position more than the context is for the program's notes."""
    folder = tiny_llama(tmp_path / "llama", head_dim=head_dim)
    path = program(folder, context)
    spec = ct.models.MLModel(str(path), skip_model_load=True).get_spec()
    states = {state.name: state.type.stateType.arrayType for state in spec.description.state}
    assert {name: tuple(array.shape) for name, array in states.items()} == {"keyCache": shape, "valueCache": shape}
    assert {array.dataType for array in states.values()} == {ct.proto.FeatureTypes_pb2.ArrayFeatureType.FLOAT16}
    assert_close(feed(load_mlpackage(path), [PROMPT[:5], PROMPT[5:]], swift_mask), reference(folder, PROMPT))
