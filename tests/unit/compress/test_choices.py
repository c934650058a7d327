"""Stored bytes are those of the palettes themselves; menus offer only what pays and what files hold without waste."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exporter.compress import KEEP, Choice, Menu
from exporter.compress.choices import MAX_GROUP_WEIGHTS, stored_bytes
from exporter.errors import UsageError
from exporter.graph.palette import PALETTE_BITS, Palette


@given(st.integers(1, 80), st.integers(1, 30), st.sampled_from(PALETTE_BITS), st.integers(1, 100))
def test_bytes_are_the_palette_s_own(rows: int, columns: int, bits: int, group_size: int) -> None:
    """Ragged last groups and odd numbers of indices too."""
    shape = rows, columns
    choice = Choice(bits, group_size).fitted(shape)
    assert choice.group_size is not None
    lut = np.zeros((-(-rows // choice.group_size), 2**bits), np.float16)
    palette = Palette.of(np.zeros(shape, np.uint8), lut, bits, choice.group_size)
    assert palette.shape == shape
    assert stored_bytes(shape, choice) == palette.stored_bytes


@given(st.integers(1, 3000), st.integers(1, 3000), st.sampled_from((2, 4)))
def test_every_choice_pays_and_wastes_no_rows(rows: int, columns: int, element: int) -> None:
    kept = rows * columns * element
    choices = Menu().choices((rows, columns), kept)
    assert choices[-1] == KEEP
    sizes = [stored_bytes((rows, columns), c) for c in choices[:-1]]
    assert sizes == sorted(sizes)
    assert all(size < min(kept, 2 * rows * columns) for size in sizes)
    for choice in choices[:-1]:
        assert choice.group_size is not None
        groups = -(-rows // choice.group_size)
        assert groups * choice.group_size - rows < groups  # less than a row a group is filled up in the files


def test_a_menu_keeps_to_what_was_asked_for() -> None:
    assert {c.bits for c in Menu((3, 4, 16)).choices((512, 512), 1 << 20)} == {3, 4, 16}
    assert {c.group_size for c in Menu(group_size=8).choices((512, 512), 1 << 20)} == {8, None}
    assert Menu((4,)).choices((2, 3), 24) == (KEEP,)  # nothing pays: kept, although 16 was not on offer
    assert {c.bits for c in Menu((4, 8)).choices((512, 512), 1 << 20)} == {4, 8}


def test_one_lut_for_all_rows_stays_within_memory() -> None:
    """An embedding of 150 million weights isn't clustered in one piece."""
    for choice in Menu().choices((151_936, 1024), 2 * 151_936 * 1024):
        assert choice.group_size is None or choice.group_size * 1024 <= MAX_GROUP_WEIGHTS


def test_choices_that_make_no_sense() -> None:
    with pytest.raises(UsageError):
        Choice(5, 16)
    with pytest.raises(UsageError):
        Choice(4, 0)
    with pytest.raises(ValueError, match="groups of"):
        Choice(4)
    with pytest.raises(ValueError, match="groups of"):
        Choice(16, 16)
    assert Choice.of(16, 16) == KEEP
