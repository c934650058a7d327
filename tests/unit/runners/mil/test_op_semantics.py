"""Every op against an independent source, through a saved package.

The source is coremltools' own value inference (numpy) where it has one: the op is built a second time on constants and
its `.val` is the expectation. Where it has none, or a wrong one, a numpy formula stands in the case. Programs are in
float32: both sides round alike up to some units in the last place (5e-6 for sums of few terms); fp16 is tested apart.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from support.mil.cases import Case, normal
from support.mil.elementwise import ELEMENTWISE
from support.mil.images import IMAGES
from support.mil.indexing import INDEXING
from support.mil.layout import SHAPING, SLICING
from support.mil.numeric import ATTENTION, LINEAR, NORMALIZATION, REDUCTION

from exporter.runners.mil.compile import STATE_OPS
from exporter.runners.mil.ops import REGISTRY

CASES = [*ELEMENTWISE, *LINEAR, *NORMALIZATION, *REDUCTION, *ATTENTION, *SHAPING, *SLICING, *INDEXING, *IMAGES]
IDS = [f"{case.op}-{i}" for i, case in enumerate(CASES)]


def _expectation(case: Case) -> tuple[np.ndarray, ...]:
    from coremltools.converters.mil.mil import Builder as mb

    if case.expect is not None:
        return (np.asarray(case.expect(**case.given, **case.rest)),)
    results = getattr(mb, case.op)(**case.given, **case.rest)
    many = isinstance(results, list | tuple)
    values = tuple(np.asarray(result.val) for result in (results if many else [results]))
    assert all(value.dtype != object for value in values), "coremltools has no value inference: give the case a formula"
    return values


@pytest.fixture(scope="module")
def answers(evaluate: Any) -> dict[int, list[tuple[np.ndarray, np.ndarray]]]:
    """(ours, expected) of every case's every output, from one saved program."""
    from coremltools.converters.mil.mil import Builder as mb

    expected: dict[int, tuple[np.ndarray, ...]] = {}

    def body(values: dict[str, Any]) -> dict[str, Any]:
        outputs = {}
        for i, case in enumerate(CASES):
            given = {name: values[f"c{i}_{name}"] for name in case.given}
            results = getattr(mb, case.op)(**given, **case.rest)
            for k, result in enumerate(results if isinstance(results, list | tuple) else [results]):
                outputs[f"o{i}_{k}"] = result
            expected[i] = _expectation(case)
        return outputs

    arrays = {f"c{i}_{name}": array for i, case in enumerate(CASES) for name, array in case.given.items()}
    ours = evaluate(body, arrays)
    return {i: [(ours[f"o{i}_{k}"], value) for k, value in enumerate(expected[i])] for i in expected}


@pytest.mark.parametrize("index", range(len(CASES)), ids=IDS)
def test_op_agrees_with_its_source(index: int, answers: dict[int, list[tuple[np.ndarray, np.ndarray]]]) -> None:
    for ours, expected in answers[index]:
        assert ours.shape == expected.shape
        if ours.dtype == np.int32:
            np.testing.assert_array_equal(ours, expected.astype(np.int64))
        else:
            np.testing.assert_allclose(ours, expected, rtol=5e-6, atol=1e-6)


def to_half(value: Any) -> Any:
    return value.astype(np.float16) if getattr(value, "dtype", None) == np.float32 else value


