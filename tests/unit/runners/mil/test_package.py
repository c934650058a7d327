"""What a package must look like, what its inputs must look like, and what is refused with which error."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support.mil.packages import DATA, MODEL, WEIGHTS, run, sample

from exporter.errors import InputError
from exporter.runners.mil import load_mlpackage


def test_the_description_is_read(original: Path) -> None:
    model = load_mlpackage(original)
    ids, scale = model.inputs
    assert (ids.name, ids.dtype, ids.shape, set(ids.enumerated)) == ("ids", "int32", (1, 4), {(1, 4), (1, 8)})
    assert (scale.name, scale.dtype, scale.shape, scale.enumerated, scale.ranges) == (
        "scale",
        "float16",
        (1, 1, 6),
        (),
        (),
    )
    assert [(f.name, f.dtype) for f in model.outputs] == [("flat", "float16")]
    assert [(f.name, f.dtype, f.shape) for f in model.states] == [("count", "float16", (1,))]
    assert model.predict(sample(8), model.new_state())["flat"].shape == (1, 48)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"ids": np.zeros((1, 5), np.int32)}, r"\[1, 5\]; the model takes one of \[1, 4\], \[1, 8\]"),
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

    shape = ct.Shape((ct.RangeDim(2, 5, default=3), ct.RangeDim(1, 9)))
    model = roundtrip(
        lambda x: mb.relu(x=x, name="y"),
        [mb.TensorSpec((get_new_symbol(), get_new_symbol()), types.fp32)],
        [ct.TensorType("x", shape, dtype=np.float32)],
    )
    (x,) = model.inputs
    assert (x.shape, x.ranges, x.constraint()) == ((3, 1), ((2, 5), (1, 9)), "[2…5, 1…9]")
    open_ended = replace(x, ranges=((2, 5), (1, None)))  # coremltools writes none into ML Programs; the format has them
    assert open_ended.constraint() == "[2…5, 1…∞]"
    for feature, largest in ((x, 9), (open_ended, 10**6)):
        shapes = ((2, 1), (5, largest), (1, 1), (6, 1), (2, 0), (2,))
        assert [feature.accepts(shape) for shape in shapes] == [True, True, *[False] * 4]
    assert not x.accepts((2, 10))


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
    "half a surrogate pair": (repoint("model.mlmodel", "\ud800"), "resolved"),
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


def test_reading_imports_no_coremltools_and_prints_nothing(original: Path) -> None:
    """coremltools itself takes seconds to import and warns on every machine that isn't a Mac."""
    script = (
        "import sys; from pathlib import Path; from exporter.runners.mil import load_mlpackage\n"
        f"load_mlpackage(Path({str(original)!r}))\n"
        "assert 'coremltools' not in sys.modules\n"
        "import logging; logging.disable(logging.CRITICAL)\n"
        "from coremltools.proto import Model_pb2\n"
        f"Model_pb2.Model.FromString(Path({str(original / MODEL)!r}).read_bytes())\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, ""), done.stderr
