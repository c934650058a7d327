"""onnx's own test suite of single ops (kind "node"), exported to both formats and run.

    python benchmarks/onnx_backend.py [--only TEXT] [--part I/N] [--to onnx|coreml] [--json FILE] [--list KIND]

Every model of the suite is imported with the shapes of its inputs and written as a file. The ONNX file runs in
onnxruntime, the Core ML program in Kogata's executor with float16 rounding. The results are compared with the outputs
that the suite expects. Each test gets one of these words per format:

    equal      the same elements, bit for bit (NaN equals NaN)
    close      within the tolerance of the format
    runtime    onnxruntime gives the same result for the suite's own file; the difference to the suite is its own
    refused    Kogata refuses the model with an error that names the reason
    excepted   listed in EXCEPTIONS, with the reason; where the reason is float16, this is checked: onnxruntime gives
               the same result for the suite's own file if the inputs are rounded to float16
    wrong      another result
    crashed    an exception that isn't an error for users

The exit code is 1 if any test is wrong or crashed.
"""

from __future__ import annotations

import argparse
import fnmatch
import functools
import gc
import json
import shutil
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from exporter.errors import KogataError
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.model import GraphSpec, Hub
from exporter.importers.onnx_file import import_onnx
from exporter.lower.coreml import unsupported_nodes
from exporter.lower.forms import WriteOptions, write_form
from exporter.runners.graphs import MilGraph, OnnxGraph
from exporter.runners.ort import OnnxSource

FORMATS = ("onnx", "coreml")
FAULTS = ("wrong", "crashed")
Arrays = dict[str, Any]

# Core ML computes in float16: 11 bits of mantissa. An op's inputs and outputs are each rounded once (2^-11 each), and a
# sum of some hundred terms or a function with a steep slope multiplies this; so one percent of the largest element.
COREML_SHARE = 0.01

SPACING = "inputs are float16, which "  # such a reason is checked
# (pattern of test names, format or "both", reason): results that differ by design
EXCEPTIONS: tuple[tuple[str, str, str], ...] = (
    ("test_bernoulli*", "both", "random numbers"),
    ("test_training_dropout*", "both", "random numbers: the dropout of a training graph"),
    ("test_softmax_large_number*", "coreml", f"{SPACING}holds every eighth number at 10,000: four become one"),
    ("test_logsoftmax_large_number*", "coreml", f"{SPACING}holds every eighth number at 10,000: four become one"),
    ("test_tan", "coreml", f"{SPACING}moves 1.533 by 0.0004, where the tangent is 700 times as steep"),
)


@dataclass(frozen=True)
class Result:
    """What became of one test in one format. detail: the error, or the difference."""

    test: str
    format: str
    kind: str
    detail: str = ""


def main() -> int:
    """Runs the suite and prints the table."""
    options = _options()
    warnings.simplefilter("ignore")
    cases = [case for case in suite() if options.only in case.name]
    part, parts = map(int, options.part.split("/"))
    results = []
    for case in cases[part - 1 :: parts]:
        results += run_case(case, FORMATS if options.to is None else (options.to,))
    if options.json:
        Path(options.json).write_text(json.dumps([asdict(r) for r in results], indent=1), encoding="utf-8")
    print(table(results))
    for result in results:
        if result.kind in (*FAULTS, *options.list):
            print(f"{result.kind:9} {result.format:7} {result.test}: {result.detail}")
    return int(any(result.kind in FAULTS for result in results))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="tests whose name contains this text")
    parser.add_argument("--part", default="1/1", help="every N-th test, from the I-th on")
    parser.add_argument("--to", choices=FORMATS, default=None)
    parser.add_argument("--json", default=None, help="writes all results to this file")
    parser.add_argument("--list", action="append", default=[], help="also print the tests of this kind")
    return parser.parse_args()


@functools.cache
def suite() -> Sequence[Any]:
    """The tests, sorted by name."""
    from onnx.backend.test.loader import load_model_tests

    cases = sorted(load_model_tests(kind="node"), key=lambda case: str(case.name))
    gc.freeze()  # coremltools collects garbage for every program; without the suite's many objects this is fast
    return cases


