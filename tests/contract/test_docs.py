"""What the docs say of the command is what the command says of itself."""

from __future__ import annotations

import re
from pathlib import Path

from exporter.cli.main import app
from exporter.cli.reference import pages

ROOT = Path(__file__).parents[2]


def test_generated_pages_are_current() -> None:
    for name, text in pages().items():
        assert (ROOT / "docs" / name).read_text(encoding="utf-8") == text, f"docs/{name}: run `make docs`"


def test_readme_names_every_command_and_folder() -> None:
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"kogata {command.name}" in readme
    folders = [p for p in (ROOT / "exporter").iterdir() if p.is_dir() and not p.name.startswith("_")]
    for folder in folders:
        assert f"exporter/{folder.name}/" in readme


def test_links_lead_somewhere() -> None:
    for page in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("samples/*/README.md")]:
        for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"
