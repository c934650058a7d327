"""How options, targets and defaults come together."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from exporter.errors import UnsupportedError, UsageError
from exporter.formats import MOBILE, Format
from exporter.pipeline.options import CalibrationOptions, OutputOptions
from exporter.pipeline.settings import GROUP_SIZE, Budget, Widths, read_budget, read_size, settle
from exporter.targets import load_target


def test_defaults() -> None:
    settings = settle(OutputOptions(), Widths(4))
    assert settings.formats == ("onnx", "coreml")
    assert settings.group_size == GROUP_SIZE


def test_targets_bring_their_formats() -> None:
    iphone, android = load_target("iphone"), load_target("android")
    assert settle(OutputOptions((), (iphone,)), Widths(4)).formats == ("coreml",)
    assert settle(OutputOptions((), (android,)), Widths(4)).formats == ("onnx",)
    both = settle(OutputOptions((), (iphone, android)), Widths(4))
    assert both.formats == ("onnx", "coreml")
    assert both.targets_of("coreml") == (iphone,)


def test_options_win_over_targets() -> None:
    iphone, android = load_target("iphone"), load_target("android")
    settings = settle(OutputOptions(("coreml",), (iphone,)), Widths(3, group_size=8))
    assert settings.formats == ("coreml",)
    assert settings.group_size == 8
    with pytest.raises(UsageError, match="takes onnx, not coreml"):
        settle(OutputOptions(("coreml",), (iphone, android)), Widths(4))


def test_the_smallest_group_of_all_targets_counts() -> None:
    iphone = load_target("iphone")
    assert settle(OutputOptions((), (iphone, replace(iphone, group_size=8))), Widths(4)).group_size == 8


def test_everything_that_a_target_cannot_take_is_told_at_once() -> None:
    iphone = replace(load_target("iphone"), bits=(4, 8))
    android = replace(load_target("android"), bits=(4,))
    with pytest.raises(UnsupportedError) as caught:
        settle(OutputOptions((), (iphone, android)), Widths(3))
    assert len(caught.value.diagnostics) == 2


@pytest.mark.parametrize("bits", [0, 5, 7, 17])
def test_bits_that_nothing_stores(bits: int) -> None:
    with pytest.raises(UsageError, match="palettes can't have"):
        settle(OutputOptions(), Widths(bits))


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("300MB", 300_000_000),
        ("1.2GB", 1_200_000_000),
        ("250MiB", 250 * 2**20),
        ("1.5 GiB", 3 * 2**29),
        ("1000000", 1_000_000),
        ("64k", 64_000),
        ("0.1KiB", 102),
        ("12b", 12),
    ],
)
def test_sizes(text: str, size: int) -> None:
    assert read_size(text) == size


@pytest.mark.parametrize("text", ["", "MB", "-3MB", "3parsecs", "1e9", "３MB", "3ib", "nan", "9" * 40, "1.MB", "1 000"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(UsageError, match="takes a size such as"):
        read_size(text)


def test_budgets() -> None:
    assert read_budget(None, None, None) is None
    assert read_budget(3.7, None, None) == Budget("bpw", 3.7, "3.7")
    assert read_budget(None, "1.5MB", None) == Budget("size", 1_500_000, "1.5MB")
    assert Budget("kl", 0.02, "0.02").option == "--max-kl 0.02"
    with pytest.raises(UsageError, match="--bpw and --max-kl can't be combined"):
        read_budget(3.7, None, 0.1)
    for value in (0.0, -1.0, float("nan"), float("inf")):
        with pytest.raises(UsageError, match="must be a positive number"):
            read_budget(value, None, None)


def test_one_of_bits_budget_and_plan(tmp_path: Path) -> None:
    budget = Budget("bpw", 3.7, "3.7")
    assert settle(OutputOptions(), Widths()).bits == 4
    assert settle(OutputOptions(), Widths(budget=budget)).bits is None
    assert settle(OutputOptions(), Widths(plan=tmp_path)).bits is None
    for widths in (Widths(4, budget), Widths(4, plan=tmp_path), Widths(None, budget, tmp_path)):
        with pytest.raises(UsageError, match="can't be combined"):
            settle(OutputOptions(), widths)
    with pytest.raises(UsageError, match="--plan and --group-size"):
        settle(OutputOptions(), Widths(plan=tmp_path, group_size=8))


def test_mixed_bits_are_those_that_every_target_takes() -> None:
    iphone = replace(load_target("iphone"), bits=(2, 4, 8, 16))
    android = replace(load_target("android"), bits=(4, 8, 16))
    mixed = settle(OutputOptions((), (iphone, android)), Widths(budget=Budget("bpw", 4.0, "4")))
    assert mixed.allowed_bits == (4, 8, 16)
    mixed.require_bits({4: ["a"], 16: ["b"]})
    with pytest.raises(UnsupportedError) as caught:
        mixed.require_bits({3: ["a", "b"], 2: ["c"]})
    where = [d.where for d in caught.value.diagnostics]
    assert where == ["--for iphone: a and 1 more", "--for android: c", "--for android: a and 1 more"]


def test_calibration_texts(tmp_path: Path) -> None:
    (tmp_path / "text.txt").write_text("hello")
    (tmp_path / "text.csv").write_text("hello")
    for stated in ("builtin", "none", str(tmp_path / "text.txt")):
        CalibrationOptions(stated).require_valid()
    for stated, told in (
        (str(tmp_path / "text.csv"), "must end in .txt"),
        ("nowhere.txt", "no such file"),
        ("", "regular file"),
        (str(tmp_path), "regular file"),
        ("x" * 9999, "can.t be the name of a file"),
        ("a\0b", "no such file"),
    ):
        with pytest.raises(UsageError, match=told):
            CalibrationOptions(stated).require_valid()


def test_training_needs_texts() -> None:
    CalibrationOptions(None, 3).require_valid()
    CalibrationOptions("none", 0).require_valid()
    with pytest.raises(UsageError, match="training needs texts"):
        CalibrationOptions("none", 3).require_valid()


def test_devices() -> None:
    for device in ("cpu", "cuda", "cuda:1", "mps"):
        CalibrationOptions(None, 0, device).require_valid()
    for device in ("", "gpu", "meta", "cuda:", "cuda:1x", "CPU", "cpu\n"):
        with pytest.raises(UsageError, match="calibration runs on cpu"):
            CalibrationOptions(None, 0, device).require_valid()


def test_int4_weights_alone_need_no_palettes() -> None:
    alone = settle(OutputOptions(formats=("onnx",), onnx_weights="int4"), Widths())
    assert alone.grids_only
    assert alone.grid_forms == (MOBILE,)
    both = settle(OutputOptions(onnx_weights="int4"), Widths())
    assert not both.grids_only
    assert both.grid_forms == (MOBILE,)
    assert not settle(OutputOptions(onnx_weights="int8"), Widths()).grid_forms


@pytest.mark.parametrize(
    ("formats", "widths", "message"),
    [
        (("onnx",), Widths(bits=6), "stores 4 bits, not 6"),
        (("onnx",), Widths(bits=16), "stores 4 bits, not 16"),
        (("onnx",), Widths(group_size=8), "has no groups of rows"),
        ((), Widths(budget=Budget("bpw", 4.5, "4.5")), "needs bits of its own"),
        ((), Widths(bits=16), "compresses"),
    ],
)
def test_options_of_palettes_don_t_fit_int4_weights(formats: tuple[Format, ...], widths: Widths, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        settle(OutputOptions(formats=formats, onnx_weights="int4"), widths)
