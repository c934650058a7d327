"""What a package must look like, what its inputs must look like, and what is refused with which error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from exporter.errors import InputError, UnsupportedError
from exporter.parity.mil import load_mlpackage
from exporter.parity.mil.proto import parse_model

DATA = "Data/com.apple.CoreML"
MODEL, WEIGHTS = f"{DATA}/model.mlmodel", f"{DATA}/weights/weight.bin"
TABLE = np.random.default_rng(6).standard_normal((20, 6)).astype(np.float16)


@pytest.fixture(scope="module")
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
        x = mb.mul(x=mb.layer_norm(x=mb.add(x=x, y=TABLE[:1]), axes=[-1]), y=scale)
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


def sample(length: int = 4) -> dict[str, np.ndarray]:
    return {"ids": np.arange(length, dtype=np.int32)[None], "scale": np.ones((1, 1, 6), np.float16)}


def run(path: Path) -> dict[str, np.ndarray]:
    model = load_mlpackage(path)
    return model.predict(sample(), model.new_state())


def test_the_description_is_read(original: Path) -> None:
    model = load_mlpackage(original)
    ids, scale = model.inputs
    assert (ids.name, ids.dtype, ids.shape, set(ids.enumerated)) == ("ids", "int32", (1, 4), {(1, 4), (1, 8)})
    assert (scale.name, scale.dtype, scale.shape, scale.enumerated, scale.ranges) == ("scale", "float16", (1, 1, 6), (), ())
    assert [(f.name, f.dtype) for f in model.outputs] == [("flat", "float16")]
    assert [(f.name, f.dtype, f.shape) for f in model.states] == [("count", "float16", (1,))]
    assert model.predict(sample(8), model.new_state())["flat"].shape == (1, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.zeros((1, 5), np.int32)}, r"\[1, 5\], the model takes one of \[1, 4\], \[1, 8\]"),
        ({"ids": np.zeros(4, np.int32)}, "one of"),
        ({"ids": np.zeros((1, 4), np.int64)}, "is int64, the model takes int32"),
        ({"scale": np.ones((1, 1, 6), np.float32)}, "is float32, the model takes float16"),
        ({"scale": np.ones((1, 6, 1), np.float16)}, r"takes \[1, 1, 6\]"),
        ({"other": np.zeros(1)}, "no such input"),
        ({"ids": None}, "missing"),
    ],
)  # fmt: skip
def test_inputs_that_core_ml_refuses(change: dict[str, Any], message: str, original: Path) -> None:
    model = load_mlpackage(original)
    inputs = {name: array for name, array in {**sample(), **change}.items() if array is not None}
    with pytest.raises(InputError, match=message):
        model.predict(inputs, model.new_state())


def test_all_wrong_inputs_are_named_at_once(original: Path) -> None:
    model = load_mlpackage(original)
    with pytest.raises(InputError) as caught:
        model.predict({"ids": np.zeros((1, 5), np.int32), "extra": np.zeros(1)}, model.new_state())
    assert [d.where for d in caught.value.diagnostics] == ["extra", "ids", "scale"]


def test_ranges_with_and_without_an_end(roundtrip: Any) -> None:
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import get_new_symbol, types

    shape = ct.Shape((ct.RangeDim(2, 5, default=3), ct.RangeDim(1, -1)))
    model = roundtrip(
        lambda x: mb.relu(x=x, name="y"),
        [mb.TensorSpec((get_new_symbol(), get_new_symbol()), types.fp32)],
        [ct.TensorType("x", shape, dtype=np.float32)],
    )
    (x,) = model.inputs
    assert (x.ranges, x.constraint()) == (((2, 5), (1, None)), "[2…5, 1…∞]")
    assert [x.accepts(s) for s in ((2, 1), (5, 10**6), (1, 1), (6, 1), (2, 0), (2,))] == [True, True, *[False] * 4]


def edit_manifest(package: Path, edit: Callable[[Any], Any]) -> None:
    manifest = package / "Manifest.json"
    manifest.write_text(json.dumps(edit(json.loads(manifest.read_text()))))


def repoint(part: str, path: str) -> Callable[[Any], Any]:
    def edit(manifest: Any) -> Any:
        for item in manifest["itemInfoEntries"].values():
            if item["path"].endswith(part):
                item["path"] = path
        return manifest

    return edit


def drop_weights(manifest: Any) -> Any:
    entries = manifest["itemInfoEntries"]
    return {**manifest, "itemInfoEntries": {k: v for k, v in entries.items() if v["name"] != "weights"}}


MANIFESTS: dict[str, tuple[Callable[[Any], Any], str]] = {
    "not an object": (lambda m: [m], "not a JSON object"),
    "no version": (lambda m: {**m, "fileFormatVersion": None}, "fileFormatVersion"),
    "future version": (lambda m: {**m, "fileFormatVersion": "2.0.0"}, "fileFormatVersion '2.0.0'"),
    "no items": (lambda m: {**m, "itemInfoEntries": 3}, "names no item"),
    "no root": (lambda m: {**m, "rootModelIdentifier": "x"}, "names no item"),
    "root is a list": (lambda m: {**m, "rootModelIdentifier": []}, "names no item"),
    "item without path": (lambda m: {**m, "itemInfoEntries": {"a": {"name": "x"}}}, "has no path"),
    "climbs out": (repoint("model.mlmodel", "../../../etc/passwd"), "not a path inside"),
    "absolute": (repoint("model.mlmodel", "/etc/passwd"), "not a path inside"),
    "zero byte": (repoint("model.mlmodel", "a\0b"), "not a path inside"),
    "windows": (repoint("model.mlmodel", "..\\x"), "not a path inside"),
    "empty": (repoint("model.mlmodel", ""), "not a path inside"),
    "too long": (repoint("model.mlmodel", "x" * 5000), "resolved|isn't there|can't read"),
    "elsewhere": (repoint("model.mlmodel", "com.apple.CoreML/other.mlmodel"), "isn't there"),
    "a folder": (repoint("model.mlmodel", "com.apple.CoreML/weights"), "not a file"),
    "weights not listed": (drop_weights, "doesn't list"),
}


@pytest.mark.parametrize("name", sorted(MANIFESTS))
def test_hostile_manifests(name: str, package: Path) -> None:
    edit, message = MANIFESTS[name]
    edit_manifest(package, edit)
    with pytest.raises(InputError, match=message):
        run(package)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff\xfe", b"[" * 100_000, b'{"a": NaN', b"null", b" " * (2 << 20)])
def test_manifests_that_are_no_json(content: bytes, package: Path) -> None:
    (package / "Manifest.json").write_bytes(content)
    with pytest.raises(InputError):
        run(package)


def test_links_out_of_the_package_are_refused(package: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    shutil.copytree(package / DATA / "weights", secret)
    shutil.rmtree(package / DATA / "weights")
    os.symlink(secret, package / DATA / "weights")
    with pytest.raises(InputError, match="leads out"):
        run(package)
    os.unlink(package / DATA / "weights")
    os.symlink(package / DATA / "weights", package / DATA / "weights")
    with pytest.raises(InputError):
        run(package)


@pytest.mark.parametrize("part", ["Manifest.json", "Data", MODEL, f"{DATA}/weights", WEIGHTS])
def test_missing_parts(part: str, package: Path) -> None:
    path = package / part
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    with pytest.raises(InputError):
        run(package)


def test_no_package_at_all(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("absent", "file", "."):
        with pytest.raises(InputError):
            load_mlpackage(tmp_path / name)


def edit_model(package: Path, edit: Callable[[Any], None]) -> None:
    path = package / MODEL
    model = parse_model(path.read_bytes(), "model")
    edit(model)
    path.write_bytes(model.SerializeToString())


def block(model: Any) -> Any:
    return model.mlProgram.functions["main"].block_specializations["CoreML8"]


def operation(model: Any, kind: str) -> Any:
    return next(op for op in block(model).operations if op.type == kind)


def test_unknown_ops_and_nested_blocks_are_listed_at_once(package: Path) -> None:
    def edit(model: Any) -> None:
        operation(model, "layer_norm").type = "warp"
        operation(model, "mul").type = "weft"
        operation(model, "gather").blocks.add()

    edit_model(package, edit)
    with pytest.raises(UnsupportedError) as caught:
        load_mlpackage(package)
    found = [(d.code, d.message, d.where) for d in caught.value.diagnostics]
    assert [code for code, _, _ in found] == ["mil.block", "mil.op", "mil.op"]
    assert ["'gather'" in found[0][1], "'warp'" in found[1][1], "'weft'" in found[2][1]] == [True] * 3
    assert all(where for _, _, where in found)


def test_another_function_and_the_default_one(package: Path) -> None:
    """A multi-function model: the description of each function stands under its name."""

    def edit(model: Any) -> None:
        program, description = model.mlProgram, model.description
        program.functions["long"].CopyFrom(program.functions["main"])
        del program.functions["main"]
        program.functions["short"].CopyFrom(program.functions["long"])
        short = program.functions["short"].block_specializations["CoreML8"]
        next(op for op in short.operations if op.type == "mul").type = "sub"
        for name in ("long", "short"):
            function = description.functions.add(name=name)
            for part in ("input", "output", "state"):
                getattr(function, part).extend(getattr(description, part))
        for part in ("input", "output", "state"):
            description.ClearField(part)
        description.defaultFunctionName = "short"

    edit_model(package, edit)
    models = [load_mlpackage(package, name) for name in ("long", "short", None)]
    assert [model.function.name for model in models] == ["long", "short", "short"]
    long, short, default = (model.predict(sample(), model.new_state())["flat"] for model in models)
    np.testing.assert_array_equal(short, default)
    assert not np.array_equal(long, short)
    with pytest.raises(InputError, match="describe 'main'"):
        load_mlpackage(package, "main")


def set_shape(tensor: Any, *sizes: int) -> None:
    del tensor.dimensions[:]
    tensor.rank = len(sizes)
    for size in sizes:
        tensor.dimensions.add().constant.size = size


def lut_of(model: Any) -> Any:
    return operation(model, "constexpr_lut_to_dense").inputs["lut"].arguments[0].value


def replace_value(model: Any, kind: str, operand: str, name: str) -> None:
    operation(model, kind).inputs[operand].arguments[0].name = name


SPECS: dict[str, tuple[Callable[[Any], None], str]] = {
    "blob offset": (lambda m: setattr(lut_of(m).blobFileValue, "offset", 128), "no blob here"),
    "blob offset beyond": (lambda m: setattr(lut_of(m).blobFileValue, "offset", 1 << 40), "too early"),
    "blob file": (lambda m: setattr(lut_of(m).blobFileValue, "fileName", "/etc/passwd"), "not relative to the model"),
    "blob climbs": (lambda m: setattr(lut_of(m).blobFileValue, "fileName", "@model_path/../../x"), "not a path inside"),
    "blob absent": (lambda m: setattr(lut_of(m).blobFileValue, "fileName", "@model_path/weights/x"), "no file"),
    "lut shape": (lambda m: set_shape(lut_of(m).type.tensorType, 4, 2, 8, 1), "8 entries"),
    "lut blocks": (lambda m: set_shape(lut_of(m).type.tensorType, 1, 4, 16, 1), "don't divide"),
    "lut size": (lambda m: set_shape(lut_of(m).type.tensorType, 4, 1, 16, 2), "values of fp16 take"),
    "lut too large": (lambda m: set_shape(lut_of(m).type.tensorType, 1 << 30, 1 << 30), "too large"),
    "undefined name": (lambda m: replace_value(m, "mul", "x", "nothing"), "before it is defined"),
    "state as a tensor": (lambda m: replace_value(m, "mul", "x", "count"), "used as a tensor"),
    "reads a tensor": (lambda m: replace_value(m, "read_state", "input", "scale"), "no state"),
    "other types": (lambda m: replace_value(m, "mul", "y", "ids"), "different types"),
    "unknown operand": (lambda m: operation(m, "mul").inputs["z"].CopyFrom(operation(m, "mul").inputs["x"]), "operand z"),
    "lacks an operand": (lambda m: operation(m, "mul").inputs.pop("x"), "lacks its operand x"),
    "two values": (lambda m: operation(m, "mul").inputs["x"].arguments.add(name="ids"), "2 values|different types"),
    "defined twice": (lambda m: setattr(operation(m, "mul").outputs[0], "name", "ids"), "defined twice"),
    "declared shape": (lambda m: set_shape(operation(m, "mul").outputs[0].type.tensorType, 1, 7, 6), "gives shape"),
    "declared dtype": (lambda m: setattr(operation(m, "gather").outputs[0].type.tensorType, "dataType", 23), "declared int32"),
    "strange dtype": (lambda m: setattr(operation(m, "gather").outputs[0].type.tensorType, "dataType", 99), "no data type 99"),
    "no outputs": (lambda m: operation(m, "mul").ClearField("outputs"), "before it is defined|results"),
    "undefined output": (lambda m: block(m).outputs.append("nothing"), "not defined"),
    "state output": (lambda m: block(m).outputs.append("count"), "not defined"),
    "no opset": (lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML99"), "no block for its opset"),
    "described shape": (lambda m: m.description.input[1].type.multiArrayType.shape.__setitem__(2, 7), "described with shape"),
    "described dtype": (lambda m: setattr(m.description.input[1].type.multiArrayType, "dataType", 65568), "described as float32"),
    "described output": (lambda m: setattr(m.description.output[0], "name", "other"), "outputs"),
    "described output dtype": (lambda m: setattr(m.description.output[0].type.multiArrayType, "dataType", 131104), "described as int32"),
    "described input": (lambda m: m.description.input.add(name="third").type.multiArrayType.MergeFrom(m.description.input[1].type.multiArrayType), "inputs"),
    "an image": (lambda m: m.description.input[1].type.imageType.SetInParent(), "no imageType features"),
    "no program": (lambda m: m.ClearField("mlProgram"), "not an ML Program"),
}  # fmt: skip


@pytest.mark.parametrize("name", sorted(SPECS))
def test_specifications_that_contradict_themselves(name: str, package: Path) -> None:
    edit, message = SPECS[name]
    edit_model(package, edit)
    with pytest.raises((InputError, UnsupportedError), match=message):
        run(package)


def test_truncated_weights(package: Path) -> None:
    weights = package / WEIGHTS
    whole = weights.read_bytes()
    for size in range(0, len(whole), 24):
        weights.write_bytes(whole[:size])
        with pytest.raises(InputError):
            load_mlpackage(package)


def test_truncated_specification(package: Path) -> None:
    model = package / MODEL
    whole = model.read_bytes()
    for size in range(0, len(whole), 41):
        model.write_bytes(whole[:size])
        with pytest.raises((InputError, UnsupportedError)):
            run(package)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_damaged_bytes_never_raise_anything_else(data: st.DataObject, package: Path, original: Path) -> None:
    """Bytes of the specification or of the weights changed at random: a clear error, or a model that still runs."""
    part = data.draw(st.sampled_from([MODEL, MODEL, MODEL, WEIGHTS, "Manifest.json"]))
    whole = bytearray((original / part).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    (package / part).write_bytes(whole)
    try:
        run(package)
    except (InputError, UnsupportedError):
        pass
    finally:
        (package / part).write_bytes((original / part).read_bytes())


def test_reading_imports_no_coremltools_and_prints_nothing(original: Path) -> None:
    """coremltools itself takes seconds to import and warns on every machine that isn't a Mac."""
    script = (
        "import sys; from pathlib import Path; from exporter.parity.mil import load_mlpackage\n"
        f"load_mlpackage(Path({str(original)!r}))\n"
        "assert 'coremltools' not in sys.modules\n"
        "import logging; logging.disable(logging.CRITICAL)\n"
        "from coremltools.proto import Model_pb2\n"
        f"Model_pb2.Model.FromString(Path({str(original / MODEL)!r}).read_bytes())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
