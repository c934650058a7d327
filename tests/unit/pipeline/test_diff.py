"""`kogata diff`: every expected number is written out here, from the facts that the two bundles were made with."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.bundle_plans import PASSED, make_decoder_plan, write
from support.bundles import write_bundle
from support.command import kogata

from exporter.bundle import BundlePlan, SourceFacts, TaskFacts

ROWS = [
    {"name": "onnx", "metrics": {"kl": 0.015, "top1": 0.98}},
    {"name": "coreml", "metrics": {"kl": 0.016, "psnr_db": 300}},
    {"name": "compression", "metrics": {"kl": 0.014}},
]


def parity(changes: dict[str, dict[str, Any]] | None = None, prompts: int = 40) -> dict[str, Any]:
    rows = [
        {"name": row["name"], "metrics": {**row["metrics"], **(changes or {}).get(str(row["name"]), {})}}
        for row in ROWS
    ]
    return {"verdict": "passed", "depth": "full", "prompts": {"count": prompts, "source": "built-in"}, "rows": rows}


def plan(made: Path, correct: int = 90, **changes: Any) -> BundlePlan:
    whole = make_decoder_plan(made)
    facts = replace(PASSED, tasks=(TaskFacts(correct, 100, 91),))
    artifacts = tuple(replace(a, parity=facts) for a in whole.artifacts)
    return replace(whole, artifacts=artifacts, **({"parity_report": parity()} | changes))


def bundle(folder: Path, correct: int = 90, data: bytes = b"", **changes: Any) -> Path:
    """data: added to the ONNX file's weights."""
    made = plan(folder / "made", correct, **changes)
    with (folder / "made" / "onnx" / "model.onnx.data").open("ab") as file:
        file.write(data)
    return write_bundle(made, folder / "bundle")


@pytest.fixture
def old(tmp_path: Path) -> Path:
    return bundle(tmp_path / "old")


def gated(old: Path, new: Path, *gates: str) -> tuple[str, ...]:
    return (str(old), str(new), *(word for gate in gates for word in ("--not-worse", gate)))


