"""Shell completion, through the entry point that the `kogata` script calls."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.command import kogata

from exporter.formats import FORMATS
from exporter.targets import load_targets

ROOT = Path(__file__).parents[3]


@pytest.mark.parametrize(
    ("words", "offered"),
    [
        ("ta", ["targets"]),
        ("targets pixel-", [name for name in load_targets() if name.startswith("pixel-")]),
        ("export x --for iphone-1", [name for name in load_targets() if name.startswith("iphone-1")]),
        ("export x --to ", list(FORMATS)),
        ("export x --parity q", ["quick"]),
        ("doctor --form", ["--format"]),
    ],
)
def test_the_command_answers_bash(
    words: str, offered: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("_KOGATA_COMPLETE", "complete_bash")
    monkeypatch.setenv("COMP_WORDS", f"kogata {words}")
    monkeypatch.setenv("COMP_CWORD", str(len(f"kogata {words}".split(" ")) - 1))
    assert kogata() == 0
    assert capsys.readouterr().out.split() == offered


def test_bash_completes_with_the_installed_script(tmp_path: Path) -> None:
    """`--install-completion` in a home of its own; then bash reads what it wrote and completes a target."""
    script = f"#!{sys.executable}\nimport sys\nfrom exporter.cli.main import main\nsys.argv[0] = 'kogata'\nmain()\n"
    command = tmp_path / "kogata"
    command.write_text(script)
    command.chmod(0o755)
    where = {"HOME": str(tmp_path), "PATH": f"{tmp_path}:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    complete = (
        "kogata --install-completion >/dev/null; source ~/.bashrc; complete -p kogata; "
        'COMP_WORDS=(kogata targets pix); COMP_CWORD=2; _kogata_completion kogata; echo "${COMPREPLY[@]}"'
    )
    done = subprocess.run(["bash", "-c", complete], env=where, capture_output=True, text=True, check=True)
    registered, offered = done.stdout.splitlines()
    assert registered == "complete -o default -F _kogata_completion kogata"
    assert offered.split() == [name for name in load_targets() if name.startswith("pix")]
    shown = subprocess.run(
        ["bash", "-c", "kogata --show-completion; true"], env=where, capture_output=True, text=True, check=True
    )
    assert shown.stdout.strip() == (tmp_path / ".bash_completions" / "kogata.sh").read_text().strip()
