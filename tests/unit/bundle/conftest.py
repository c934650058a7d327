"""Plans of small bundles, and what a folder holds."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from support.bundle_plans import make_decoder_plan, make_encoder_plan

from exporter.bundle import BundlePlan


@pytest.fixture
def decoder_plan(tmp_path: Path) -> BundlePlan:
    """A plan whose produced files lie in `tmp_path/made`."""
    return make_decoder_plan(tmp_path / "made")


@pytest.fixture
def encoder_plan(tmp_path: Path) -> BundlePlan:
    """As `decoder_plan`, of an encoder."""
    return make_encoder_plan(tmp_path / "made")


@pytest.fixture
def snapshot() -> Callable[[Path], dict[str, bytes]]:
    """Every file below a folder with its bytes; a folder's own entry ends with a slash."""

    def take(root: Path) -> dict[str, bytes]:
        return {
            str(p.relative_to(root)) + ("/" if p.is_dir() else ""): b"" if p.is_dir() else p.read_bytes()
            for p in sorted(root.rglob("*"))
        }

    return take
