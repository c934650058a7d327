"""The parity page: complete, self-contained, deterministic, and harmless whatever the strings in it."""

from __future__ import annotations

import copy
import math
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.parity_pages import compression, report
from support.paths import PYTHONPATH

from exporter.parity.results import ParityReport
from exporter.report import render_parity_html
from exporter.report.plots import Axis, Strip, error_axis, psnr_axis, strip_plot, weight_plot

VOID = {"meta", "br", "link", "img", "hr", "input"}
HOSTILE = (
    "</script><script>alert(1)</script><img src=x onerror=alert(1)>\"'&{{ 7*7 }}]]>\x1b[31m\x00\u202e$\\frac{1}{0}$"
)


class Page(HTMLParser):
    """Elements with attributes, and the text between them; fails where tags don't nest."""

    def __init__(self, html: bytes) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.open: list[str] = []
        self.feed(html.decode())
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        if tag not in {"p", "tr", "td", "th"} or self.open[-1:] == [tag]:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] != ["style"]:
            self.text += data


def assert_harmless(page: Page) -> None:
    assert not {tag for tag, _ in page.elements} & {"script", "img", "iframe", "object", "link", "a", "form"}
    for _, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on")
            assert name != "src"
            if name in ("href", "xlink:href"):
                assert (value or "").startswith("#")


def test_everything_that_was_found_is_on_the_page() -> None:
    page = Page(render_parity_html("tiny-llama", report("Wie geht's?"), compression()))
    for said in (
        "tiny-llama", "Failed", "compression", "Core ML", "KL divergence, mean over positions", "0.02", "≤ 0.25 nats",
        "because Wie geht's?", "Where the error comes from", "Worst prompts", "3 of 4", "25.00", "4.500",
        "layer.weight.4", "norm: rank 1", "30.0 to 34.0", "256", "identical", "0.999670",
        "Nothing in this report was measured on a phone",
    ):  # fmt: skip
        assert said in page.text, said
    assert sum(tag == "svg" for tag, _ in page.elements) == 6  # each for wide screens and for phones


def test_the_verdict_and_what_broke_it_stand_out() -> None:
    """A finding of level error fails the report; a broken limit marks its own line."""
    broken = render_parity_html("m", report(kl=0.5)).decode()
    assert broken.count('class="broken"') == 3
    kept = render_parity_html("m", report(kl=0.02)).decode()
    assert kept.count('class="broken"') == 0
    nothing = ParityReport("full", 4, 0, "built-in", ()).as_json()
    assert 'class="banner unchecked"' in render_parity_html("m", nothing).decode()
    nan = report(kl=0.02)
    nan["rows"][0]["metrics"]["non_finite"] = nan["rows"][0]["thresholds"][0]["value"] = 7
    nan["rows"][0]["thresholds"][0]["passed"] = False
    nan["rows"][0]["samples"]["kl"][3] = None
    nan["rows"][0]["metrics"]["kl"] = None
    page = Page(render_parity_html("m", nan))
    assert "values that are NaN or infinite" in page.text
    assert "not finite" in page.text


def test_the_page_needs_nothing_from_outside() -> None:
    html = render_parity_html("m", report(), compression())
    page = Page(html)
    assert_harmless(page)
    assert b"@import" not in html
    assert b"http" not in html.replace(b'http-equiv="Content', b"").replace(b"http://www.w3.org/", b"")
    policy = next(a["content"] for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy == "default-src 'none'; style-src 'unsafe-inline'"
    ids = [a["id"] for _, a in page.elements if "id" in a]
    assert len(ids) == len(set(ids))


@settings(max_examples=8, deadline=None)
@given(text=st.one_of(st.just(HOSTILE), st.text(st.characters(), min_size=1, max_size=40)))
def test_no_string_becomes_markup(text: str) -> None:
    html = render_parity_html(text, report(text), compression(text))
    assert_harmless(Page(html))
    assert not any(character in html for character in (b"\x1b", b"\x00", "\u202e".encode()))


def test_plots_are_well_formed_and_take_the_page_s_colours() -> None:
    strips = [Strip("$x^2$ <a> & b", [0.01, None, 0.5, 0.0], "#0a0b0c"), Strip("empty", [None], "#0d0e0f")]
    for svg in (
        strip_plot(strips, error_axis("KL", strips, 1e-9), "a"),
        strip_plot(strips, psnr_axis(300), "b"),
        weight_plot(compression("<&>$")["tensors"][:5]),
    ):
        root = ElementTree.fromstring(svg)
        assert "var(--ink)" in svg
        assert "#0" not in svg.replace("#0a0a0a", "")  # no stand-in is left
        words = "".join(root.itertext())
        assert "matplotlib" not in words
    assert "$x^2$ <a> & b" in "".join(ElementTree.fromstring(strip_plot(strips, psnr_axis(300), "b")).itertext())


def test_values_stand_where_the_axis_says() -> None:
    axis = Axis("", 0, 160, False, high_tick="identical")
    assert [axis.place(v) for v in (-5, 0, 40, 160, 300)] == [0, 0, 0.25, 1, 1]
    assert axis.ticks()[1.0] == "identical"
    log = error_axis("", [Strip("", [3e-3, 0.2, None], "#")], 1e-9)
    assert (log.low, log.high) == (1e-3, 1.0)
    assert math.isclose(log.place(1e-2), 1 / 3)
    floored = error_axis("", [Strip("", [0.0, 0.2], "#")], 1e-6)
    assert floored.ticks()[0.0] == "≤ 10⁻⁶"


def test_two_processes_make_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from support.parity_pages import compression, report\n"
        "from exporter.report import render_parity_html\n"
        "sys.stdout.buffer.write(render_parity_html('m', report(), compression()))\n"
    )
    (tmp_path / "2").mkdir()
    (tmp_path / "2" / "matplotlibrc").write_text("font.size: 33\naxes.facecolor: red\nsvg.fonttype: path\n")
    pages = [
        subprocess.run(
            [sys.executable, "-c", script],
            check=True,
            capture_output=True,
            env={
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": PYTHONPATH,
                "PATH": "/usr/bin:/bin",
                "HOME": str(tmp_path),
            },
        ).stdout
        for seed, folder in (("1", tmp_path), ("2", tmp_path / "2"))
    ]
    assert pages[0] == pages[1]
    assert pages[0] == render_parity_html("m", report(), compression())


def test_the_arguments_are_left_as_they_were() -> None:
    parity, facts = report(), compression()
    before = copy.deepcopy((parity, facts))
    render_parity_html("m", parity, facts)
    assert (parity, facts) == before


@pytest.mark.parametrize("facts", [None, {**compression(), "bits": None, "group_size": None, "tensors": []}])
def test_without_compression_there_is_no_such_section(facts: dict[str, Any] | None) -> None:
    page = Page(render_parity_html("m", report(), facts))
    assert ("not palettized" in page.text) == (facts is not None)
    assert sum(tag == "svg" for tag, _ in page.elements) == 4  # each for wide screens and for phones


def test_what_ran_stands_at_the_top_where_nothing_hides_it() -> None:
    parity = report()
    for row in parity["rows"]:
        if row["name"] == "coreml":
            row["runners"] = ["torch", "an executor; not run on a device"]
    head = render_parity_html("m", parity).decode().partition("</header>")[0]
    assert "<b>Core ML was run by:</b> an executor; not run on a device." in head
    assert "<b>ONNX was run by:</b> Hm?." in head
    assert "measured on a phone" in head
