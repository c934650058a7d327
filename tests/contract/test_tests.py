"""How tests are laid out: as the package is, and no test module takes anything from another one."""

import re
from pathlib import Path

import pytest
from support.paths import ROOT, TESTS

ELSEWHERE = {"samples": "samples"}  # folders of unit tests whose subject isn't in the package
IMPORTS = re.compile(r"^[^#\n]*\b(?:from|import)\s+(?:\w+\.)*(?:test_\w+|conftest)\b", re.MULTILINE)  # in scripts too


@pytest.mark.parametrize(
    ("line", "wrong"),
    [
        ("from unit.graph.test_fusions import NUMBERS", True),
        ('    "import sys; import conftest"', True),
        ("from unit.graph import test_fusions", True),
        ("import pytest  # not from test_fusions import", False),
    ],
)
def test_the_rule_finds_what_it_should(line: str, wrong: bool) -> None:
    assert bool(IMPORTS.search(line)) == wrong


def test_no_test_module_imports_another() -> None:
    files = [path for path in TESTS.rglob("*.py") if path != Path(__file__)]
    assert len(files) > 100
    assert [str(path.relative_to(ROOT)) for path in files if IMPORTS.search(path.read_text())] == []


def test_each_folder_of_unit_tests_is_a_folder_of_the_package() -> None:
    unit = TESTS / "unit"
    folders = {path.parent.relative_to(unit).as_posix() for path in unit.rglob("test_*.py")} - {"."}
    missing = [name for name in sorted(folders) if not (ROOT / ELSEWHERE.get(name, f"exporter/{name}")).is_dir()]
    assert missing == []


def test_each_loose_unit_test_is_of_a_module_of_the_package() -> None:
    modules = {f"test_{path.stem}.py" for path in (ROOT / "exporter").glob("*.py")}
    assert {path.name for path in (TESTS / "unit").glob("test_*.py")} <= modules
