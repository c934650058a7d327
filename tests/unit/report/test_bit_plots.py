"""Mixed bits on the parity page: every matrix in its place, and nothing that a name could break."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.parity.results import ParityReport
from exporter.report import render_parity_html
from exporter.report.bit_plots import MAX_KINDS, Cell, bits_plot, cells_of, curve_plot

HOSTILE = "<script>alert(1)</script>$\\frac{1}{0}$&\x1b\u202e\x00"


def tensor(name: str, bits: int | None, shape: tuple[int, ...] = (8, 8), stored: int = 64) -> dict[str, Any]:
    group = None if bits is None else 16
    return {
        "name": name, "shape": list(shape), "bits": bits, "group_size": group, "stored_bytes": stored, "reason": "so",
    }  # fmt: skip


def decoder(layers: int) -> list[dict[str, Any]]:
    kinds = [f"{k}_proj" for k in ("q", "k", "v", "o", "gate", "up", "down")]
    matrices = [
        tensor(f"model.layers.{i}.{kind}.weight", (2, 3, 4, None)[i % 4]) for i in range(layers) for kind in kinds
    ]
    norms = [tensor(f"model.layers.{i}.norm.weight", None, (8,)) for i in range(layers)]
    return [tensor("model.embed_tokens.weight", 6), *matrices, *norms, tensor("unused.weight", None, stored=0)]


def words(svg: str) -> list[str]:
    return [text.strip() for text in ElementTree.fromstring(svg).itertext() if text.strip()]


CURVE: dict[str, Any] = {
    "kind": "kl",
    "words": "KL in nats on texts",
    "chosen": {"stored_bytes": 10, "bpw": 3.7, "predicted": 0.02, "measured": 0.03},
    "points": [
        {"stored_bytes": 1, "bpw": 1.0, "predicted": 2.0, "measured": None},
        {"stored_bytes": 9, "bpw": 3.0, "predicted": 0.05, "measured": 0.07},
        {"stored_bytes": 99, "bpw": 16.0, "predicted": 0.0, "measured": None},
    ],
}


def test_names_become_kinds_and_layers() -> None:
    found = cells_of([*decoder(1), tensor("stages.0.blocks.2.fc", 4), tensor("q8_proj", 3)])
    assert found[0] == Cell("model.embed_tokens.weight", None, 6)
    assert found[1] == Cell("model.layers.*.q_proj.weight", 0, 2)
    assert found[-2:] == [Cell("stages.*.blocks.2.fc", 0, 4), Cell("q8_proj", None, 3)]
    assert len(found) == 1 + 7 + 2  # norms, and what is not stored, have no bits


@pytest.mark.parametrize("layers", [1, 6, 24])
def test_every_cell_says_its_bits(layers: int) -> None:
    said = words(bits_plot(decoder(layers)))
    assert said.count("2") >= 7 * len(range(0, layers, 4))
    assert said.count("16") >= 7 * len(range(3, layers, 4))
    for label in ("embed_tokens", "q_proj", "down_proj", "layer"):
        assert label in said


def test_many_layers_have_a_key_and_many_kinds_are_counted() -> None:
    assert "bits" in words(bits_plot(decoder(80)))
    assert "bits" not in words(bits_plot(decoder(24)))
    said = words(bits_plot([tensor(f"m{'x' * i}", 4) for i in range(1, MAX_KINDS + 6)]))
    assert "layer; 5 more kinds are in the table" in said
    assert bits_plot([tensor("norm", None, (8,))]) == ""


def test_the_curve_marks_what_was_chosen() -> None:
    said = words(curve_plot(CURVE))
    assert "3.70 bits per weight, 0.03" in said
    assert "KL to the uncompressed model, nats" in said
    assert "measured: all matrices together" in said
    without = CURVE | {"chosen": CURVE["chosen"] | {"measured": None}, "points": CURVE["points"][:1], "kind": "weights"}
    said = words(curve_plot(without))
    assert "measured: all matrices together" not in said
    assert "squared weight error (without running text)" in said
    assert curve_plot(CURVE | {"chosen": {"bpw": 16, "predicted": 0.0}, "points": []}) == ""


def test_the_same_drawing_every_time() -> None:
    assert bits_plot(decoder(6)) == bits_plot(decoder(6))
    assert curve_plot(CURVE) == curve_plot(CURVE)
    for svg in (bits_plot(decoder(6)), curve_plot(CURVE)):
        assert "var(--ink)" in svg
        assert "#0" not in svg.replace("#0a0a0a", "")  # no stand-in is left


def page(tensors: list[dict[str, Any]], curve: dict[str, Any] | None, mixed: str | None) -> str:
    facts = {"bits": None, "group_size": None, "bpw": 3.7, "parameters": 64, "stored_bytes": 64, "tensors": tensors}
    facts |= {"mixed": mixed, "palette_bits": 3.456, "curve": curve}
    return render_parity_html("m", ParityReport("full", 4, 0, "built-in", ()).as_json(), facts).decode()


def test_the_page_says_that_bits_are_mixed() -> None:
    mixed = page(decoder(2), CURVE, "--bpw 3.7")
    assert "mixed, 3.46 bits per index on average" in mixed
    assert mixed.count("<svg") == 4  # each for wide screens and for phones
    assert "rows per LUT" in mixed
    uniform = page(decoder(2), None, None)
    assert "rows per LUT" not in uniform
    assert uniform.count("<svg") == 0


@settings(max_examples=8, deadline=None)
@given(st.one_of(st.just(HOSTILE), st.text(min_size=1, max_size=40)))
def test_no_name_becomes_markup(text: str) -> None:
    html = page([tensor(text, 4), tensor(f"a.3.{text}", 2)], CURVE | {"words": text}, "--bpw 3.7")
    assert "<script" not in html
    assert not any(character in html for character in ("\x1b", "\x00", "\u202e"))
    ElementTree.fromstring(bits_plot([tensor(text, 4)]))
