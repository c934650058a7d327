"""Tests that compile `Kogata.kt`. They run only with `-m kotlin`, as `make test-kotlin` does."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and leaves them out unless the command line asks for the marker."""
    own = [item for item in items if HERE in item.path.parents]
    for item in own:
        item.add_marker(pytest.mark.kotlin)
    if "kotlin" not in config.getoption("markexpr") and own:
        config.hook.pytest_deselected(items=own)
        items[:] = [item for item in items if item not in own]
