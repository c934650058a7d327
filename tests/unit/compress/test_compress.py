"""Every tensor is accounted for: palettized, or kept and why."""

import errno
import functools
import math
import threading
import weakref
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from exporter.compress import KEEP, Candidate, Choice, Compression, CompressOptions, compress, palettize, palettizer
from exporter.errors import InputError, UnsupportedError, UsageError
from exporter.graph.palette import PALETTE_BITS
from exporter.graph.spill import Spill
from exporter.progress import NoProgress


class Recorder:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.stages: list[tuple[str, int]] = []
        self.items: list[str] = []

    def stage(self, name: str, total: int) -> None:
        self.stages.append((name, total))

    def advance(self, item: str = "") -> None:
        self.items.append(item)


def never(rows: slice) -> np.ndarray:
    raise AssertionError("a scalar has no rows to load")


def matrix(rows: int, columns: int) -> np.ndarray:
    return (np.random.default_rng(rows).standard_t(5, (rows, columns)) * 0.02).astype(np.float32)


def open_candidate(name: str, weight: np.ndarray, load: Callable[[slice], np.ndarray] | None = None) -> Candidate:
    return Candidate(name, weight.shape, weight.size * 4, True, load or (lambda rows: weight[rows]))


def closed_candidate(name: str, *shape: int) -> Candidate:
    return Candidate(name, shape, math.prod(shape) * 4, False, (lambda rows: np.zeros(shape)[rows]) if shape else never)


CANDIDATES = (
    closed_candidate("norm.weight", 64),
    open_candidate("q.weight", matrix(64, 96)),
    closed_candidate("causal_mask", 32, 32),
    closed_candidate("eps"),
    open_candidate("ragged.weight", matrix(50, 96)),
    open_candidate("small.weight", matrix(2, 3)),
    open_candidate("bias", matrix(1, 64)[0]),
    open_candidate("none.weight", np.zeros((0, 4), np.float32)),
)


def test_one_decision_for_every_candidate() -> None:
    progress = Recorder()
    result = compress(CANDIDATES, CompressOptions(4, 16), progress)
    assert [d.name for d in result.decisions] == [c.name for c in CANDIDATES]
    assert [d.shape for d in result.decisions] == [c.shape for c in CANDIDATES]
    assert set(result.palettes) == {d.name for d in result.decisions if not d.kept} == {"q.weight", "ragged.weight"}
    assert {d.name: d.reason for d in result.decisions} == {
        "norm.weight": "norm or bias: rank 1",
        "q.weight": "palettized: 4 LUTs of 16 entries",
        "causal_mask": "not a matrix that can be compressed: no linear layer, convolution or embedding alone reads it",
        "eps": "scalar",
        "ragged.weight": "palettized: 4 LUTs of 16 entries",
        "small.weight": "a palette would not pay: 35 bytes, 32 of them LUTs, against 12 in float16",
        "bias": "rank 1: only matrices have output rows that share a LUT",
        "none.weight": "empty",
    }
    opened = [c.name for c in CANDIDATES if c.open]
    assert progress.stages == [("palettize", len(opened))]
    assert progress.items == opened


def test_numbers_of_a_decision() -> None:
    weight = matrix(50, 96)
    result = compress([open_candidate("w", weight)], CompressOptions(3, 16), NoProgress())
    (decision,) = result.decisions
    palette = result.palettes["w"]
    error = palette.dense().astype(np.float64) - weight
    assert (decision.bits, decision.group_size) == (3, 16)
    assert decision.stored_bytes == 50 * 96 * 3 // 8 + 4 * 8 * 2  # packed indices, four LUTs (the last for two rows)
    assert decision.bpw == pytest.approx(decision.stored_bytes * 8 / weight.size)
    assert decision.mse == pytest.approx((error**2).mean(), rel=1e-9)
    assert decision.psnr_db == pytest.approx(20 * np.log10(np.abs(weight).max() / np.sqrt((error**2).mean())))


def test_totals_count_kept_tensors() -> None:
    result = compress(CANDIDATES, CompressOptions(4, 16), NoProgress())
    palettes = sum(p.stored_bytes for p in result.palettes.values())
    kept = sum(c.stored_bytes for c in CANDIDATES if c.name not in result.palettes)
    assert result.stored_bytes == palettes + kept
    assert result.parameters == sum(math.prod(c.shape) for c in CANDIDATES)
    assert result.bpw == result.stored_bytes * 8 / result.parameters
    assert Compression({}, ()).bpw == 0


def test_lossless_has_no_psnr() -> None:
    """A ratio to zero is no number: mse 0 says it, and JSON has no infinity."""
    for weight in (np.zeros((32, 64), np.float32), np.sign(matrix(32, 64))):
        (decision,) = compress([open_candidate("w", weight)], CompressOptions(1, 16), NoProgress()).decisions
        assert (decision.mse, decision.psnr_db, decision.bits) == (0.0, None, 1)


