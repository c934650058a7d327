"""How options, targets and defaults come together."""

from __future__ import annotations

from dataclasses import replace

import pytest

from exporter.errors import UnsupportedError, UsageError
from exporter.settings import GROUP_SIZE, settle
from exporter.targets import load_target


def test_defaults() -> None:
    settings = settle((), (), 4, None)
    assert settings.formats == ("onnx", "coreml")
    assert settings.group_size == GROUP_SIZE


def test_targets_bring_their_formats() -> None:
    iphone, android = load_target("iphone"), load_target("android")
    assert settle((), (iphone,), 4, None).formats == ("coreml",)
    assert settle((), (android,), 4, None).formats == ("onnx",)
    both = settle((), (iphone, android), 4, None)
    assert both.formats == ("onnx", "coreml")
    assert both.targets_of("coreml") == (iphone,)


def test_options_win_over_targets() -> None:
    iphone, android = load_target("iphone"), load_target("android")
    settings = settle(("coreml",), (iphone,), 3, 8)
    assert settings.formats == ("coreml",)
    assert settings.group_size == 8
    with pytest.raises(UsageError, match="takes onnx, not coreml"):
        settle(("coreml",), (iphone, android), 4, None)


def test_the_smallest_group_of_all_targets_counts() -> None:
    iphone = load_target("iphone")
    assert settle((), (iphone, replace(iphone, group_size=8)), 4, None).group_size == 8


def test_everything_that_a_target_cannot_take_is_told_at_once() -> None:
    iphone = replace(load_target("iphone"), bits=(4, 8))
    android = replace(load_target("android"), bits=(4,))
    with pytest.raises(UnsupportedError) as caught:
        settle((), (iphone, android), 3, None)
    assert len(caught.value.diagnostics) == 2


@pytest.mark.parametrize("bits", [0, 5, 7, 17])
def test_bits_that_nothing_stores(bits: int) -> None:
    with pytest.raises(UsageError, match="can't be stored"):
        settle((), (), bits, None)
