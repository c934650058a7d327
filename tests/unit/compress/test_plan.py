"""plan.json: what is written is read back, can be edited by hand, and every mistake in it is named."""

from __future__ import annotations

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exporter.compress import KEEP, Candidate, Choice, CompressOptions, GridMenu, Menu, compress
from exporter.compress.gridding import GridOptions, rounded_grids
from exporter.compress.plan import Origin, Plan, plan_of
from exporter.compress.plan_file import MAX_BYTES, MAX_PROBLEMS, read_plan
from exporter.compress.proxy import WeightError
from exporter.compress.search import Goal, Offer, priced, search
from exporter.errors import InputError
from exporter.progress import NoProgress


def candidate(name: str, *shape: int, is_open: bool = True) -> Candidate:
    weight = np.random.default_rng(len(name)).normal(size=shape).astype(np.float32)
    return Candidate(name, shape, weight.nbytes, is_open, lambda rows: weight[rows])


CANDIDATES = [
    candidate("embedding", 128, 64),
    candidate("norm", 64, is_open=False),
    candidate("層.0.q", 64, 64),
    candidate('odd "name"\ud800', 50, 33),
    candidate("bias", 64),
]
MATRICES = [c for c in CANDIDATES if c.palettizable]
CHOICES = {"embedding": Choice(6, 32), "層.0.q": KEEP, 'odd "name"\ud800': Choice(3, 4)}


def searched() -> Plan:
    offers = [Offer(c, Menu().choices(c.shape, c.stored_bytes)) for c in MATRICES]
    sensitivity = WeightError()
    tensors = priced(offers, sensitivity.costs(offers, NoProgress()))
    found = search(tensors, Goal(stored_bytes=12_000), sensitivity.joint, NoProgress())
    made = compress(CANDIDATES, CompressOptions(16, 16, found.choices), NoProgress())
    origin = Origin("tiny", "sha256:ab", "--bpw 3.7", sensitivity.kind, sensitivity.words)
    plan = plan_of(origin, CANDIDATES, made.decisions, found)
    assert plan.choices == found.choices
    assert plan.stored_bytes == made.stored_bytes
    assert plan.chosen is not None
    assert plan.chosen.stored_bytes == made.stored_bytes  # of the whole model, as in the curve
    assert plan.bpw == made.bpw
    return plan


def write(folder: Path, **changes: Any) -> Path:
    """A valid plan with some keys replaced."""
    tensors = [
        {"name": c.name, "bits": CHOICES[c.name].bits, "group_size": CHOICES[c.name].group_size, "shape": c.shape}
        for c in MATRICES
    ]
    path = folder / "mine.json"
    path.write_text(json.dumps({"schema_version": 1, "tensors": tensors, **changes}))
    return path


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    plan = searched()
    raw = plan.to_bytes()
    (tmp_path / "plan.json").write_bytes(raw)
    saved = read_plan(tmp_path / "plan.json", CANDIDATES)
    assert saved.choices == plan.choices
    assert saved.digest == "sha256:ab"
    assert raw == searched().to_bytes()
    data = json.loads(raw)
    assert [t["name"] for t in data["tensors"]] == [c.name for c in MATRICES]
    assert data["stored_bytes"] == plan.stored_bytes
    assert data["others"] == {"tensors": 2, "parameters": 128, "stored_bytes": 512}
    lines = raw.decode().splitlines()
    assert sum('"name": "層.0.q"' in line and '"bits"' in line for line in lines) == 1  # a tensor is one line


