"""A bundle in one call, as an export writes it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from exporter.bundle import BundlePlan, Staging, finish_bundle


def write_bundle(plan: BundlePlan, destination: Path, *, force: bool = False, sources: Sequence[Path] = ()) -> Path:
    """The real path of the bundle; with a failed parity verdict that of `DESTINATION.rejected`."""
    with Staging(destination, force=force, sources=sources) as staging:
        finish_bundle(plan, staging.path)
        failed = any(artifact.parity.verdict == "failed" for artifact in plan.artifacts)
        return staging.reject() if failed else staging.commit()
