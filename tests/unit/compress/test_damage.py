"""Tensors that are kept and hold what no checkpoint should."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from exporter.compress import damage as module
from exporter.compress.damage import damage, require_undamaged
from exporter.compress.decisions import Candidate
from exporter.errors import InputError


def candidate(name: str, values: NDArray[np.float32], *, is_open: bool = False) -> Candidate:
    return Candidate(name, values.shape, values.nbytes, is_open, lambda rows: values[rows])


@pytest.mark.parametrize("shape", [(7,), (7, 5), (7, 5, 3)])
def test_nan_is_found_in_any_block(shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BLOCK", 10)
    values = np.zeros(shape, np.float32)
    assert damage(candidate("sound", values)) is None
    for place in ((0,) * len(shape), tuple(n - 1 for n in shape)):
        bad = values.copy()
        bad[place] = np.nan
        problem = damage(candidate("bad", bad))
        assert problem is not None
        assert problem.diagnostics[0].message == f"nan at {list(place)}"


def test_infinity_is_a_value_that_only_weights_may_not_have() -> None:
    """A table of the graph may: masks are made of it."""
    values = np.array([[0, -np.inf]], np.float32)
    assert damage(candidate("mask", values)) is None
    assert damage(candidate("weight", values, is_open=True)) is not None


def test_all_are_named_and_scalars_and_empty_ones_are_none() -> None:
    bad, empty = np.array([1, np.nan], np.float32), np.zeros((0, 4), np.float32)
    some = [candidate(name, bad) for name in "ab"]
    rest = [candidate("empty", empty), candidate("scalar", np.array(np.nan, np.float32))]
    require_undamaged(rest)
    with pytest.raises(InputError) as caught:
        require_undamaged([*some, *rest])
    assert [diagnostic.where for diagnostic in caught.value.diagnostics] == ["a", "b"]
