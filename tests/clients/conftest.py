"""Tests that run other people's clients. They run only with `-m clients`, as `make test-clients` does.

They write the table of docs/clients.md: with KOGATA_WRITE_CLIENTS=1 into the page, else they compare with it.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from support.client_exports import Exported, export_decoder
from support.client_matrix import Matrix, Row
from support.paths import ROOT

from exporter.formats import Form

HERE = Path(__file__).parent
PAGE = ROOT / "docs" / "clients.md"
LOCK = HERE / "package-lock.json"
SECONDS = 300  # for one run of Node, far more than it takes
MATRIX = pytest.StashKey[Matrix]()


def pytest_configure(config: pytest.Config) -> None:
    config.stash[MATRIX] = Matrix()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and leaves them out unless the command line asks for the marker."""
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.clients)
    if "clients" not in config.getoption("markexpr") and own:
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]


@pytest.fixture
def record(request: pytest.FixtureRequest) -> Callable[..., None]:
    """Notes a row of the table: call it where the comparison has passed."""
    matrix = request.config.stash[MATRIX]
    return lambda *cells: matrix.add(Row(*cells))


def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    matrix = session.config.stash[MATRIX]
    if exitstatus != 0 or not matrix.rows:
        return
    text = PAGE.read_text(encoding="utf-8")
    if os.environ.get("KOGATA_WRITE_CLIENTS"):
        PAGE.write_text(matrix.written_into(text), encoding="utf-8")
    elif missing := matrix.missing_from(text):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED
        print("\ndocs/clients.md lacks what was measured; write it with `make clients-table`:", *missing, sep="\n")


@pytest.fixture(scope="session")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str, Form], Exported]:
    """Exports a family once for all clients: family and form → its bundle and the checkpoint's answers."""
    made: dict[tuple[str, Form], Exported] = {}

    def exported(family: str, form: Form) -> Exported:
        if (family, form) not in made:
            made[family, form] = export_decoder(family, tmp_path_factory.mktemp("decoder"), form)
        return made[family, form]

    return exported


@pytest.fixture(scope="session")
def node_folder() -> Path:
    """The folder with node_modules. Fails where it is absent: whoever asks for these tests wants them run."""
    digest = hashlib.sha256(LOCK.read_bytes()).hexdigest()[:12]
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "kogata" / f"clients-{digest}"
    assert (folder / "complete").exists(), f"{folder} is absent: run `make test-clients`, or tests/clients/install.sh"
    return folder


@pytest.fixture(scope="session")
def npm_version(node_folder: Path) -> Callable[[str], str]:
    """The exact version of an npm package that is installed."""
    return lambda name: str(json.loads((node_folder / "node_modules" / name / "package.json").read_text())["version"])


@pytest.fixture(scope="session")
def transformers_js(node_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., dict[str, Any]]:
    """Runs jobs in one process of Node; returns the result of each by its id."""

    def run(jobs: list[dict[str, Any]]) -> dict[str, Any]:
        file = tmp_path_factory.mktemp("jobs") / "jobs.json"
        file.write_text(json.dumps(jobs), encoding="utf-8")
        command = ["node", str(HERE / "run_transformers.mjs"), str(node_folder), str(file)]
        ended = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
        assert ended.returncode == 0, ended.stderr[-2000:]
        found = [json.loads(line) for line in ended.stdout.splitlines() if line.startswith('{"id"')]
        return {result["id"]: result for result in found}

    return run
