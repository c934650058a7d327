"""Constants of masks in float16: infinite values become ±4e4, and nothing is computed that warns."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from exporter.lower.coreml.masks import within_range

LOWEST = float(np.finfo(np.float32).min)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_infinite_values_come_into_range_without_a_warning(dtype: type[np.floating[Any]]) -> None:
    mask = np.array([[0, -np.inf], [0, 0]], dtype)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_array_equal(within_range(mask), [[0, -4e4], [0, 0]])


def test_the_lowest_float32_is_infinite_and_the_lowest_float16_is_not() -> None:
    np.testing.assert_array_equal(within_range(np.array([LOWEST, 0], np.float32)), [-4e4, 0])
    np.testing.assert_array_equal(within_range(np.array([-65504, 0], np.float16)), [-65504, 0])


def test_a_weight_with_a_huge_number_does_not_change() -> None:
    weight = np.array([1e9, 0.5, 0.25], np.float32)
    assert within_range(weight) is weight
