"""The parity page in a browser, as wide as a phone and as a desktop: nothing off the screen, nothing too small to read.

The page forbids scripts, so a copy without that rule and with a script that measures is opened; nothing else differs.
"""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.parity_pages import compression, report

from exporter.report import render_parity_html

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = [
    pytest.mark.slow,  # starts a browser
    pytest.mark.skipif(
        CHROMIUM is None, reason="left out: the page in a browser, because there is no Chromium on PATH"
    ),
]
FLAGS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
LEAST_PX = 10.5  # of any text on the screen: a phone's own captions have 11, and plots are scaled to the screen
NAME = "model.layers.11.self_attn.very_long_projection_name_without_any_break.weight"
MEASURE = """<script>
document.querySelectorAll("details").forEach(d => d.open = true);
const seen = e => e.getClientRects().length > 0;
const sizes = [], off = [];
for (const e of document.querySelectorAll("body *")) {
  if (!seen(e) || !e.textContent.trim()) continue;
  const box = e.getBoundingClientRect();
  if (box.right > innerWidth + 0.5 || box.left < -0.5) off.push(e.tagName + " " + e.textContent.trim().slice(0, 40));
  const svg = e.closest("svg");
  const scale = svg ? svg.getBoundingClientRect().width / svg.viewBox.baseVal.width : 1;
  if (!svg || e.tagName === "text") sizes.push(parseFloat(getComputedStyle(e).fontSize) * scale);
}
const told = {width: innerWidth, scroll: document.documentElement.scrollWidth, least: Math.min(...sizes), off,
  plots: [...document.querySelectorAll("svg")].filter(seen).length, texts: sizes.length};
parent.document.title = JSON.stringify(told);
</script></body>"""


def page() -> str:
    """Long names, hostile to narrow columns, in every table and plot; mixed bits with a curve."""
    facts = compression(NAME)
    for layer, tensor in enumerate(facts["tensors"]):
        tensor["name"] = f"model.layers.{layer}.{NAME}"
    points = [{"bpw": bits, "predicted": 2.0**-bits, "measured": 1.1 * 2.0**-bits} for bits in (2, 3, 4, 6, 8)]
    curve = {"kind": "kl", "words": "KL divergence", "points": points, "chosen": points[2]}
    facts |= {"bits": None, "mixed": "--bpw 4", "palette_bits": 4.0, "curve": curve}
    parity = report("A prompt that says: " + "word " * 30 + "x" * 90)
    return render_parity_html("a-model-with-a-long-name-of-its-own-4bit", parity, facts).decode()


@pytest.mark.parametrize("width", [400, 1200])
def test_nothing_is_off_the_screen_or_too_small(width: int, tmp_path: Path) -> None:
    told = measured(page(), width, tmp_path)
    assert told["width"] == width
    assert told["scroll"] <= told["width"]
    assert told["off"] == []
    assert told["least"] >= LEAST_PX
    assert told["plots"] == 5  # one of each, for this width
    assert told["texts"] > 100


def measured(text: str, width: int, folder: Path) -> dict[str, Any]:
    open_page = re.sub(r'<meta http-equiv="Content-Security-Policy"[^>]*>', "", text)
    assert open_page != text
    inner = html.escape(open_page.replace("</body>", MEASURE))  # in a frame, because windows have at least 500 px
    frame = f'<iframe style="border: 0; width: {width}px; height: 2000px" srcdoc="{inner}"></iframe>'
    (folder / "page.html").write_text(f"<!DOCTYPE html><title></title>{frame}")
    data = f"--user-data-dir={folder / 'profile'}"
    address = (folder / "page.html").as_uri()
    command = [CHROMIUM or "", *FLAGS, data, "--window-size=1300,2000", "--hide-scrollbars", "--dump-dom", address]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title is not None
    found: dict[str, Any] = json.loads(html.unescape(title[1]))
    return found
