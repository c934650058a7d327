"""`bom.cdx.json`: what the bundle is made of, as CycloneDX 1.6."""

from __future__ import annotations

import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from exporter.bundle.canonical import canonical_json
from exporter.errors import InputError

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

BOM = "bom.cdx.json"
_NAMESPACE = uuid.UUID("3b0f7f3c-6a53-5a0e-9d55-0c6f6d1f7c11")  # any fixed one: the serial number is then the content's
# SPDX ids of licences that models come under; CycloneDX takes ids from SPDX's list only, other names as names.
_SPDX = frozenset(
    {
        "AGPL-3.0", "Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0",
        "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0", "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0",
        "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0", "CDLA-Permissive-2.0", "EUPL-1.2", "GPL-2.0", "GPL-3.0",
        "ISC", "LGPL-2.1", "LGPL-3.0", "MIT", "MPL-2.0", "OFL-1.1", "Unlicense",
    }
)  # fmt: skip


def sbom(manifest: Manifest, hashes: Mapping[str, str]) -> bytes:
    """The file. hashes: path → SHA-256 of every file in the bundle so far.

    The serial number is a function of the content. A timestamp is in it only when SOURCE_DATE_EPOCH is set.
    """
    files = [
        {
            "type": "file",
            "bom-ref": f"file:{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": hashes[path]}],
            "properties": [{"name": "kogata:artifact", "value": artifact.path}],
        }
        for artifact in manifest.artifacts
        for path in sorted(artifact.files)
    ]
    tools = [
        {"type": "application", "name": name, "version": version} for name, version in sorted(manifest.tools.items())
    ]
    model = {"type": "machine-learning-model", "bom-ref": "model", "name": manifest.name}
    bom: dict[str, Any] = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "tools": {"components": tools},
            "component": model | _licenses(manifest) | {"pedigree": {"ancestors": [_source(manifest)]}},
        },
        "components": files,
        "dependencies": [{"ref": "model", "dependsOn": [file["bom-ref"] for file in files]}],
    }
    timestamp = source_date()
    if timestamp is not None:
        bom["metadata"]["timestamp"] = timestamp.strftime("%Y-%m-%dT%H:%M:%SZ")
    serial = uuid.uuid5(_NAMESPACE, canonical_json(bom).decode("utf-8"))
    return canonical_json({**bom, "serialNumber": f"urn:uuid:{serial}"})


def source_date() -> datetime | None:
    """SOURCE_DATE_EPOCH (reproducible-builds.org): the only clock that an output may show. InputError if malformed."""
    value = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not value:
        return None
    try:
        return datetime.fromtimestamp(int(value), UTC)
    except (ValueError, OverflowError, OSError):
        raise InputError.of(
            "environment.source-date-epoch", "must be a whole number of seconds since 1970", where="SOURCE_DATE_EPOCH"
        ) from None


def _source(manifest: Manifest) -> dict[str, Any]:
    source = manifest.source
    found: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": "source",
        "name": source.repo or f"checkpoint of {manifest.name}",
        # Of a listing of several files' hashes, hence no "hash" of this component.
        "properties": [{"name": "kogata:digest", "value": source.digest}],
    }
    if source.revision:
        found["version"] = source.revision
    return found | _licenses(manifest)


def _licenses(manifest: Manifest) -> dict[str, Any]:
    name = manifest.source.license
    if name is None:
        return {}
    return {"licenses": [{"license": {"id" if name in _SPDX else "name": name}}]}
