"""Packed indices against numpy's own bit packing, and palettes that lie in a file against those in memory."""

from __future__ import annotations

import gc
import os
import threading
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.graph import palette as palettes
from exporter.graph.bits import pack, packed_size, unpack
from exporter.graph.palette import PALETTE_BITS, Palette
from exporter.graph.spill import InMemory, Spill


def drawn(count: int, bits: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 2**bits, count).astype(np.uint8)


@settings(max_examples=200, deadline=None)
@given(bits=st.sampled_from(PALETTE_BITS), count=st.integers(0, 300), seed=st.integers(0, 9))
def test_the_first_index_lies_in_the_lowest_bits(bits: int, count: int, seed: int) -> None:
    """numpy's packbits, told to begin at the lowest bit, is the reference for every width and length."""
    indices = drawn(count, bits, seed)
    lowest = np.unpackbits(indices[:, None], axis=1, bitorder="little", count=bits)
    packed = pack(indices, bits)
    np.testing.assert_array_equal(packed, np.packbits(lowest, bitorder="little"))
    assert packed.size == packed_size(count, bits)
    np.testing.assert_array_equal(unpack(packed, bits, count), indices)


def test_arrays_that_are_no_run_of_bytes_are_packed_row_by_row() -> None:
    indices = drawn(60, 3).reshape(6, 10)
    np.testing.assert_array_equal(pack(indices.T, 3), pack(np.ascontiguousarray(indices.T), 3))
    np.testing.assert_array_equal(pack(indices, 3), pack(indices.reshape(-1), 3))


def of_rows(rows: int, columns: int, bits: int, group_size: int) -> tuple[np.ndarray, np.ndarray, Palette]:
    indices = drawn(rows * columns, bits).reshape(rows, columns)
    lut = np.sort(np.random.default_rng(1).standard_normal((-(-rows // group_size), 2**bits)).astype(np.float16))
    return indices, lut, Palette.of(indices, lut, bits, group_size)


@pytest.mark.parametrize("bits", PALETTE_BITS)
@pytest.mark.parametrize("group_size", [1, 4, 7, 30])
def test_dense_looks_up_each_rows_own_table(monkeypatch: pytest.MonkeyPatch, bits: int, group_size: int) -> None:
    """Blocks that end within a group and within a row, one index a time by hand."""
    monkeypatch.setattr(palettes, "BLOCK", 24)
    indices, lut, palette = of_rows(30, 17, bits, group_size)
    np.testing.assert_array_equal(palette.indices, indices)
    expected = np.array([[lut[r // group_size, i] for i in row] for r, row in enumerate(indices)], np.float32)
    np.testing.assert_array_equal(palette.dense(), expected)
    blocks = list(palette.blocks())
    assert [first for first, _ in blocks] == list(range(0, 30 * 17, 24))
    np.testing.assert_array_equal(np.concatenate([block for _, block in blocks]), indices.reshape(-1))
    assert palette.stored_bytes == packed_size(510, bits) + lut.nbytes


def test_a_palette_refuses_what_does_not_fit_together() -> None:
    indices, lut, palette = of_rows(6, 5, 4, 4)
    wrong = (
        (lambda: Palette.of(indices, lut, 5, 4), "bits"),
        (lambda: Palette.of(indices, lut[:1], 4, 4), "LUT"),
        (lambda: Palette.of(indices, lut.astype(np.float32), 4, 4), "LUT"),
        (lambda: Palette.of(indices.astype(np.int8), lut, 4, 4), "uint8"),
        (lambda: Palette(InMemory(palette.packed.read(0, 14)), (6, 5), lut, 4, 4), "14 bytes"),
    )
    for make, message in wrong:
        with pytest.raises(ValueError, match=message):
            make()


def test_a_spill_has_no_name_and_is_gone_with_its_last_part(tmp_path: Path) -> None:
    """Nothing lies in the folder, so nothing can be left there, however the process ends."""
    spill = Spill(tmp_path)
    descriptor = spill._file.fileno()
    start = spill.end
    spill.append(drawn(5000, 8))
    part = spill.part(start)
    spill.append(drawn(77, 8, seed=1))
    later = spill.part(start + 5000)
    assert not list(tmp_path.iterdir())
    np.testing.assert_array_equal(part.read(10, 4000), drawn(5000, 8)[10:4000])
    np.testing.assert_array_equal(later.read(0, later.size), drawn(77, 8, seed=1))
    del spill, part
    np.testing.assert_array_equal(later.read(70, 77), drawn(77, 8, seed=1)[70:])
    before = os.fstat(descriptor)
    del later
    gc.collect()
    try:
        now = os.fstat(descriptor)
    except OSError:
        return  # closed
    assert not os.path.samestat(now, before)  # the number is another file's by now


def test_parts_can_be_read_from_many_threads(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    parts = []
    for seed in range(8):
        start = spill.end
        spill.append(drawn(3000 + seed, 8, seed))
        parts.append(spill.part(start))
    wrong: list[int] = []

    def check(seed: int) -> None:
        expected = drawn(3000 + seed, 8, seed)
        wrong.extend(seed for _ in range(50) if not np.array_equal(parts[seed].read(0, expected.size), expected))

    threads = [threading.Thread(target=check, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_spill_that_lost_its_end_is_an_error(tmp_path: Path) -> None:
    spill = Spill(tmp_path)
    spill.append(drawn(100, 8))
    part = spill.part(0)
    part.read(0, 100)  # what was written has reached the file
    os.ftruncate(spill._file.fileno(), 40)
    with pytest.raises(OSError, match="60 bytes too short"):
        part.read(0, 100)
