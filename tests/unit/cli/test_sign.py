"""`kogata sign`, and what `kogata verify` reports of a signature."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
from support.bundle_plans import PASSED, make_decoder_plan
from support.bundles import write_bundle
from support.command import kogata
from support.keys import write_keys

from exporter.bundle import Staging, finish_bundle

Run = Callable[..., dict[str, Any]]


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    plan = make_decoder_plan(tmp_path / "made")
    write_keys(tmp_path)
    return write_bundle(
        replace(plan, artifacts=tuple(replace(a, parity=PASSED) for a in plan.artifacts)), tmp_path / "out"
    )


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    """The JSON of a command."""

    def ran(*arguments: object) -> dict[str, Any]:
        code = kogata(*arguments, "--format", "json")
        envelope: dict[str, Any] = json.loads(capsys.readouterr().out)
        assert envelope["exit_code"] == code
        return envelope

    return ran


def test_sign_then_verify(bundle: Path, run: Run) -> None:
    folder = bundle.parent
    made = run("sign", bundle, "--key", folder / "key.pem")
    assert made["result"]["signature"] == str(folder / "out.sig")
    assert made["result"]["provenance"] == str(folder / "out.provenance.json")
    found = run("verify", bundle, "--public-key", folder / "key.pub", "--require", "passed")
    assert found["exit_code"] == 0
    assert (found["result"]["sums"], found["result"]["key"]) == ("valid", made["result"]["key"])
    assert [found["result"][what]["status"] for what in ("signature", "provenance")] == ["valid", "valid"]


def test_without_a_key_the_report_says_that_nothing_was_checked(bundle: Path, run: Run) -> None:
    assert run("verify", bundle)["result"]["signature"]["status"] == "absent"
    run("sign", bundle, "--key", bundle.parent / "key.pem", "--no-provenance")
    found = run("verify", bundle)
    assert [found["result"][what]["status"] for what in ("signature", "provenance")] == ["unchecked", "absent"]
    assert [(d["code"], d["level"]) for d in found["diagnostics"]] == [("signature.unchecked", "note")]


def test_every_format_tells_of_an_invalid_signature(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = bundle.parent
    assert kogata("sign", bundle, "--key", folder / "key.pem") == 0
    write_keys(folder)
    capsys.readouterr()
    for format in ("text", "json", "junit", "github"):
        assert kogata("verify", bundle, "--public-key", folder / "key.pub", "--format", format) == 1
        output = "".join(capsys.readouterr())
        assert "was made with another key" in output
        if format == "junit":
            cases = list(ElementTree.fromstring(output).iter("testcase"))
            failed = {c.get("name") for c in cases if c.find("failure") is not None}
            assert {"signature", "provenance"} <= failed


def test_a_signature_that_was_taken_away_fails(bundle: Path, run: Run) -> None:
    found = run("verify", bundle, "--public-key", bundle.parent / "key.pub")
    assert (found["exit_code"], found["diagnostics"][0]["code"]) == (1, "signature.absent")


def test_usage(bundle: Path, run: Run) -> None:
    folder = bundle.parent
    signature = run("verify", bundle, "--signature", folder / "out.sig")
    assert (signature["exit_code"], signature["diagnostics"][0]["code"]) == (2, "verify.key")
    private = run("verify", bundle, "--public-key", folder / "key.pem")
    assert (private["exit_code"], private["diagnostics"][0]["code"]) == (2, "key.private")
    nothing = run("sign", folder / "none", "--key", folder / "key.pem")
    assert (nothing["exit_code"], nothing["diagnostics"][0]["code"]) == (2, "bundle.none")


def test_a_bundle_that_failed_is_not_signed(tmp_path: Path, run: Run) -> None:
    write_keys(tmp_path)
    with Staging(tmp_path / "out") as staging:
        finish_bundle(make_decoder_plan(tmp_path / "made"), staging.path, lambda _: ("too large",))
        path = staging.reject()
    found = run("sign", path, "--key", tmp_path / "key.pem")
    assert (found["exit_code"], found["diagnostics"][0]["code"]) == (1, "bundle.failed")
    assert not list(tmp_path.glob("*.sig"))


def test_the_place_follows_the_name_that_was_given(bundle: Path, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(bundle)
    assert run("sign", ".", "--key", "../key.pem")["result"]["signature"] == str(bundle.parent / "out.sig")
    monkeypatch.chdir(bundle.parent)
    assert run("sign", "out/", "--key", "key.pem")["result"]["signature"] == "out.sig"
