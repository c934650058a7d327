"""MIL program to `.mlpackage`, with bytes that depend on nothing but the program."""

from __future__ import annotations

import contextlib
import io
import json
import logging
import os
import shutil
import uuid
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from exporter.lower.coreml.program import CoreMLProgram

MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
_NAMESPACE = uuid.UUID("6f1c2c0e-6f2a-5f0e-9a6b-9b3f0c1d2e4a")  # any fixed one: ids are then a function of the path


def write_package(program: CoreMLProgram, path: Path, metadata: Mapping[str, str], license_: str | None) -> None:
    """Writes `path` (….mlpackage). coremltools draws random ids, leaves map order open and notes the date: not here.

    metadata: the user-defined entries, readable through `MLModel.modelDescription.metadata` on the phone.
    """
    with quiet_coremltools():
        import coremltools as ct

        model = ct.convert(
            program.program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            inputs=list(program.inputs),
            outputs=list(program.outputs),
            pass_pipeline=ct.PassPipeline.EMPTY,  # typed and laid out already: passes could only undo that
            skip_model_load=True,
        )
        spec = model.get_spec()
    weights = Path(model.weights_dir)
    spec.description.metadata.userDefined.clear()
    spec.description.metadata.userDefined.update(dict(sorted(metadata.items())))
    if license_:
        spec.description.metadata.license = license_
    data = path / "Data"
    (data / "com.apple.CoreML").mkdir(parents=True)
    (data / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    shutil.copytree(weights, data / WEIGHTS)
    for entry in (path, *path.rglob("*")):
        os.chmod(entry, 0o755 if entry.is_dir() else 0o644)
    (path / "Manifest.json").write_text(_manifest(), encoding="utf-8")


def _manifest() -> str:
    """The package's table of contents, in the layout that Core ML's own ModelPackage writes."""
    entries = {
        str(uuid.uuid5(_NAMESPACE, item)).upper(): {
            "author": "com.apple.CoreML",
            "description": description,
            "name": item.rsplit("/", 1)[-1],
            "path": item,
        }
        for item, description in ((MODEL, "CoreML Model Specification"), (WEIGHTS, "CoreML Model Weights"))
    }
    root = str(uuid.uuid5(_NAMESPACE, MODEL)).upper()
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": root}
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Keeps coremltools' progress bars and its remarks about this platform away from the user."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
