"""What a palette looks like for every kind of weight, good and bad."""

import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.compress import kmeans, palettize
from exporter.compress.kernels import clusters
from exporter.errors import InputError, UnsupportedError
from exporter.graph.palette import PALETTE_BITS


def student(*shape: int) -> np.ndarray:
    return (np.random.default_rng(0).standard_t(5, shape) * 0.02).astype(np.float32)


@settings(max_examples=60, deadline=None)
@given(
    rows=st.integers(1, 20),
    columns=st.integers(1, 40),
    group_size=st.integers(1, 25),
    bits=st.sampled_from(PALETTE_BITS),
    scale=st.sampled_from([1e-7, 1e-4, 0.02, 1.0, 1000.0]),
    distinct=st.sampled_from([None, 1, 3, 20]),
    seed=st.integers(0, 1000),
)
def test_every_weight_decodes_to_the_nearest_entry_of_its_group(
    rows: int, columns: int, group_size: int, bits: int, scale: float, distinct: int | None, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    weight = (rng.standard_t(3, (rows, columns)) * scale).astype(np.float32)
    if distinct:
        weight = rng.choice(weight.ravel()[:distinct], weight.shape)
    weight = weight.clip(-60000, 60000)
    palette = palettize(weight, bits, group_size)
    assert palette.shape == weight.shape
    assert palette.group_size == min(group_size, rows)
    assert (np.diff(palette.lut.astype(np.float64), axis=1) >= 0).all()
    dense = palette.dense()
    for row in range(rows):
        entries = palette.lut[row // palette.group_size].astype(np.float64)
        nearest = np.abs(weight[row][:, None].astype(np.float64) - entries).min(1)
        np.testing.assert_array_equal(np.abs(weight[row].astype(np.float64) - dense[row]), nearest)


def test_groups_do_not_influence_each_other() -> None:
    weight = student(40, 64)
    whole = palettize(weight, 4, 16)
    for group, rows in enumerate((slice(0, 16), slice(16, 32), slice(32, 40))):
        alone = palettize(np.ascontiguousarray(weight[rows]), 4, 16)
        np.testing.assert_array_equal(alone.lut[0], whole.lut[group])
        np.testing.assert_array_equal(alone.indices, whole.indices[rows])


@pytest.mark.parametrize("bits", PALETTE_BITS)
def test_few_distinct_values_are_kept_exactly(bits: int) -> None:
    """As many values as entries, and one less: the decoded weight is exact and the LUT repeats its last value."""
    rng = np.random.default_rng(bits)
    for distinct in (2**bits, 2**bits - 1):
        values = np.sort(rng.permutation(np.arange(-300, 300))[:distinct] / 64).astype(np.float32)
        weight = rng.permutation(np.resize(values, (8, 64 * distinct)), axis=1)
        palette = palettize(weight, bits, 8)
        np.testing.assert_array_equal(palette.dense(), weight)
        np.testing.assert_array_equal(palette.lut[0, :distinct], values.astype(np.float16))
        np.testing.assert_array_equal(palette.lut[0, distinct:], values[-1].astype(np.float16))
        assert palette.indices.max() == distinct - 1


@pytest.mark.parametrize(
    "value", [0.0, -0.0, 1.0, -3.14159, 65504.0, -65504.0, 65519.99, 2.0**-24, 2.0**-26, 1e-42, -1e-45, 1e-30]
)
def test_constant_weights_become_their_float16_value(value: float) -> None:
    weight = np.full((5, 7), value, np.float32)
    palette = palettize(weight, 4, 2)
    np.testing.assert_array_equal(palette.dense(), np.float32(np.float16(value)))
    assert not np.signbit(palette.lut[palette.lut == 0]).any()
    assert palette.lut.shape == (3, 16)
    assert not palette.indices.any()


@pytest.mark.parametrize(
    ("shape", "group_size", "groups"),
    [
        ((1, 1), 1, 1),
        ((1, 1), 16, 1),
        ((1, 300), 16, 1),
        ((300, 1), 16, 19),
        ((7, 33), 3, 3),
        ((64, 3), 64, 1),
        ((64, 3), 10**9, 1),
        ((17, 100), 16, 2),
    ],
)
def test_shapes(shape: tuple[int, int], group_size: int, groups: int) -> None:
    weight = student(*shape)
    for bits in PALETTE_BITS:
        palette = palettize(weight, bits, group_size)
        assert palette.lut.shape == (groups, 2**bits)
        assert palette.indices.shape == shape
    np.testing.assert_allclose(palette.dense(), weight, rtol=2**-11, atol=0.02)


def test_huge_and_tiny_magnitudes_together() -> None:
    weight = np.array([[65504, -65504, 1e-3, -1e-3, 6e-8, 0, 1, 2]], np.float32)
    np.testing.assert_array_equal(palettize(weight, 3, 1).dense(), weight.astype(np.float16).astype(np.float32))
    coarse = palettize(weight, 2, 1).dense()  # 65504, -65504 and two for the rest: {…, 0, 1e-3} and {1, 2}
    np.testing.assert_array_equal(coarse[0, [0, 1, 6, 7]], [65504, -65504, 1.5, 1.5])


def test_a_middle_between_entries_that_float32_can_not_hold() -> None:
    """Entries 3·2⁻²⁴ and 1: float32 rounds their middle, 0.5 + 1.5·2⁻²⁴, up to 0.5 + 2·2⁻²⁴, which is nearer to 1."""
    low, high = 3 * 2.0**-24, 1.0
    weight = np.array([[low, high, 0.5 + 2.0**-23, 0.5 + 2.0**-24]], np.float32)
    importance = np.array([[1, 1, 0, 0]], np.float32)  # entries are made from the first two alone
    palette = palettize(weight, 1, 1, importance)
    np.testing.assert_array_equal(palette.lut, [[low, high]])
    np.testing.assert_array_equal(palette.indices, [[0, 1, 1, 0]])


def test_codes_are_float16_rounding() -> None:
    """Every float16 value, every midpoint between two, and their float32 neighbours, against numpy's conversion."""
    halves = np.arange(0x7C00, dtype=np.uint16).view(np.float16).astype(np.float32)
    middles = (halves[1:] + halves[:-1]) / 2
    values = np.concatenate([halves, middles, np.nextafter(middles, 0), np.nextafter(middles, 1e5)])[::7]
    values = np.concatenate([values, -values, np.float32([1e-45, -1e-40, 65519.996])])
    codes = [clusters._to_code.py_func(bits) for bits in values.view(np.uint32)]
    np.testing.assert_array_equal(kmeans._half_values()[codes], values.astype(np.float16).astype(np.float64))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_not_finite(bad: float) -> None:
    weight = student(4, 6)
    weight[2, 5] = bad
    with pytest.raises(InputError, match=r"\[2, 5\]") as caught:
        palettize(weight, 4, 2)
    assert caught.value.diagnostics[0].code == "compress.not_finite"


@pytest.mark.parametrize("bad", [65520.0, -65520.0, 1e30])
def test_beyond_float16(bad: float) -> None:
    weight = student(4, 6)
    weight[3, 0] = bad
    with pytest.raises(UnsupportedError, match=r"\[3, 0\]") as caught:
        palettize(weight, 4, 2)
    assert caught.value.diagnostics[0].code == "compress.fp16_overflow"


def test_wrong_arguments() -> None:
    weight = student(4, 6)
    ones = np.ones_like(weight)
    for arguments in (
        (weight[0], 4, 2),
        (weight[:0], 4, 2),
        (weight.astype(np.float64), 4, 2),
        (weight, 5, 2),
        (weight, 4, 0),
        (weight, 4, 2, ones[:, :3]),
        (weight, 4, 2, -ones),
        (weight, 4, 2, ones * np.float32(np.nan)),
        (weight, 4, 2, ones * np.float32(np.inf)),
    ):
        with pytest.raises(ValueError, match=r"palettize takes|importance"):
            palettize(*arguments)


def test_any_memory_layout_gives_the_same_palette() -> None:
    weight = student(12, 40)
    expected = palettize(weight, 4, 4)
    frozen = weight.copy()
    frozen.setflags(write=False)
    unaligned = np.frombuffer(b"x" + weight.tobytes(), np.float32, offset=1).reshape(weight.shape)
    for same in (np.asfortranarray(weight), np.repeat(weight, 2, 1)[:, ::2], frozen, unaligned):
        np.testing.assert_array_equal(palettize(same, 4, 4).indices, expected.indices)
    np.testing.assert_array_equal(weight, student(12, 40))  # the input is left alone


def test_memory_is_bounded_by_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """Packed indices take an eighth of the tensor; scratch memory is per thread and group of rows."""
    monkeypatch.setattr(kmeans, "cores", lambda: 2)
    weight = student(2048, 512)
    palettize(weight[:16], 4, 16)  # compiles
    tracemalloc.start()
    palettize(weight, 4, 16)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert weight.size / 2 < peak < 0.75 * weight.nbytes  # another copy would take 1