def test_sixteen_bits_keep_everything() -> None:
    progress = Recorder()
    result = compress(CANDIDATES, CompressOptions(16, 16), progress)
    assert not result.palettes
    assert not progress.stages
    assert {d.reason for d in result.decisions} == {"not asked for: 16 bits keep every tensor"}
    assert [d.stored_bytes for d in result.decisions] == [c.stored_bytes for c in CANDIDATES]


@pytest.mark.parametrize("bits", [4, 16])
def test_kept_tensors_are_looked_through(bits: int) -> None:
    """All that are damaged are named, those that are kept and those that aren't."""
    norm, weight = np.ones(64, np.float32), matrix(64, 96)
    norm[3] = weight[5, 7] = np.nan
    bad = [Candidate("norm", norm.shape, 256, False, lambda rows: norm[rows]), open_candidate("q", weight)]
    with pytest.raises(InputError) as caught:
        compress([*CANDIDATES, *bad], CompressOptions(bits, 16), NoProgress())
    told = {diagnostic.where: diagnostic.message for diagnostic in caught.value.diagnostics}
    assert told["norm"] == "nan at [3]"
    assert told["q"].startswith("nan at [5, 7]")
    assert len(told) == 2


@pytest.mark.parametrize(("columns", "kept"), [(340, True), (341, True), (342, False)])
def test_bytes_decide_whether_a_palette_pays(columns: int, kept: bool) -> None:
    """6 bits and single rows: 8 · (¾ · columns + 128) bytes of palette, against 8 · 9/8 · columns in the kept form."""
    weight = matrix(8, columns)
    candidate = Candidate("w", weight.shape, weight.size * 9 // 8, True, lambda rows: weight[rows])
    (decision,) = compress([candidate], CompressOptions(6, 1), NoProgress()).decisions
    assert decision.kept == kept
    assert decision.stored_bytes <= candidate.stored_bytes
    assert ("would not pay" in decision.reason) == kept


@pytest.mark.parametrize(("columns", "kept"), [(102, True), (103, False)])
def test_a_palette_must_pay_against_float16(columns: int, kept: bool) -> None:
    """6 bits and single rows, stored as float32: 8 · (¾ · columns + 128) bytes of palette against 8 · 2 · columns."""
    candidate = open_candidate("w", matrix(8, columns))
    (decision,) = compress([candidate], CompressOptions(6, 1), NoProgress()).decisions
    assert decision.kept == kept


def test_every_tensor_may_have_bits_of_its_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each palette is the one that uniform bits give."""
    monkeypatch.setattr(palettizer, "BLOCK_WEIGHTS", 300)
    weights = {"a": matrix(57, 129), "b": matrix(100, 33), "c": matrix(64, 48), "d": matrix(32, 64)}
    choices = {"a": Choice(3, 5), "b": Choice(8, 100), "c": KEEP}
    candidates = [open_candidate(name, w) for name, w in weights.items()]
    mixed = compress(candidates, CompressOptions(4, 16, choices), NoProgress(), Spill(tmp_path))
    assert set(mixed.palettes) == {"a", "b", "d"}
    for name, (bits, group_size) in {"a": (3, 5), "b": (8, 100), "d": (4, 16)}.items():
        alone = palettize(weights[name], bits, group_size)
        np.testing.assert_array_equal(mixed.palettes[name].indices, alone.indices)
        np.testing.assert_array_equal(mixed.palettes[name].lut, alone.lut)
    kept = mixed.decisions[2]
    assert (kept.bits, kept.stored_bytes, kept.reason) == (None, 64 * 48 * 4, "kept at 16 bits by the plan")
    for made, candidate in zip(mixed.decisions, candidates, strict=True):
        assert made.stored_bytes == candidate.bytes_as(choices.get(made.name, Choice(4, 16)))
    with pytest.raises(ValueError, match="unknown tensors"):
        compress(candidates, CompressOptions(4, 16, {"e": KEEP}), NoProgress())


def test_group_size_beyond_the_rows_is_clamped() -> None:
    (decision,) = compress([open_candidate("w", matrix(8, 64))], CompressOptions(4, 512), NoProgress()).decisions
    assert decision.group_size == 8


def test_a_few_blocks_at_a_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Of a tensor of 64 blocks and of one block alike: no more float32 rows are alive than threads work on them."""
    monkeypatch.setattr(palettizer, "cores", lambda: 3)
    monkeypatch.setattr(palettizer, "BLOCK_WEIGHTS", 16 * 64)
    lock = threading.Lock()
    alive = peak = total = 0

    def gone() -> None:
        nonlocal alive
        with lock:
            alive -= 1

    def load(weight: np.ndarray, rows: slice) -> np.ndarray:
        nonlocal alive, peak, total
        block = weight[rows].copy()
        weakref.finalize(block, gone)
        with lock:
            alive, total = alive + 1, total + len(block)
            peak = max(peak, alive)
        assert len(block) <= 16
        return block

    matrices = {name: matrix(rows, 64) for name, rows in (("w", 1024), ("v", 16), ("ragged", 41))}
    candidates = [open_candidate(n, w, functools.partial(load, w)) for n, w in matrices.items()]
    compress(candidates, CompressOptions(4, 16), NoProgress(), Spill(tmp_path))
    assert total == 1024 + 16 + 41
    assert peak <= 3


@pytest.mark.parametrize("bits", PALETTE_BITS)
@pytest.mark.parametrize("group_size", [1, 3, 8, 16, 100])
def test_blocks_and_spills_change_nothing(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, bits: int, group_size: int
) -> None:
    """Odd column counts and ragged groups too: what is clustered whole and kept in memory is the reference."""
    weights = {"a": matrix(57, 129), "b": matrix(100, 33), "c": matrix(64, 48)}
    candidates = [open_candidate(name, w) for name, w in weights.items()]
    options = CompressOptions(bits, group_size)
    expected = compress(candidates, options, NoProgress())
    monkeypatch.setattr(palettizer, "BLOCK_WEIGHTS", 300)
    spilled = compress(candidates, options, NoProgress(), Spill(tmp_path))
    assert spilled.decisions == expected.decisions
    assert list(spilled.palettes) == list(expected.palettes)
    for name, palette in expected.palettes.items():
        whole, alone = spilled.palettes[name], palettize(weights[name], bits, group_size)
        np.testing.assert_array_equal(whole.indices, palette.indices)
        np.testing.assert_array_equal(whole.indices, alone.indices)
        np.testing.assert_array_equal(whole.lut, alone.lut)
        np.testing.assert_array_equal(whole.dense(), palette.dense())


def test_a_full_disk_ends_the_spill_as_the_error_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spill = Spill(tmp_path)

    def full(data: np.ndarray) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(spill, "append", full)
    with pytest.raises(OSError, match="No space left"):
        compress(CANDIDATES, CompressOptions(4, 16), NoProgress(), spill)


def test_all_bad_tensors_are_named_at_once() -> None:
    good, nan, large = matrix(16, 64), matrix(16, 65), matrix(16, 66)
    nan[3, 4] = np.nan
    large[5, 6] = 1e6
    blocks_before_it = matrix(64, 64)
    blocks_before_it[60, 1] = -np.inf
    mixed = [
        open_candidate(name, w)
        for name, w in (("a", nan), ("b", good), ("c", large), ("d", nan), ("e", blocks_before_it))
    ]
    with pytest.raises(InputError) as damaged:
        compress(mixed, CompressOptions(4, 16), NoProgress())
    assert [d.where for d in damaged.value.diagnostics] == ["a", "d", "e"]
    assert "[3, 4]" in damaged.value.diagnostics[0].message
    with pytest.raises(UnsupportedError) as beyond:
        compress(mixed[1:3], CompressOptions(4, 16), NoProgress())
    assert [d.where for d in beyond.value.diagnostics] == ["c"]


def test_programming_errors_are_not_swallowed() -> None:
    weight = matrix(16, 64)
    with pytest.raises(ValueError, match="share a name"):
        compress([open_candidate("w", weight)] * 2, CompressOptions(4, 16), NoProgress())
    with pytest.raises(ValueError, match="has shape"):
        compress([open_candidate("w", weight, lambda _: weight.T)], CompressOptions(4, 16), NoProgress())


@pytest.mark.parametrize(("bits", "group_size"), [(5, 16), (0, 16), (7, 16), (32, 16), (4, 0), (4, -1)])
def test_options_that_make_no_sense(bits: int, group_size: int) -> None:
    with pytest.raises(UsageError):
        CompressOptions(bits, group_size)


@pytest.mark.parametrize(("columns", "rows"), [(33, 16), (32, 32), (24, 32), (16, 64), (4, 160)])
def test_groups_widen_until_a_palette_pays(columns: int, rows: int) -> None:
    """8 bits: a LUT takes 512 bytes and each of its weights saves one, so that a group needs more than 512 weights."""
    weight = matrix(160, columns)
    candidate = open_candidate("w", weight)
    (decision,) = compress([candidate], CompressOptions(8, 16, widen=True), NoProgress()).decisions
    (asked,) = compress([candidate], CompressOptions(8, 16), NoProgress()).decisions
    assert decision.group_size == rows
    assert decision.stored_bytes == weight.size + 512 * -(-160 // rows) < 2 * weight.size
    assert asked.kept == (rows != 16)


def test_own_choices_and_matrices_below_one_lut_are_not_widened() -> None:
    weight = matrix(16, 32)  # 512 weights and one LUT: 1,024 bytes, as in float16
    candidate = open_candidate("w", weight)
    assert compress([candidate], CompressOptions(8, 4, widen=True), NoProgress()).decisions[0].kept
    own = CompressOptions(8, 16, {"w": Choice(8, 4)}, widen=True)
    assert own.choice(candidate) == Choice(8, 4)