def envelope(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = kogata("diff", *arguments, "--format", "json")
    return code, json.loads(capsys.readouterr().out)


def test_a_bundle_is_the_same_as_itself(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, told = envelope(capsys, *gated(old, old, "kl=0", "size=0", "task=0", "bpw=0%"))
    assert (code, told["ok"], told["verdict"]) == (0, True, "passed")
    assert (told["result"]["files"], told["result"]["tensors"]) == ([], [])
    assert not any(fact["changed"] for fact in told["result"]["facts"])
    assert {(g["metric"], g["row"]) for g in told["result"]["gates"]} == {
        *((m, r) for m in ("kl", "task") for r in ("onnx", "coreml")),
        *(("size", r) for r in ("onnx", "coreml")),
        ("bpw", "bundle"),
    }


def test_everything_that_changed_is_in_the_report(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = make_decoder_plan(tmp_path / "x")
    weight = {**before.compression.tensors[0], "bits": 6, "stored_bytes": 700}
    new = bundle(
        tmp_path / "new",
        correct=88,
        data=bytes(10),
        source=SourceFacts("org/tiny", "fedcba", "MIT", "sha256:" + "cd" * 32),
        chat_template="{{ other }}",
        tools={"kogata": "0.2.0", "onnx": "1.23.2"},
        compression=replace(before.compression, tensors=(weight, before.compression.tensors[1])),
        parity_report=parity({"onnx": {"kl": 0.02}}),
    )
    code, told = envelope(capsys, old, new)
    assert code == 0
    changed = {fact["what"]: (fact["old"], fact["new"]) for fact in told["result"]["facts"] if fact["changed"]}
    digest = hashlib.sha256(b"{{ other }}").hexdigest()[:12]
    assert changed["license"] == ("Apache-2.0", "MIT")
    assert changed["revision"] == ("0123456789abcdef", "fedcba")
    assert changed["source digest"] == ("sha256:" + "ab" * 32, "sha256:" + "cd" * 32)
    assert changed["tool kogata"] == ("0.1.0", "0.2.0")
    assert changed["chat template"][1] == f"sha256:{digest}"
    assert set(changed) == {"license", "revision", "source digest", "tool kogata", "chat template"}
    assert told["result"]["tensors"] == [
        {
            "what": "w",
            "old": "4 bits, groups of 16 rows, 10×100, 550 bytes",
            "new": "6 bits, groups of 16 rows, 10×100, 700 bytes",
            "changed": True,
        }
    ]
    files = {file["what"]: (file["old"], file["new"]) for file in told["result"]["files"]}
    assert files["onnx/model.onnx.data"] == (256, 266)
    values = {(q["metric"], q["row"]): (q["old"], q["new"]) for q in told["result"]["quantities"]}
    assert values["kl", "onnx"] == (0.015, 0.02)
    assert values["kl", "compression"] == (0.014, 0.014)
    assert values["task", "coreml"] == (90.0, 88.0)
    on_disk = [sum(p.stat().st_size for p in (side / "onnx").iterdir()) for side in (old, new)]
    assert list(values["size", "onnx"]) == on_disk
    for format in ("text", "github", "junit"):
        assert kogata("diff", old, new, "--format", format) == 0


@pytest.mark.parametrize(
    ("gate", "code"),
    [
        ("kl=0.005", 0),  # 0.02 - 0.015 in binary is above 0.005
        ("kl=0.0049", 1),
        ("kl:onnx=34%", 0),
        ("kl:onnx=33%", 1),
        ("kl:coreml=0", 0),
        ("kl:compression=0", 0),
        ("task=2", 0),
        ("task=1.9", 1),
        ("psnr_db:coreml=240", 0),
        ("psnr_db:coreml=239", 1),
        ("size:onnx=1kB", 0),
        ("size:onnx=999B", 1),
        ("size:coreml=0", 0),
        ("size=0", 1),
        ("size=100000%", 0),
        ("top1=0", 0),
    ],
)
def test_a_gate_breaks_beyond_its_margin_only(
    gate: str, code: int, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = parity({"onnx": {"kl": 0.02}, "coreml": {"psnr_db": 60}})
    new = bundle(tmp_path / "new", correct=88, data=bytes(1000), parity_report=report)
    ended, told = envelope(capsys, *gated(old, new, gate))
    assert ended == code
    errors = [d for d in told["diagnostics"] if d["level"] == "error"]
    assert [d["where"] for d in errors] == [f"--not-worse {gate}"] * code
    assert kogata("diff", *gated(old, new, gate), "--format", "junit") == code
    suite = ElementTree.fromstring(capsys.readouterr().out)
    assert (suite[0].get("failures") != "0") == bool(code)


def test_each_broken_gate_is_one_finding(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    report = parity({"onnx": {"kl": 1.0}, "coreml": {"kl": 1.0}})
    new = bundle(tmp_path / "new", correct=1, parity_report=report)
    code, told = envelope(capsys, *gated(old, new, "kl=0.005", "task=0.5", "size=1%"))
    errors = [d for d in told["diagnostics"] if d["level"] == "error"]
    assert (code, [d["code"] for d in errors]) == (1, ["diff.worse"] * 2)
    assert "onnx: kl 1 after 0.015 nats: worse by 0.985, 0.005 is allowed" in errors[0]["message"]
    assert "coreml: kl 1 after 0.016" in errors[0]["message"]
    assert "task 1 after 90 points: worse by 89, 0.5 is allowed" in errors[1]["message"]


def test_a_metric_of_one_side_never_passes(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    rows = [{"name": "onnx", "metrics": {"kl": None, "top1": 0.98}}, {"name": "coreml", "metrics": {"psnr_db": 300}}]
    whole = plan(tmp_path / "n" / "made")
    artifacts = tuple(
        replace(a, parity=replace(a.parity, metrics={}, thresholds={}, tasks=())) for a in whole.artifacts
    )
    new = write_bundle(replace(whole, artifacts=artifacts, parity_report={**parity(), "rows": rows}), tmp_path / "new")
    gates = ("kl=9", "task=99", "kl:compression=9", "decode=50%", "memory=9GB")
    for pair in ((old, new), (new, old)):
        code, told = envelope(capsys, *gated(*pair, *gates))
        errors = {d["where"]: d["message"] for d in told["diagnostics"] if d["level"] == "error"}
        assert (code, set(errors)) == (1, {f"--not-worse {gate}" for gate in gates})
        assert "neither bundle has decode" in errors["--not-worse decode=50%"]
        assert "is not a finite number" in errors["--not-worse kl=9"]
        lacking = "NEW" if pair[0] == old else "OLD"
        assert f"{lacking} doesn't have task" in errors["--not-worse task=99"]


def test_numbers_of_other_prompts_are_not_compared(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = bundle(tmp_path / "new", parity_report=parity(prompts=3))
    code, told = envelope(capsys, *gated(old, new, "kl=9"))
    assert code == 1
    assert "OLD on 40 prompts (built-in), depth full; NEW on 3 prompts" in told["diagnostics"][0]["message"]
    code, told = envelope(capsys, old, new)
    assert (code, [(d["code"], d["level"]) for d in told["diagnostics"]]) == (0, [("diff.conditions", "warning")])


def test_all_wrong_gates_are_refused_at_once(old: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wrong = ("kl", "kll=1", "kl=-1", "kl=nan", "kl=1e999999", "kl:=1", "size=2 apples", "kl=0.1", "kl=0.2", "prompts=1")
    code, told = envelope(capsys, *gated(old, old, *wrong))
    assert (code, {d["code"] for d in told["diagnostics"]}) == (2, {"diff.gate", "options.size"})
    assert len(told["diagnostics"]) == len(wrong) - 1
    assert "did you mean kl" in told["diagnostics"][1]["hint"]
    code, told = envelope(capsys, *gated(old, old, "kl:onx=1", "top1:nothing=1", "kl=1"))
    assert (code, len(told["diagnostics"])) == (2, 2)


def test_both_bundles_are_verified_first(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    new = bundle(tmp_path / "new")
    for side in (old, new):
        (side / "onnx" / "model.onnx").write_bytes(b"other")
    code, told = envelope(capsys, old, new)
    wheres = {d["where"] for d in told["diagnostics"]}
    assert (code, {"OLD: onnx/model.onnx", "NEW: onnx/model.onnx"} <= wheres) == (1, True)
    code, told = envelope(capsys, tmp_path / "none", tmp_path / "none2")
    assert (code, len(told["diagnostics"])) == (2, 2)


@pytest.mark.parametrize("hostile", [[], {"rows": 1}, {"rows": [{"name": 1, "metrics": {"kl": "x"}}]}])
def test_a_parity_report_that_kogata_didnt_write_is_refused(
    hostile: Any, old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new = bundle(tmp_path / "new", parity_report=hostile)
    code, told = envelope(capsys, old, new)
    assert (code, {d["code"] for d in told["diagnostics"]}) == (2, {"diff.parity"})
    assert all(d["where"].startswith("NEW/parity/report.json") for d in told["diagnostics"])


def test_a_new_bundle_that_failed_its_export_fails(
    old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    whole = plan(tmp_path / "n" / "made")
    failed = tuple(replace(a, parity=replace(a.parity, verdict="failed")) for a in whole.artifacts)
    new = write_bundle(replace(whole, artifacts=failed), tmp_path / "new")
    assert envelope(capsys, old, new)[0] == 1
    code, told = envelope(capsys, new, old)
    assert (code, told["verdict"], told["diagnostics"][0]["level"]) == (0, "passed", "warning")


def bench(path: Path, sides: dict[str, float], size: int = 263, threads: int = 4) -> Path:
    """As `kogata bench --format json` writes it. sides: label → tokens per second."""
    subjects = [
        {
            "label": label,
            "form": "onnx/portable",
            "bytes": size,
            "measures": [{"measure": "decode tokens/s", "context": 128, "batch": None, "median": speed}],
        }
        for label, speed in sides.items()
    ]
    result = {"machine": {"processors": "2"}, "conditions": {"threads": threads}, "subjects": subjects}
    return write(path, json.dumps({"command": "bench", "ok": True, "result": result}))


def test_speed_comes_from_bench_reports(old: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    size = sum((old / "onnx" / name).stat().st_size for name in ("model.onnx", "model.onnx.data"))
    both = bench(tmp_path / "both.json", {"A onnx": 100.0, "B onnx": 94.0}, size)
    slow = bench(tmp_path / "slow.json", {"onnx": 94.0}, size, threads=2)
    reports = ("--old-bench", both, "--new-bench", both)
    for gate, code in (("decode=6%", 0), ("decode=5%", 1), ("decode:onnx=6", 0), ("decode:onnx, 128 tokens=5.9", 1)):
        assert envelope(capsys, *gated(old, old, gate), *reports)[0] == code
    code, told = envelope(capsys, *gated(old, old, "decode=50%"), "--old-bench", both, "--new-bench", slow)
    assert (code, "measured on different things" in told["diagnostics"][0]["message"]) == (1, True)
    other = bench(tmp_path / "other.json", {"onnx": 1.0}, size + 1)
    junk = write(tmp_path / "junk.json", '{"command": "check"}')
    code, told = envelope(capsys, old, old, "--old-bench", other, "--new-bench", junk)
    assert (code, {d["where"].split(":")[0] for d in told["diagnostics"]}) == (2, {"other.json", "junk.json"})
