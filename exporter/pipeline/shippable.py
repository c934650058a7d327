"""Which bundles may be shipped: those whose files are intact and that failed no gate."""

from __future__ import annotations

from exporter.bundle import Manifest, VerifyResult
from exporter.bundle.tree import printable
from exporter.errors import GateError


def require_shippable(found: VerifyResult) -> Manifest:
    """The manifest of a bundle that was verified. GateError where files differ or its verdict is failed."""
    found.require_ok()
    if found.manifest is None:
        raise RuntimeError("a bundle without findings has a manifest")
    if found.manifest.verdict == "failed":
        raise GateError.of(
            "bundle.failed",
            "this bundle failed a gate when it was exported",
            where=printable(str(found.path)),
            hint="don't ship it; `kogata verify` shows which gate",
        )
    return found.manifest
