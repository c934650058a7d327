"""Parses the model specification with coremltools' generated protobuf classes.

Importing coremltools takes some 3 s and prints what it can't load off macOS, and the generated modules need none of it:
they are loaded here as a package of their own, in some 30 ms. Where coremltools is loaded already, its own are used;
where it is loaded afterwards, both share the message classes, since protobuf knows a file that is registered twice.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

from exporter.errors import InputError, RuntimeMissingError

_ALIAS = "_kogata_coreml_proto"


def parse_model(data: bytes, where: str) -> Any:
    """`data` as a `CoreML.Specification.Model` message. Raises InputError when it isn't one."""
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        return _model_module().Model.FromString(data)
    except (DecodeError, RecursionError) as error:
        raise InputError.of("mlmodel.damaged", "not a Core ML model specification", where=where) from error


def _model_module() -> Any:
    if "coremltools.proto.Model_pb2" in sys.modules:
        return sys.modules["coremltools.proto.Model_pb2"]
    if _ALIAS not in sys.modules:
        sys.modules[_ALIAS] = _load_package(_proto_folder())
    return importlib.import_module(f"{_ALIAS}.Model_pb2")


def _proto_folder() -> Path:
    found = importlib.util.find_spec("coremltools")  # a top-level name: looks it up without importing it
    for location in (found.submodule_search_locations if found else None) or ():
        folder = Path(location, "proto")
        if (folder / "__init__.py").is_file():
            return folder
    raise RuntimeMissingError.of(
        "runtime.coremltools", "coremltools is not installed", hint="pip install 'coremltools>=9,<10'"
    )


def _load_package(folder: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(
        _ALIAS, folder / "__init__.py", submodule_search_locations=[str(folder)]
    )
    if spec is None or spec.loader is None:
        raise RuntimeMissingError.of("runtime.coremltools", "coremltools' protobuf modules can't be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_ALIAS] = module  # the submodules that it imports look it up
    spec.loader.exec_module(module)
    return module
