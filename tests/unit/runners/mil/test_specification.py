"""Model specifications and weights that are damaged, contradict themselves or hold what the runtime lacks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from support.mil.packages import MODEL, WEIGHTS, run

from exporter.errors import InputError, UnsupportedError
from exporter.pipeline.inspect import inspect_path
from exporter.runners.mil import load_mlpackage
from exporter.runners.mil.proto import parse_model


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


def test_inspect_lists_ops_that_the_runtime_lacks(save: Any, tmp_path: Path) -> None:
    """A program by somebody else, with a quantized weight, a choice between blocks, and ops that we never write."""
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    def body(x: Any) -> Any:
        data, scale = np.ones((4, 4), np.int8), np.ones((4, 1), np.float16)
        y = mb.linear(x=x, weight=mb.constexpr_blockwise_shift_scale(data=data, scale=scale))
        some = mb.greater(x=mb.reduce_max(x=y), y=np.float16(0))
        return mb.relu6(x=mb.cond(pred=some, _true_fn=lambda: mb.exp2(x=y), _false_fn=lambda: mb.identity(x=y)))

    path = save(body, [mb.TensorSpec((2, 4), types.fp16)], tmp_path / "foreign.mlpackage")
    with pytest.raises(UnsupportedError, match="no op 'constexpr_blockwise_shift_scale'"):
        load_mlpackage(path)
    (_, (_, _, ops)) = inspect_path(str(path), None).tables
    assert {kind for kind, _ in ops} >= {"constexpr_blockwise_shift_scale", "cond", "relu6", "linear"}


def test_another_function_and_the_default_one(save: Any, tmp_path: Path) -> None:
    """A multi-function model as coremltools writes it: weights are shared, each function has its own description."""
    import coremltools as ct
    from coremltools.converters.mil.mil import Builder as mb
    from coremltools.converters.mil.mil import types

    weight = np.random.default_rng(7).standard_normal((6, 4)).astype(np.float16)
    functions = ct.utils.MultiFunctionDescriptor()
    for name, rows in (("short", 1), ("long", 3)):
        specs = [mb.TensorSpec((rows, 4), types.fp16)]
        single = save(lambda x: mb.linear(x=x, weight=weight, name="y"), specs, tmp_path / f"{name}.mlpackage")
        functions.add_function(str(single), "main", name)
    functions.default_function_name = "long"
    path = tmp_path / "both.mlpackage"
    ct.utils.save_multifunction(functions, str(path))
    models = [load_mlpackage(path, name) for name in ("short", "long", None)]
    assert [model.function.name for model in models] == ["short", "long", "long"]
    assert [model.inputs[0].shape for model in models] == [(1, 4), (3, 4), (3, 4)]
    for model in models:
        x = np.eye(4, dtype=np.float16)[: model.inputs[0].shape[0]]
        (y,) = model.predict({"x": x}).values()
        np.testing.assert_array_equal(y, weight.T[: len(x)])
    with pytest.raises(InputError, match="describe 'main'"):
        load_mlpackage(path, "main")


def set_shape(tensor: Any, *sizes: int) -> None:
    del tensor.dimensions[:]
    tensor.rank = len(sizes)
    for size in sizes:
        tensor.dimensions.add().constant.size = size


def array_of(feature: Any) -> Any:
    return feature.type.multiArrayType


def set_type(op: Any, code: int) -> None:
    op.outputs[0].type.tensorType.dataType = code


def set_blob(model: Any, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(lut_of(model).blobFileValue, name, value)


def add_operand(op: Any, name: str) -> None:
    op.inputs[name].CopyFrom(op.inputs["x"])


def lut_of(model: Any) -> Any:
    return operation(model, "constexpr_lut_to_dense").inputs["lut"].arguments[0].value


def replace_value(model: Any, kind: str, operand: str, name: str) -> None:
    operation(model, kind).inputs[operand].arguments[0].name = name


SPECS: dict[str, tuple[Callable[[Any], None], str]] = {
    "blob offset": (lambda m: set_blob(m, offset=128), "no blob begins here"),
    "blob offset beyond": (lambda m: set_blob(m, offset=1 << 40), "too early"),
    "blob file": (lambda m: set_blob(m, fileName="/etc/passwd"), "not relative to the model"),
    "blob climbs": (lambda m: set_blob(m, fileName="@model_path/../../x"), "not a path inside"),
    "blob absent": (lambda m: set_blob(m, fileName="@model_path/weights/x"), "no file"),
    "lut shape": (lambda m: set_shape(lut_of(m).type.tensorType, 4, 2, 8, 1), "8 entries"),
    "lut blocks": (lambda m: set_shape(lut_of(m).type.tensorType, 1, 4, 16, 1), "along the first axis"),
    "lut size": (lambda m: set_shape(lut_of(m).type.tensorType, 4, 1, 16, 2), "values of fp16 take"),
    "lut too large": (lambda m: set_shape(lut_of(m).type.tensorType, 1 << 30, 1 << 30), "too large"),
    "undefined name": (lambda m: replace_value(m, "mul", "x", "nothing"), "before it is defined"),
    "state as a tensor": (lambda m: replace_value(m, "mul", "x", "count"), "used as a tensor"),
    "reads a tensor": (lambda m: replace_value(m, "read_state", "input", "scale"), "isn't a state"),
    "other types": (lambda m: replace_value(m, "mul", "y", "ids"), "different types"),
    "unknown operand": (lambda m: add_operand(operation(m, "mul"), "z"), "operand z"),
    "lacks an operand": (lambda m: operation(m, "mul").inputs.pop("x"), "lacks its operand x"),
    "two values": (lambda m: operation(m, "mul").inputs["x"].arguments.add(name="ids"), "2 values|different types"),
    "defined twice": (lambda m: setattr(operation(m, "mul").outputs[0], "name", "ids"), "defined twice"),
    "declared shape": (lambda m: set_shape(operation(m, "mul").outputs[0].type.tensorType, 1, 7, 6), "gives shape"),
    "declared dtype": (lambda m: set_type(operation(m, "gather"), 23), "declared int32|different types"),
    "precision on the way": (lambda m: set_type(operation(m, "gather"), 11), "turns fp16 into fp32"),
    "strange dtype": (lambda m: set_type(operation(m, "gather"), 99), "no data type 99"),
    "no outputs": (lambda m: operation(m, "mul").ClearField("outputs"), "before it is defined|results"),
    "undefined output": (lambda m: block(m).outputs.append("nothing"), "not defined"),
    "state output": (lambda m: block(m).outputs.append("count"), "not defined"),
    "no opset": (lambda m: setattr(m.mlProgram.functions["main"], "opset", "CoreML99"), "no block for its opset"),
    "described shape": (lambda m: array_of(m.description.input[1]).shape.__setitem__(2, 7), "described with shape"),
    "described dtype": (lambda m: setattr(array_of(m.description.input[1]), "dataType", 65568), "described as float32"),
    "described output": (lambda m: setattr(m.description.output[0], "name", "other"), "outputs"),
    "described output dtype": (
        lambda m: setattr(array_of(m.description.output[0]), "dataType", 131104),
        "described as int32",
    ),
    "described input": (
        lambda m: m.description.input.add(name="third").type.MergeFrom(m.description.input[1].type),
        "inputs",
    ),
    "an image": (lambda m: m.description.input[1].type.imageType.SetInParent(), "no imageType features"),
    "no program": (lambda m: m.ClearField("mlProgram"), "not an ML Program"),
}


@pytest.mark.parametrize("name", sorted(SPECS))
def test_specifications_that_contradict_themselves(name: str, package: Path) -> None:
    edit, message = SPECS[name]
    edit_model(package, edit)
    with pytest.raises((InputError, UnsupportedError), match=message):
        run(package)


def test_constants_are_given_decoded(original: Path) -> None:
    indices = np.random.default_rng(1).integers(0, 16, (20, 6))
    lut = np.random.default_rng(2).standard_normal((4, 16)).astype(np.float16)
    table = load_mlpackage(original).constant("table")
    np.testing.assert_array_equal(table, lut[np.arange(20)[:, None] // 5, indices])
    for name in ("flat", "nothing"):
        with pytest.raises(InputError, match="not constant"):
            load_mlpackage(original).constant(name)


def test_a_tower_of_constants_is_refused(package: Path) -> None:
    """Deep enough, it would exhaust Python's stack."""

    def edit(model: Any) -> None:
        operations, table = block(model).operations, operation(model, "constexpr_lut_to_dense")
        kept = [op for op in operations if op.type != table.type]
        tower = [table]
        for height in range(2000):
            above = type(table)(type=table.type)
            above.inputs["indices"].arguments.add(name=tower[-1].outputs[0].name)
            above.inputs["lut"].arguments.add(name=tower[-1].outputs[0].name)
            above.outputs.add(type=table.outputs[0].type, name=f"floor{height}")
            tower.append(above)
        copies = [type(table).FromString(op.SerializeToString()) for op in (*tower, *kept)]
        del operations[:]
        operations.extend(copies)
        replace_value(model, "gather", "x", "floor1999")

    edit_model(package, edit)
    with pytest.raises(InputError, match="2 deep"):
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
    with contextlib.suppress(InputError, UnsupportedError):
        run(package)
    (package / part).write_bytes((original / part).read_bytes())