def test_an_edit_is_obeyed(tmp_path: Path) -> None:
    """Only the bits: a group size that belongs to palettes may stay where a tensor is now kept."""
    path = tmp_path / "plan.json"
    path.write_bytes(replace(searched(), curve=()).to_bytes())
    data = json.loads(path.read_bytes())
    data["tensors"][0] |= {"bits": 16, "group_size": 16}
    data["tensors"][1] |= {"bits": 8, "group_size": 999}
    path.write_text(json.dumps(data))
    choices = read_plan(path, CANDIDATES).choices
    assert choices["embedding"] == KEEP
    assert choices["層.0.q"] == Choice(8, 64)
    data["tensors"][1] |= {"bits": 4, "cluster_dim": 1}  # as older versions wrote it
    path.write_text(json.dumps(data))
    assert read_plan(path, CANDIDATES).choices["層.0.q"] == Choice(4, 64)


def test_everything_wrong_is_told_at_once(tmp_path: Path) -> None:
    tensors = [
        {"name": "embedding", "bits": 5, "group_size": 16},
        {"name": "pairs", "bits": 4, "group_size": 16, "cluster_dim": 2},
        {"name": "no number", "bits": 4, "group_size": 16, "cluster_dim": True},
        {"name": "層.0.q", "bits": 4, "group_size": 0},
        {"name": "層.0.q", "bits": 4, "group_size": 16},
        {"name": 'odd "name"\ud800', "bits": 4, "group_size": 16, "shape": [33, 50]},
        {"name": "embeding", "bits": 4, "group_size": 16},
        {"name": "norm", "bits": 4, "group_size": 16},
        "what",
        {"bits": 4},
    ]
    more = [candidate("pairs", 8, 8), candidate("no number", 31, 8)]
    with pytest.raises(InputError) as caught:
        read_plan(write(tmp_path, tensors=tensors), [*CANDIDATES, *more])
    told = [f"{d.where}: {d.message} {d.hint}" for d in caught.value.diagnostics]
    for part in (
        "bits must be one of 1, 2, 3, 4, 6, 8, 16, not 5",
        "group_size must be the number of output rows that share a LUT, not 0",
        "is listed twice",
        "has shape [33, 50] in the plan and [50, 33] in the model",
        "the model has no such tensor did you mean embedding?",
        "norm: is always kept",
        "pairs: cluster_dim must be 1, not 2: LUTs of pairs are no longer supported make the plan again",
        "no number: cluster_dim must be 1, not true",
        "tensors[8]: must be an object with a name",
        "tensors[9]: must be an object with a name",
    ):
        assert sum(part in line for line in told) == 1, part
    with pytest.raises(InputError) as missing:
        read_plan(write(tmp_path, tensors=[]), CANDIDATES)
    assert len(missing.value.diagnostics) == len(MATRICES)


def test_a_problem_is_found_by_its_line(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(searched().to_bytes())
    lines = path.read_text("utf-8").splitlines()
    number = next(i for i, line in enumerate(lines, 1) if '"name": "層.0.q"' in line)
    data = json.loads(path.read_text("utf-8"))
    bits = data["tensors"][1]["bits"]
    lines[number - 1] = lines[number - 1].replace(f'"bits": {bits}', '"bits": true', 1)
    path.write_text("\n".join(lines), "utf-8")
    with pytest.raises(InputError) as caught:
        read_plan(path, CANDIDATES)
    assert caught.value.diagnostics[0].where == f"plan.json:{number}: 層.0.q"


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
        (b'{"tensors": NaN}', "NaN is not JSON"),
        (b'{"tensors": [], "tensors": []}', "appears twice"),
        (b"[]", "is not a plan"),
        (b'{"tensors": {}}', "is not a plan"),
        (b'{"tensors": []}', '"schema_version" must be 1'),
        (b'{"schema_version": true, "tensors": []}', '"schema_version" must be 1'),
        (b'{"schema_version": 2, "tensors": []}', "has schema version 2, this kogata reads 1"),
        (b" " * (MAX_BYTES + 1), "is larger than 16 MiB"),
    ],
)
def test_files_that_are_no_plan(tmp_path: Path, raw: bytes, told: str) -> None:
    path = tmp_path / "plan.json"
    path.write_bytes(raw)
    with pytest.raises(InputError) as caught:
        read_plan(path, CANDIDATES)
    assert told in caught.value.diagnostics[0].message


