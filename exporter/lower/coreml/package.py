"""Writes a MIL program as an `.mlpackage`, reproducibly: equal programs give equal bytes."""

from __future__ import annotations

import contextlib
import errno
import io
import json
import logging
import os
import shutil
import tempfile
import uuid
import warnings
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.lower.coreml.weight_file import deferred_places, write_weights
from exporter.machine import umask

if TYPE_CHECKING:
    from exporter.lower.coreml.program import CoreMLProgram

MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
WEIGHT_FILE = "weight.bin"
CLASS_LABEL, PROBABILITIES = (
    "classLabel",
    "probabilities",
)  # coremltools derives a classifier's output names from the first
_NAMESPACE = uuid.UUID("6f1c2c0e-6f2a-5f0e-9a6b-9b3f0c1d2e4a")  # any fixed value, so that ids depend only on the path


def write_package(program: CoreMLProgram, path: Path, metadata: Mapping[str, str], license_: str | None) -> None:
    """Writes the package `path` (….mlpackage), without coremltools' random ids, random map order and date.

    metadata: user-defined entries; apps read them through `MLModel.modelDescription.metadata`. Raises OSError if the
    package can't be written; an incomplete package isn't removed.
    """
    data = path / "Data"
    (data / WEIGHTS).mkdir(parents=True)
    with quiet_coremltools():
        spec = _with_temporary_files(path.parent, lambda: _convert(program, data / WEIGHTS / WEIGHT_FILE))
    spec.description.metadata.userDefined.clear()
    spec.description.metadata.userDefined.update(dict(sorted(metadata.items())))
    if license_:
        spec.description.metadata.license = license_
    (data / MODEL).write_bytes(spec.SerializeToString(deterministic=True))
    weights = (data / WEIGHTS / WEIGHT_FILE).exists()
    if not weights:  # small constants are in the program; git and zip files lose an empty folder
        (data / WEIGHTS).rmdir()
    allowed = ~umask()  # coremltools' files come from a private temporary folder
    for entry in (path, *path.rglob("*")):
        os.chmod(entry, (0o777 if entry.is_dir() else 0o666) & allowed)
    (path / "Manifest.json").write_text(_manifest(weights), encoding="utf-8")


def _convert(program: CoreMLProgram, weight_file: Path) -> Any:
    """The program as a `Model` message. Its large constants, if any, are written to `weight_file`."""
    import coremltools as ct

    deferred = deferred_places(program.program)
    labels = ct.ClassifierConfig(list(program.classes), CLASS_LABEL, PROBABILITIES) if program.classes else None
    model = ct.convert(
        program.program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        inputs=list(program.inputs),
        outputs=None if program.classes else list(program.outputs),  # a classifier's outputs are in the program
        classifier_config=labels,
        pass_pipeline=ct.PassPipeline.EMPTY,  # types and layouts are final; coremltools' passes would change them
        skip_model_load=True,
    )
    spec = model.get_spec()
    stand_ins = Path(model.weights_dir) / WEIGHT_FILE
    if stand_ins.exists():
        write_weights(spec.mlProgram, deferred, stand_ins, weight_file)
    return spec


def _with_temporary_files(folder: Path, convert: Callable[[], Any]) -> Any:
    """Calls `convert` with coremltools' temporary files in `folder`, and removes them.

    `folder` is on the package's disk. By default coremltools uses the system's temporary folder; if that is full, it
    fails without a reason and leaves files behind.
    """
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=".coremltools-", dir=folder) as own:
        tempfile.tempdir = own
        try:
            return convert()
        except (OSError, RuntimeError) as error:
            in_words = isinstance(error, RuntimeError)  # coremltools' C++ libraries raise only RuntimeError
            if in_words and not any(words in str(error) for words in ("[MIL FileWriter]", "filesystem error")):
                raise
            written = sum(file.stat().st_size for file in Path(own).rglob("*") if file.is_file())
            code = (
                errno.ENOSPC if shutil.disk_usage(folder).free < written + 4096 else errno.EIO
            )  # coremltools makes a copy
            error.__traceback__ = None  # its frames keep files open that must be removed before their folder
            if in_words:
                raise OSError(code, os.strerror(code), str(folder)) from error
            raise
        finally:
            tempfile.tempdir = usual


def _manifest(weights: bool) -> str:
    """The package's Manifest.json, in the layout of Core ML's ModelPackage. weights: whether it has a weight file."""
    items = [(MODEL, "CoreML Model Specification"), *([(WEIGHTS, "CoreML Model Weights")] if weights else [])]
    entries = {
        str(uuid.uuid5(_NAMESPACE, item)).upper(): {
            "author": "com.apple.CoreML",
            "description": description,
            "name": item.rsplit("/", 1)[-1],
            "path": item,
        }
        for item, description in items
    }
    root = str(uuid.uuid5(_NAMESPACE, MODEL)).upper()
    manifest = {"fileFormatVersion": "1.0.0", "itemInfoEntries": entries, "rootModelIdentifier": root}
    return json.dumps(manifest, indent=4, sort_keys=True) + "\n"


@contextlib.contextmanager
def quiet_coremltools() -> Iterator[None]:
    """Silences coremltools' progress bars and its warnings about this platform."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.setLevel(level)