INTEGERS = st.sampled_from([0, 1, -1, 2, -2, 3, 7, 100, 10**6, 2**31 - 1, -(2**31)])


def change(model: Any, data: st.DataObject) -> None:
    """One change that leaves a well-formed message: a constant, an operand, an op's kind, a type."""
    operations = block(model).operations
    names = [op.outputs[0].name for op in operations if op.outputs]
    op = operations[data.draw(st.integers(0, len(operations) - 1))]
    what = data.draw(st.sampled_from(["constant", "operand", "drop", "kind", "dtype", "size"]))
    ints = op.attributes["val"].immediateValue.tensor.ints.values if op.type == "const" else ()
    if what == "constant" and ints:
        ints[data.draw(st.integers(0, len(ints) - 1))] = data.draw(INTEGERS)
    elif what == "operand" and op.inputs:
        operand = op.inputs[data.draw(st.sampled_from(sorted(op.inputs)))]
        operand.arguments[0].name = data.draw(st.sampled_from(names))
    elif what == "drop" and op.inputs:
        op.inputs.pop(data.draw(st.sampled_from(sorted(op.inputs))))
    elif what == "kind":
        op.type = data.draw(st.sampled_from(sorted({other.type for other in operations})))
    elif what == "dtype" and op.outputs:
        op.outputs[0].type.tensorType.dataType = data.draw(st.sampled_from([1, 2, 10, 11, 21, 23, 24, 31, 33, 35]))
    elif what == "size" and op.outputs and op.outputs[0].type.tensorType.dimensions:
        op.outputs[0].type.tensorType.dimensions[0].unknown.variadic = data.draw(st.booleans())


@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_changed_programs_never_raise_anything_else(data: st.DataObject, package: Path, original: Path) -> None:
    """Well-formed programs that make no sense get past the parser, into the compiler and the ops."""
    path = package / MODEL
    path.write_bytes((original / MODEL).read_bytes())

    def edit(model: Any) -> None:
        for _ in range(data.draw(st.integers(1, 3))):
            change(model, data)

    edit_model(package, edit)
    with contextlib.suppress(InputError, UnsupportedError):
        run(package)