def table(results: Sequence[Result]) -> str:
    """Counts by format and kind."""
    kinds = ("equal", "close", "runtime", "refused", "excepted", *FAULTS)
    counts = Counter((result.format, result.kind) for result in results)
    lines = ["format    " + "".join(f"{kind:>10}" for kind in kinds)]
    lines += [f"{fmt:10}" + "".join(f"{counts[fmt, kind]:>10}" for kind in kinds) for fmt in FORMATS]
    return "\n".join(lines)


def run_case(case: Any, formats: Sequence[str] = FORMATS) -> list[Result]:
    """One result for each format."""
    with tempfile.TemporaryDirectory(prefix="onnx-backend-") as folder:
        path = Path(folder) / "source.onnx"
        onnx.save(case.model, path)
        data = case.data_sets[0]
        names = [value.name for value in case.model.graph.input]
        feeds = dict(zip(names, map(_array, data[0]), strict=False))
        expected = dict(zip((value.name for value in case.model.graph.output), map(_array, data[1]), strict=True))
        results = [_judged(case, fmt, path, feeds, expected) for fmt in formats]
        for index, result in enumerate(results):
            if result.kind == "refused" and len(feeds) > 1:
                first = next(iter(feeds))
                onnx.save(_settled(case.model, feeds, first), path)
                again = _judged(case, result.format, path, {first: feeds[first]}, expected)
                results[index] = replace(again, test=f"{case.name} (constants)") if again.kind != "refused" else result
        return results


def _array(stored: Any) -> Any:
    """The suite has some tensors as messages, and some numbers as numpy's scalars."""
    if isinstance(stored, onnx.TensorProto):
        return onnx.numpy_helper.to_array(stored)
    return stored if isinstance(stored, list) or stored is None else np.asarray(stored)


def _settled(model: onnx.ModelProto, feeds: Arrays, first: str) -> onnx.ModelProto:
    """The model with all inputs but the first as constants, which is how files of exporters state axes and sizes."""
    settled = onnx.ModelProto()
    settled.CopyFrom(model)
    for value in list(settled.graph.input):
        if value.name != first and isinstance(feeds.get(value.name), np.ndarray):
            settled.graph.initializer.append(onnx.numpy_helper.from_array(feeds[value.name], value.name))
            settled.graph.input.remove(value)
    return settled


def _judged(case: Any, fmt: str, path: Path, feeds: Arrays, expected: Arrays) -> Result:
    try:
        kind, detail = _outcome(case, fmt, path, feeds, expected)
    except Exception as error:
        kind, detail = "crashed", f"{type(error).__name__}: {error}"
    return Result(case.name, fmt, kind, detail[:200])


def _outcome(case: Any, fmt: str, path: Path, feeds: Arrays, expected: Arrays) -> tuple[str, str]:
    """The word for one test, and details."""
    try:
        made = _MADE_BY[fmt](path, feeds)
    except KogataError as error:
        if fmt == "onnx" and error.diagnostics[0].code in _RUNTIME_REFUSALS and _runs(path, feeds):
            return "wrong", f"onnxruntime runs the suite's file, and not ours: {error}"
        return "refused", "; ".join(f"{d.where}: {d.message}" for d in error.diagnostics)
    kind, detail = compared(fmt, case, made, expected)
    if kind != "wrong":
        return kind, detail
    if _as_runtime(fmt, case, path, feeds, made):
        return "runtime", detail
    reason = next((r for p, f, r in EXCEPTIONS if f in (fmt, "both") and fnmatch.fnmatch(case.name, p)), None)
    if reason is None or (reason.startswith(SPACING) and not _as_runtime(fmt, case, path, _rounded(feeds), made)):
        return kind, detail
    return "excepted", reason


def _imported(path: Path, feeds: Arrays) -> tuple[Hub, GraphSpec]:
    given = {name: tuple(np.shape(array)) for name, array in feeds.items() if isinstance(array, np.ndarray)}
    hub, _ = import_onnx(path, given)
    assert isinstance(hub.spec, GraphSpec)
    return hub, hub.spec


def _by_onnx(path: Path, feeds: Arrays) -> Arrays:
    hub, _ = _imported(path, feeds)
    file = path.with_name("model.onnx")
    write_form(PORTABLE, hub, file, WriteOptions({}))
    return OnnxGraph(OnnxSource(path=file), 1).run(feeds)


