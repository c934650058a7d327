"""The command in hostile surroundings: a stdout that can't be written, links and pipes in a bundle, odd contexts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from support.checkpoints import tiny_bert, tiny_llama, write_json
from support.command import kogata as kogata_here

KOGATA = [sys.executable, "-m", "exporter"]


def kogata(*arguments: object, shell_tail: str = "", **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command in a process of its own; `shell_tail` stands behind it in bash."""
    words = [*KOGATA, *map(str, arguments)]
    if shell_tail:
        words = ["bash", "-c", f'"$@" {shell_tail}', "bash", *words]
    settings = {**os.environ, "NO_PROGRESS": "1", **environment}
    return subprocess.run(
        words, capture_output=True, text=True, encoding="utf-8", env=settings, timeout=120, check=False
    )


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of a decoder with room for 8 tokens: prompts are cut, and greedy continuations end early."""
    root = tmp_path_factory.mktemp("small")
    tiny_llama(root / "checkpoint", max_position_embeddings=8)
    assert kogata_here("export", root / "checkpoint", "-o", root / "bundle", "--bits", 8, "-q") == 0
    return root / "bundle"


def test_a_context_smaller_than_a_continuation_passes_full_parity(bundle: Path) -> None:
    assert json.loads((bundle / "parity" / "report.json").read_text())["verdict"] == "passed"


@pytest.mark.parametrize("arguments", [("targets",), ("--help",), ("--version",)])
def test_a_full_disk_behind_stdout_is_one_line(arguments: tuple[str, ...]) -> None:
    if not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    done = kogata(*arguments, shell_tail="> /dev/full")
    assert done.returncode == 2
    assert done.stderr == "error: the report can't be written to stdout: No space left on device\n"


@pytest.mark.parametrize(("arguments", "code"), [(("targets",), 0), (("targets", "nope"), 2)])
def test_a_reader_that_left_does_not_change_the_exit_code(arguments: tuple[str, ...], code: int) -> None:
    done = kogata(*arguments, shell_tail="| true; exit ${PIPESTATUS[0]}")
    assert done.returncode == code
    assert not done.stderr or (code, done.stderr[:6]) == (2, "error:")  # the report's own error, none about writing
    assert "stdout" not in done.stderr


def test_a_closed_stdout_does_not_change_the_exit_code() -> None:
    assert kogata("targets", shell_tail=">&-").returncode == 0
    assert kogata("targets", "nope", shell_tail=">&-").returncode == 2


def test_letters_that_the_locale_lacks() -> None:
    assert "'n\\xf6pe'" in kogata("targets", "nöpe", PYTHONIOENCODING="ascii").stderr
    told = json.loads(kogata("targets", "nöpe", "--format", "json", PYTHONIOENCODING="ascii").stdout)
    assert "'nöpe'" in told["diagnostics"][0]["message"]


def _link(path: Path) -> None:
    target = path.rename(path.parents[2] / path.name)
    path.symlink_to(target)


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("name", ["onnx/model.onnx", "tokenizer/tokenizer.json"])
@pytest.mark.parametrize("change", [_link, _pipe])
def test_run_opens_neither_links_nor_pipes(
    bundle: Path, tmp_path: Path, name: str, change: Callable[[Path], None]
) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    change(copy / name)
    done = kogata("run", copy, "a")
    assert done.returncode == 2
    assert f"error: {name}: is " in done.stderr


def test_inspect_reads_no_manifest_through_a_link(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    (copy / "manifest.json").unlink()
    (copy / "manifest.json").symlink_to(bundle / "manifest.json")
    done = kogata("inspect", copy)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.endswith("error: manifest.json: is a symbolic link; a bundle must contain only files\n")


@pytest.mark.parametrize("content", [b"", b"\xff" * 300, b"\x08\x07"])
def test_inspect_of_what_is_no_onnx_file(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "x.onnx"
    path.write_bytes(content)
    assert kogata("inspect", path).returncode == 2


def test_run_stops_where_generation_config_says(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "bundle"
    shutil.copytree(bundle, copy)
    (copy / "tokenizer" / "chat_template.jinja").unlink()
    write_json(copy / "tokenizer" / "generation_config.json", {"max_new_tokens": 2, "eos_token_id": 330})
    assert json.loads(kogata("run", copy, "a", "--format", "json").stdout)["result"]["tokens"] == 2


def test_a_task_and_another_kind_of_model_are_told_apart(bundle: Path, tmp_path: Path) -> None:
    encoder = tiny_bert(tmp_path / "bert")
    (tmp_path / "task.jsonl").write_text('{"prompt": "a", "expected": "b"}\n')
    done = kogata("export", encoder, "-o", tmp_path / "out", "--task", tmp_path / "task.jsonl")
    assert done.returncode == 2
    assert "this model is for feature-extraction" in done.stderr
    assert not (tmp_path / "out").exists()
    done = kogata("check", bundle, "--against", encoder)
    assert done.returncode == 2
    assert "this checkpoint is for feature-extraction, and the bundle for text-generation" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    "template",
    [
        "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
        "{{ lipsum(99999999) }}",
        "{{ '%9999999999d' % 1 }}",
        "{{ 'a' | center(9999999999) }}",
        "{% set n = namespace(t='aa') %}{% for i in range(60) %}{% set n.t = n.t ~ n.t %}{% endfor %}{{ n.t }}",
    ],
)
def test_a_hostile_chat_template_ends_an_export(template: str, tmp_path: Path) -> None:
    folder, started = tiny_llama(tmp_path / "tiny"), time.monotonic()
    (folder / "chat_template.jinja").write_text(template)
    asked = ("--to", "onnx", "--bits", 4, "--calibrate", "none", "--parity", "quick", "-q")
    assert kogata("export", folder, "-o", tmp_path / "out", *asked).returncode == 2
    assert time.monotonic() - started < 60
    assert not (tmp_path / "out").exists()


def test_wrong_options_are_named_together(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ("--shape", "x", "--bpw", "-1", "--for", "iphne", "--calibrate", "no.txt", "--device", "gpu")
    assert kogata_here("export", tmp_path / "x.onnx", "-o", tmp_path / "out", *options, "-q", "--format", "json") == 2
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert {problem["code"] for problem in found} == {
        "options.shape", "options.budget", "targets.unknown", "options.device",
    }  # fmt: skip
