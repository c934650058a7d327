"""The command, run in the test's own process."""

from __future__ import annotations

import sys

import pytest

from exporter.cli.main import main


def kogata(*arguments: object) -> int:
    """Its exit code."""
    argv, sys.argv = sys.argv, ["kogata", *map(str, arguments)]
    try:
        with pytest.raises(SystemExit) as ended:
            main()
    finally:
        sys.argv = argv
    return int(ended.value.code or 0)


def kogata_plain(*arguments: object) -> int:
    """Exports without calibration, which other tests are about."""
    return kogata(*arguments, *(("--calibrate", "none") if arguments[0] == "export" else ()))