def _by_coreml(path: Path, feeds: Arrays) -> Arrays:
    from exporter.runners.mil import load_mlpackage

    hub, spec = _imported(path, feeds)
    if problems := unsupported_nodes(hub):
        from exporter.errors import UnsupportedError

        UnsupportedError.raise_all(problems)
    package = path.with_name("model.mlpackage")
    shutil.rmtree(package, ignore_errors=True)  # of an attempt before
    write_form(FLEXIBLE, hub, package, WriteOptions({}))
    return MilGraph(load_mlpackage(package), spec).run(feeds)


_MADE_BY: Mapping[str, Callable[[Path, Arrays], Arrays]] = {"onnx": _by_onnx, "coreml": _by_coreml}


_RUNTIME_REFUSALS = ("parity.onnx-load", "parity.onnx-run")


def _runs(path: Path, feeds: Arrays) -> bool:
    """Whether onnxruntime runs the suite's own file."""
    try:
        OnnxGraph(OnnxSource(path=path), 1).run(feeds)
    except KogataError:
        return False
    return True


def _as_runtime(fmt: str, case: Any, path: Path, feeds: Arrays, made: Arrays) -> bool:
    """Whether onnxruntime gives the same result for the suite's own file: bit for bit, or close for Core ML."""
    try:
        own = OnnxGraph(OnnxSource(path=path), 1).run(feeds)
    except KogataError:
        return False
    if fmt == "coreml":
        return compared(fmt, case, made, own)[0] != "wrong"
    return all(_equal(np.asarray(own[name]), np.asarray(made[name])) for name in own)


def _rounded(feeds: Arrays) -> Arrays:
    """The inputs as a Core ML program gets them: floats have float16's numbers."""
    floats = {name: array for name, array in feeds.items() if getattr(array, "dtype", None) in (np.float32, np.float64)}
    return {**feeds, **{name: array.astype(np.float16).astype(array.dtype) for name, array in floats.items()}}


def compared(fmt: str, case: Any, made: Arrays, expected: Arrays) -> tuple[str, str]:
    """The word for all outputs together, and the difference in words."""
    kinds = []
    for name, right in expected.items():
        kind, detail = _compared(fmt, case, np.asarray(made[name]), np.asarray(right))
        if kind == "wrong":
            return kind, f"{name}: {detail}"
        kinds.append(kind)
    return ("close" if "close" in kinds else "equal"), ""


def _compared(fmt: str, case: Any, made: Any, right: Any) -> tuple[str, str]:
    if fmt == "coreml" and not right.ndim and made.shape == (1,):
        made = made.reshape(())  # Core ML has no scalars
    if made.shape != right.shape:
        return "wrong", f"shape {list(made.shape)} instead of {list(right.shape)}"
    if fmt == "onnx" and made.dtype != right.dtype:
        return "wrong", f"{made.dtype} instead of {right.dtype}"
    if right.dtype.kind not in "fiub":
        right, made = right.astype(np.float32), made.astype(np.float32)  # bfloat16 and 8-bit floats
    if _equal(made, right):
        return "equal", ""
    made, right = made.astype(np.float64), right.astype(np.float64)
    if fmt == "onnx":
        close = np.allclose(made, right, rtol=case.rtol, atol=max(case.atol, 1e-7), equal_nan=True)
    else:
        with np.errstate(over="ignore", invalid="ignore"):  # 0 · inf where nothing is replaced
            right = np.where(np.abs(right) > 65504, np.sign(right) * np.inf, right)  # float16 ends there
            made = np.where(np.abs(made) >= 65504, np.sign(made) * np.inf, made)
        finite = np.abs(right[np.isfinite(right)])
        room = COREML_SHARE * (finite.max() if finite.size else 0.0)
        close = np.allclose(made, right, rtol=0.0, atol=room, equal_nan=True)
    if close:
        return "close", ""
    with np.errstate(invalid="ignore"):
        difference = np.abs(made - right)
    at = np.unravel_index(np.nanargmax(np.where(np.isnan(difference), np.inf, difference)), right.shape)
    return "wrong", f"{made[at]:.6g} instead of {right[at]:.6g} at {[int(i) for i in at]}"


def _equal(a: Any, b: Any) -> bool:
    if a.shape != b.shape or a.dtype.kind in "OUS" or b.dtype.kind in "OUS":
        return bool(a.shape == b.shape and (a == b).all())
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f" and b.dtype.kind == "f"))


if __name__ == "__main__":
    sys.exit(main())