def test_paths_that_are_no_files(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path, told in ((tmp_path, "regular"), (tmp_path / "pipe", "regular"), (tmp_path / "none", "no such file")):
        with pytest.raises(InputError) as caught:
            read_plan(path, CANDIDATES)
        assert told in caught.value.diagnostics[0].message


def test_a_million_problems_are_told_in_short(tmp_path: Path) -> None:
    tensors = [{"name": f"x{i}", "bits": 4, "group_size": 16} for i in range(20_000)]
    with pytest.raises(InputError) as caught:
        read_plan(write(tmp_path, tensors=tensors), CANDIDATES)
    assert len(caught.value.diagnostics) == MAX_PROBLEMS + 1
    assert "and 19,903 more problems" in caught.value.diagnostics[-1].message


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
ENTRY = st.fixed_dictionaries(
    {"name": st.sampled_from(list(CHOICES)) | JSON}, optional={"bits": JSON, "group_size": JSON, "shape": JSON}
)


@settings(deadline=None)
@given(st.lists(ENTRY | JSON, max_size=5), JSON, JSON)
def test_nothing_in_a_plan_is_a_bug(
    tmp_path_factory: pytest.TempPathFactory, tensors: Any, model: Any, other: Any
) -> None:
    path = tmp_path_factory.mktemp("plan") / "plan.json"
    path.write_text(json.dumps({"schema_version": 1, "tensors": tensors, "model": model, "other": other}))
    with pytest.raises(InputError):  # five entries at most, of which no two right ones are the same: never all three
        read_plan(path, [*CANDIDATES, candidate("never named", 16, 16)])


def test_grids_are_written_and_read_back(tmp_path: Path) -> None:
    """Blocks of columns instead of groups of rows; a block that doesn't divide the columns becomes the smallest."""
    choices = {"embedding": Choice(4, block=64), "層.0.q": Choice(8, block=32), 'odd "name"\ud800': Choice(4, block=32)}
    made = rounded_grids(CANDIDATES, GridOptions(Choice(4, block=128), choices), NoProgress())
    path = tmp_path / "plan.json"
    path.write_bytes(plan_of(Origin("tiny", "sha256:ab", "--bpw 4.5"), CANDIDATES, made.decisions).to_bytes())
    entry = json.loads(path.read_bytes())["tensors"][0]
    assert (entry["bits"], entry["block"], entry["stored_bytes"]) == (4, 64, 128 * (32 + 4))
    assert "group_size" not in entry
    assert read_plan(path, CANDIDATES).choices == choices


@pytest.mark.parametrize(
    ("bits", "block", "message"),
    [(3, 32, "bits must be 4 or 8 with a block, not 3"), (4, 48, "one of 32, 64, 128, not 48"), (4, "x", 'not "x"')],
)
def test_grids_that_nothing_reads(tmp_path: Path, bits: int, block: Any, message: str) -> None:
    tensors = [{"name": c.name, "bits": bits, "block": block} for c in MATRICES]
    path = tmp_path / "plan.json"
    path.write_text(json.dumps({"schema_version": 1, "tensors": tensors}))
    with pytest.raises(InputError) as caught:
        read_plan(path, CANDIDATES)
    assert len(caught.value.diagnostics) == len(MATRICES)
    assert message in str(caught.value)


def test_a_menu_of_grids_offers_what_saves_bytes() -> None:
    assert [(c.bits, c.block) for c in GridMenu().choices((8, 256), 4096)] == [(4, 128), (4, 64), (4, 32), (8, 128)]
    assert [(c.bits, c.block) for c in GridMenu().choices((8, 40), 640)] == [(4, 32), (8, 32)]
    assert GridMenu().choices((8, 4), 64) == (KEEP,)  # 20 bytes a row against 8
    assert GridMenu((4,)).choices((8, 256), 4096)[-1] == Choice(4, block=32)
