"""`bom.cdx.json`: what the bundle is made of, as CycloneDX 1.6."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from exporter.bundle.canonical import canonical_json
from exporter.errors import InputError

if TYPE_CHECKING:
    from exporter.bundle.manifest import Manifest

BOM = "bom.cdx.json"
_NAMESPACE = uuid.UUID("3b0f7f3c-6a53-5a0e-9d55-0c6f6d1f7c11")  # arbitrary, but must never change


def sbom(manifest: Manifest, hashes: Mapping[str, str]) -> bytes:
    """The file. hashes: path → SHA-256 of every file in the bundle so far.

    The serial number is a function of the content. A timestamp is in it only when SOURCE_DATE_EPOCH is set.
    """
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType, Pedigree
    from cyclonedx.model.license import DisjunctiveLicense
    from cyclonedx.output.json import JsonV1Dot6
    from cyclonedx.spdx import is_supported_id

    source, license = manifest.source, manifest.source.license
    known = license is not None and is_supported_id(license)
    id, name = (license, None) if known else (None, license)  # ids come from SPDX's list only
    licenses = [] if license is None else [DisjunctiveLicense(id=id, name=name)]
    model = ComponentType.MACHINE_LEARNING_MODEL
    checkpoint = Component(
        type=model,
        bom_ref="source",
        name=source.repo or f"checkpoint of {manifest.name}",
        version=source.revision,
        licenses=licenses,
        # The digest covers a list of several files' hashes: it is not a "hash" of this component.
        properties=[Property(name="kogata:digest", value=source.digest)],
    )
    owners: dict[
        str, list[str]
    ] = {}  # two components of a model share the tokenizer; the library names twins at random
    for artifact in manifest.artifacts:
        for path in artifact.files:
            owners.setdefault(path, []).append(artifact.path)
    files = [
        Component(
            type=ComponentType.FILE,
            bom_ref=f"file:{path}",
            name=path,
            hashes=[HashType(alg=HashAlgorithm.SHA_256, content=hashes[path])],
            properties=[Property(name="kogata:artifact", value=artifact) for artifact in artifacts],
        )
        for path, artifacts in owners.items()
    ]
    bom = Bom(components=files)
    bom.metadata.component = Component(
        type=model, bom_ref="model", name=manifest.name, licenses=licenses, pedigree=Pedigree(ancestors=[checkpoint])
    )
    bom.metadata.tools.components.update(
        Component(type=ComponentType.APPLICATION, name=name, version=version)
        for name, version in manifest.tools.items()
    )
    bom.register_dependency(bom.metadata.component, files)
    bom.metadata.timestamp = source_date()  # type: ignore[assignment]  # else the library takes the time of day
    data = json.loads(JsonV1Dot6(bom).output_as_string())
    del data["serialNumber"]  # random
    serial = uuid.uuid5(_NAMESPACE, canonical_json(data).decode("utf-8"))
    return canonical_json({**data, "serialNumber": f"urn:uuid:{serial}"})


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