def test_every_fp16_value_is_an_fp16_number(evaluate: Any) -> None:
    """All cases again in fp16: what an op leaves behind is rounded, also by those that need no rounding."""
    from coremltools.converters.mil.mil import Builder as mb

    def body(values: dict[str, Any]) -> dict[str, Any]:
        outputs = {}
        for i, case in enumerate(CASES):
            given = {name: values[f"c{i}_{name}"] for name in case.given}
            rest = {name: to_half(value) for name, value in case.rest.items()}
            results = getattr(mb, case.op)(**given, **rest)
            for k, result in enumerate(results if isinstance(results, list | tuple) else [results]):
                outputs[f"o{i}_{k}"] = result
        return outputs

    seen: dict[str, Any] = {}
    arrays = {f"c{i}_{name}": to_half(array) for i, case in enumerate(CASES) for name, array in case.given.items()}
    ours = evaluate(body, arrays, observe=lambda name, tensor: seen.update({name: tensor.clone()}))
    halves = [name for name, array in ours.items() if array.dtype == np.float16]
    assert len(halves) > len(CASES) / 2
    wrong = [name for name in halves if not seen[name].equal(seen[name].half().float())]
    assert [CASES[int(name[1:].split("_")[0])].op for name in wrong] == []


def test_concat_and_values_made_from_nothing(evaluate: Any) -> None:
    from coremltools.converters.mil.mil import Builder as mb

    a, b, n = normal(2, 3), normal(2, 3), np.array([3], np.int32)

    def body(v: dict[str, Any]) -> dict[str, Any]:
        scalar = mb.squeeze(x=v["n"], axes=[0])
        return {
            "joined": mb.concat(values=[v["a"], v["b"], v["a"]], axis=-1),
            "woven": mb.concat(values=[v["a"], v["b"]], axis=0, interleave=True),
            "scalars": mb.concat(values=[scalar, mb.add(x=scalar, y=np.int32(1))], axis=0),
            "range": mb.range_1d(start=np.int32(-1), end=scalar, step=np.int32(2)),
            "filled": mb.fill(shape=mb.concat(values=[scalar, np.int32(2)], axis=0), value=np.float32(2.5)),
            "shaped": mb.reshape(x=v["a"], shape=mb.concat(values=[scalar, np.int32(-1)], axis=0)),
            "part": mb.slice_by_index(
                x=v["a"],
                begin=mb.concat(values=[np.int32(0), np.int32(1)], axis=0),
                end=mb.concat(values=[np.int32(2), scalar], axis=0),
            ),
        }

    got = evaluate(body, {"a": a, "b": b, "n": n})
    np.testing.assert_array_equal(got["joined"], np.concatenate([a, b, a], -1))
    np.testing.assert_array_equal(got["woven"], np.stack([a, b], 1).reshape(4, 3))
    np.testing.assert_array_equal(got["scalars"], [3, 4])
    np.testing.assert_array_equal(got["range"], [-1, 1])
    np.testing.assert_array_equal(got["filled"], np.full((3, 2), 2.5))
    np.testing.assert_array_equal(got["shaped"], a.reshape(3, 2))
    np.testing.assert_array_equal(got["part"], a[:, 1:3])


def test_operands_stay_as_they_are(evaluate: Any) -> None:
    """Ops that change a part of something give a changed copy; who reads the original later reads the original."""
    from coremltools.converters.mil.mil import Builder as mb

    a, b = normal(4, 3), normal(2, 3)

    def body(v: dict[str, Any]) -> dict[str, Any]:
        rows = np.array([[1], [3]], np.int32)
        return {
            "sliced": mb.slice_update(x=v["a"], update=v["b"], begin=[0, 0], end=[2, 3]),
            "scattered": mb.scatter_nd(data=v["a"], indices=rows, updates=v["b"], mode="update"),
            "original": mb.identity(x=v["a"]),
        }

    got = evaluate(body, {"a": a, "b": b})
    np.testing.assert_array_equal(got["original"], a)
    np.testing.assert_array_equal(got["sliced"], [*b, *a[2:]])
    np.testing.assert_array_equal(got["scattered"], [a[0], b[0], a[2], b[1]])


def test_every_registered_op_has_a_case() -> None:
    elsewhere = {"concat", "range_1d", "fill"}
    assert set(REGISTRY) - {case.op for case in CASES} - elsewhere == set()
    assert not STATE_OPS & set(REGISTRY)
