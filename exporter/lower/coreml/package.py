"""MIL program to `.mlpackage`, with bytes that depend on nothing but the program."""

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

if TYPE_CHECKING:
    from exporter.lower.coreml.program import CoreMLProgram

MODEL = "com.apple.CoreML/model.mlmodel"
WEIGHTS = "com.apple.CoreML/weights"
WEIGHT_FILE = "weight.bin"
CLASS_LABEL, PROBABILITIES = "classLabel", "probabilities"  # a classifier's outputs are called after the first
_NAMESPACE = uuid.UUID("6f1c2c0e-6f2a-5f0e-9a6b-9b3f0c1d2e4a")  # any fixed one: ids are then a function of the path


def write_package(program: CoreMLProgram, path: Path, metadata: Mapping[str, str], license_: str | None) -> None:
    """Writes `path` (….mlpackage). coremltools draws random ids, leaves map order open and notes the date: not here.

    metadata: the user-defined entries, readable through `MLModel.modelDescription.metadata` on the phone.
    Raises OSError when it can't be written; an unfinished package stays.
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
    for entry in (path, *path.rglob("*")):
        os.chmod(entry, 0o755 if entry.is_dir() else 0o644)
    (path / "Manifest.json").write_text(_manifest(), encoding="utf-8")


def _convert(program: CoreMLProgram, weight_file: Path) -> Any:
    """The program as a `Model` message, with its constants in `weight_file` (where it has large ones)."""
    import coremltools as ct

    deferred = deferred_places(program.program)
    labels = ct.ClassifierConfig(list(program.classes), CLASS_LABEL, PROBABILITIES) if program.classes else None
    model = ct.convert(
        program.program,
        convert_to="mlprogram",
        minimum_deployment_target=ct.target.iOS18,
        inputs=list(program.inputs),
        outputs=None if program.classes else list(program.outputs),  # a classifier's are the program's own
        classifier_config=labels,
        pass_pipeline=ct.PassPipeline.EMPTY,  # typed and laid out already: passes could only undo that
        skip_model_load=True,
    )
    spec = model.get_spec()
    stand_ins = Path(model.weights_dir) / WEIGHT_FILE
    if stand_ins.exists():
        write_weights(spec.mlProgram, deferred, stand_ins, weight_file)
    return spec


def _with_temporary_files(folder: Path, convert: Callable[[], Any]) -> Any:
    """Calls `convert`. What coremltools writes for a while goes into `folder`, and is removed.

    `folder` is on the disk that has to hold the package. By itself coremltools takes the system's temporary folder;
    where that is full it leaves files there, and gives no reason.
    """
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix=".coremltools-", dir=folder) as own:
        tempfile.tempdir = own
        try:
            return convert()
        except (OSError, RuntimeError) as error:
            in_words = isinstance(error, RuntimeError)  # coremltools' C++ libraries know no other
            if in_words and not any(words in str(error) for words in ("[MIL FileWriter]", "filesystem error")):
                raise
            written = sum(file.stat().st_size for file in Path(own).rglob("*") if file.is_file())
            code = errno.ENOSPC if shutil.disk_usage(folder).free < written + 4096 else errno.EIO  # it makes a copy
            error.__traceback__ = None  # its frames hold files that want to be removed before their folder
            if in_words:
                raise OSError(code, os.strerror(code), str(folder)) from error
            raise
        finally:
            tempfile.tempdir = usual


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
