"""Tests that run the Swift package's command. They run only with `-m swift`, as `make test-ios` does."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from support.paths import ROOT

PACKAGE = ROOT / "ios-demo" / "KogataKit"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and leaves them out unless the command line asks for the marker."""
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.swift)
    if "swift" not in config.getoption("markexpr") and own:
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]


@pytest.fixture(scope="session")
def kogata_swift() -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `kogata-swift` with the arguments and the standard input given, as it was built."""
    swift = shutil.which("swift")
    assert swift is not None, "no swift on PATH: run make test-ios"

    def run(*words: str | Path, stdin: str = "") -> subprocess.CompletedProcess[str]:
        command = [swift, "run", "--package-path", PACKAGE, "--skip-build", "--quiet", "kogata-swift", *words]
        return subprocess.run(
            [str(word) for word in command], capture_output=True, text=True, check=False, cwd=ROOT, input=stdin
        )

    return run
