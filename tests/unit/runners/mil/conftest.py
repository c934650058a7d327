"""Builds small ML Programs with coremltools, saves them as coremltools does, and reads them back."""

from __future__ import annotations

import logging
import shutil
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exporter.runners.mil import MilModel, load_mlpackage


def _save(body: Callable[..., Any], specs: Sequence[Any], path: Path, inputs: Sequence[Any] | None = None) -> Path:
    logging.getLogger("coremltools").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import coremltools as ct
        from coremltools.converters.mil.mil import Builder as mb

        program = mb.program(input_specs=list(specs), opset_version=ct.target.iOS18)(body)
        model = ct.convert(
            program,
            convert_to="mlprogram",
            minimum_deployment_target=ct.target.iOS18,
            pass_pipeline=ct.PassPipeline.EMPTY,
            inputs=inputs,
            skip_model_load=True,
        )
        model.save(str(path))
    return path


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    """save(body, input specs, path, inputs=None): the path of a package whose program `body` builds."""
    return _save


@pytest.fixture(scope="session")
def roundtrip(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., MilModel]:
    """roundtrip(body, input specs): what `body` builds, saved and read back."""

    def make(body: Callable[..., Any], specs: Sequence[Any], inputs: Sequence[Any] | None = None) -> MilModel:
        return load_mlpackage(_save(body, specs, tmp_path_factory.mktemp("package") / "m.mlpackage", inputs))

    return make


def _spec(array: np.ndarray) -> Any:
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    kinds = {"float16": types.fp16, "float32": types.fp32}
    return mb.TensorSpec(array.shape, kinds.get(array.dtype.name, types.int32))


@pytest.fixture(scope="session")
def evaluate(roundtrip: Callable[..., MilModel]) -> Callable[..., dict[str, Any]]:
    """evaluate(body, arrays): builds `body(values)`, a dict of outputs by name from a dict of inputs by name, saves it,
    reads it back and runs it. Core ML has neither bool nor narrow inputs and outputs: those go through int32.
    """

    def run(body: Callable[[dict[str, Any]], dict[str, Any]], arrays: dict[str, np.ndarray], **options: Any) -> Any:
        from coremltools.converters.mil.mil import Builder as mb
        from coremltools.converters.mil.mil import types

        logging.getLogger("coremltools").setLevel(logging.ERROR)
        names = sorted(arrays)
        plain = (np.float16, np.float32, np.int32)

        def program(*values: Any) -> tuple[Any, ...]:
            given = dict(zip(names, values, strict=True))
            for name in names:
                if arrays[name].dtype not in plain:
                    given[name] = mb.cast(x=given[name], dtype=arrays[name].dtype.name)
            results = []
            for name, value in body(given).items():
                wide = value.dtype in (types.fp16, types.fp32, types.int32)
                results.append(mb.identity(x=value, name=name) if wide else mb.cast(x=value, dtype="int32", name=name))
            return tuple(results)

        parameters = ", ".join(names)
        scope: dict[str, Any] = {"program": program}
        exec(f"def made({parameters}): return program({parameters})", scope)  # mb.program names inputs by the signature
        model = roundtrip(scope["made"], [_spec(arrays[name]) for name in names])
        wide = {n: a if a.dtype in plain else a.astype(np.int32) for n, a in arrays.items()}
        return model.predict(wide, **options)

    return run


@pytest.fixture(scope="session")
def original(save: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder-like program: two inputs of enumerated lengths, a palettized table, a state."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

    def body(ids: Any, scale: Any, count: Any) -> Any:
        indices = np.random.default_rng(1).integers(0, 16, (20, 6)).astype(np.uint8).astype(types.np_uint4_dtype)
        lut = np.random.default_rng(2).standard_normal((4, 1, 16, 1)).astype(np.float16)
        table = mb.constexpr_lut_to_dense(indices=indices, lut=lut, name="table")
        x = mb.gather(x=table, indices=ids, axis=0)
        mb.coreml_update_state(state=count, value=mb.add(x=mb.read_state(input=count), y=np.ones(1, np.float16)))
        x = mb.mul(x=mb.layer_norm(x=mb.add(x=x, y=np.linspace(-1, 1, 6, dtype=np.float16)[None]), axes=[-1]), y=scale)
        return mb.reshape(x=x, shape=[1, -1], name="flat")

    length = get_new_symbol()
    specs = [
        mb.TensorSpec((1, length), types.int32),
        mb.TensorSpec((1, 1, 6), types.fp16),
        mb.StateTensorSpec((1,), types.fp16),
    ]
    shapes = ct.EnumeratedShapes([(1, 4), (1, 8)], default=(1, 4))
    inputs = [ct.TensorType("ids", shapes, dtype=np.int32), ct.TensorType("scale", (1, 1, 6), dtype=np.float16)]
    return save(body, specs, tmp_path_factory.mktemp("original") / "m.mlpackage", inputs)


@pytest.fixture
def package(original: Path, tmp_path: Path) -> Path:
    """A copy to spoil."""
    return Path(shutil.copytree(original, tmp_path / "m.mlpackage"))
