"""The gate on weights that were not compressed as asked."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from exporter.pipeline.gates import kept_findings


def tensor(name: str, rows: int, bits: int | None, reason: str = "rank 3") -> dict[str, Any]:
    """A float32 tensor of 100 columns."""
    size = rows * 100 * (4 if bits is None else bits / 8)
    return {"name": name, "shape": [rows, 100], "bits": bits, "stored_bytes": int(size), "reason": reason}


def found(*tensors: dict[str, Any], bits: int | None = 4, weights: str = "palette") -> list[tuple[str, str]]:
    facts = SimpleNamespace(compression=SimpleNamespace(tensors=tensors, mixed="--bpw 3"))
    settings = SimpleNamespace(bits=bits, onnx_weights=weights)
    return [(d.level, d.message) for d in kept_findings(facts, settings)]  # type: ignore[arg-type]


def test_the_larger_part_uncompressed_is_an_error_with_bytes_and_reason() -> None:
    ((level, message),) = found(tensor("big", 600, None, "read by If"), tensor("small", 400, 4))
    assert level == "error"
    assert message.startswith("240,000 bytes of weights (60%) were not compressed as --bits 4 asks")
    assert "big, 240,000 bytes: read by If" in message


def test_a_smaller_part_is_a_note() -> None:
    assert [level for level, _ in found(tensor("big", 300, None), tensor("rest", 700, 4), bits=None)] == ["note"]


def test_matrices_that_any_lut_would_make_larger_are_a_note() -> None:
    """8 bits: 100 weights and one LUT take 100 + 512 bytes, as float16 200."""
    tiny = [tensor(f"a{i}", 1, None, "a palette would not pay: 612 bytes") for i in range(60)]
    assert [level for level, _ in found(*tiny, bits=8)] == ["note"]


def test_matrices_that_only_the_asked_groups_make_larger_are_an_error() -> None:
    """`--group-size 1`: a LUT of 512 bytes for each row of 100 weights; with one LUT for all rows they would pay."""
    asked = tensor("a", 600, None, "a palette would not pay: 367,200 bytes")
    assert [level for level, _ in found(asked, bits=8)] == ["error"]


@pytest.mark.parametrize(
    "tensors",
    [
        [tensor("norms", 50, None), tensor("rest", 950, 4)],
        [tensor("tiny", 4, None)],
        [tensor("planned", 900, None, "kept at 16 bits by the plan"), tensor("rest", 100, 4)],
        [],
    ],
    ids=["norms", "tiny", "planned", "no weights"],
)
def test_no_false_alarm(tensors: list[dict[str, Any]]) -> None:
    assert found(*tensors) == []


def test_nothing_was_asked_for() -> None:
    assert found(tensor("big", 600, None), bits=16) == []
    assert found(tensor("big", 600, None), weights="fp32") == []
