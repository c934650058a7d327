"""The command as a user types it: every way it can end, and what it prints then."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support.checkpoints import tiny_bert, tiny_llama
from support.command import kogata


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_llama(tmp_path_factory.mktemp("checkpoints") / "tiny llama 小型")


@pytest.fixture(scope="module")
def bundle(decoder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("bundles") / "out put"
    assert kogata("export", decoder, "-o", out, "--bits", 8, "--parity", "quick", "-q") == 0
    return out


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_bundle_holds_what_the_readme_says(bundle: Path) -> None:
    names = set(tree(bundle))
    stem = json.loads((bundle / "manifest.json").read_text())["name"]
    for expected in (
        "manifest.json", "SHA256SUMS", "README.md", "bom.cdx.json", "parity/report.json", "parity/report.html",
        "onnx/model.onnx", "onnx/config.json", "onnx/genai_config.json", "onnx/tokenizer.json",
        "tokenizer/tokenizer.json", f"coreml/{stem}.mlpackage/Manifest.json",
    ):  # fmt: skip
        assert expected in names
    card = (bundle / "README.md").read_text()
    assert str(Path.home()) not in card
    assert str(bundle) not in card


def test_sha256sum_reads_the_sums(bundle: Path) -> None:
    if shutil.which("sha256sum") is None:
        pytest.skip("this system has no sha256sum")
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=bundle, check=True)


def test_verify_names_the_changed_file(bundle: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("verify", bundle) == 0
    for name in tree(bundle):
        copy = tmp_path / "copy"
        shutil.copytree(bundle, copy)
        victim = copy / name
        data = bytearray(victim.read_bytes())
        data[len(data) // 2] ^= 1
        victim.write_bytes(data)
        capsys.readouterr()
        assert kogata("verify", copy, "--format", "json") == 1
        told = json.loads(capsys.readouterr().out)
        assert not told["ok"]
        assert told["exit_code"] == 1
        if name != "SHA256SUMS":  # there the line that no longer matches names its own file
            assert any(d["where"].startswith(name) for d in told["diagnostics"]), name
        shutil.rmtree(copy)


def test_check_without_and_with_the_checkpoint(bundle: Path, decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("check", bundle, "--quick", "-q") == 0
    capsys.readouterr()
    assert kogata("check", bundle, "--against", decoder, "--quick", "--format", "json") == 0
    told = json.loads(capsys.readouterr().out)
    names = {row["name"] for row in told["result"]["rows"]}
    assert {"onnx", "coreml", "onnx vs coreml"} <= names


def test_check_refuses_to_run_changed_files(bundle: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    (copy / "onnx/model.onnx").write_bytes(b"nonsense")
    assert kogata("check", copy, "--quick") == 1


def test_both_artifacts_give_the_same_answer(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answers = []
    for artifact in ("onnx", "coreml"):
        capsys.readouterr()
        ran = kogata("run", bundle, "Dim the lamp.", "--artifact", artifact, "--max-tokens", 12, "--format", "json")
        assert ran == 0
        answers.append(json.loads(capsys.readouterr().out)["result"])
    assert answers[0]["text"] == answers[1]["text"]
    assert answers[0]["tokens"] > 0
    assert "reference executor" in answers[1]["runner"] or sys.platform == "darwin"


def test_an_encoder_embeds(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tiny_bert(tmp_path / "bert", pooling="mean", normalize=True)
    out = tmp_path / "out"
    assert kogata("export", folder, "-o", out, "--bits", 8, "--to", "onnx", "--parity", "quick", "-q") == 0
    capsys.readouterr()
    assert kogata("run", out, "A small model.", "--format", "json") == 0
    vector = json.loads(capsys.readouterr().out)["result"]["embedding"]
    assert abs(sum(x * x for x in vector) - 1) < 1e-5
    assert kogata("run", out, "A small model.", "--artifact", "coreml") == 2
    assert "no coreml artifact" in capsys.readouterr().err


@pytest.mark.parametrize("what", ["checkpoint", "onnx", "mlpackage", "bundle"])
def test_inspect_everything(what: str, bundle: Path, decoder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = {
        "checkpoint": decoder,
        "onnx": bundle / "onnx/model.onnx",
        "mlpackage": next((bundle / "coreml").iterdir()),
        "bundle": bundle,
    }[what]
    assert kogata("inspect", path, "--format", "json") == 0
    facts = json.loads(capsys.readouterr().out)["result"]["facts"]
    assert len(facts) >= 4


def test_two_processes_write_the_same_bytes(decoder: Path, tmp_path: Path) -> None:
    """This one, and one with other hashes in another time zone."""
    environment = {**os.environ, "PYTHONHASHSEED": "1", "TZ": "UTC+1"}
    made = []
    for name in ("here", "there"):
        out = tmp_path / name / "bundle"
        out.parent.mkdir()
        options = ["export", str(decoder), "-o", str(out), "--bits", "3", "--parity", "quick", "--quiet"]
        if name == "here":
            kogata(*options)
        else:
            subprocess.run([sys.executable, "-m", "exporter", *options], check=False, env=environment)
        made.append(tree(out if out.exists() else out.with_name("bundle.rejected")))
    assert made[0]
    assert made[0].keys() == made[1].keys()
    assert [name for name in made[0] if made[0][name] != made[1][name]] == []


def test_a_failed_gate_leaves_a_rejected_folder(
    decoder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One bit a weight makes random weights another model: the limits on KL and top-1 break."""
    out = tmp_path / "out"
    code = kogata("export", decoder, "-o", out, "--bits", 1, "--parity", "quick")
    told = capsys.readouterr()
    assert code == 1
    assert not out.exists()
    assert (out.with_name("out.rejected") / "parity/report.html").is_file()
    assert "rejected" in told.out
    assert "error:" in told.err
    renamed = out.with_name("out.rejected").rename(tmp_path / "renamed")
    capsys.readouterr()
    assert kogata("verify", renamed) == 1
    capsys.readouterr()
    assert kogata("check", renamed, "--quick", "--format", "json", "-q") == 1
    assert json.loads(capsys.readouterr().out)["verdict"] == "failed"
    assert kogata("run", renamed, "Hello", "--max-tokens", 2, "-q") == 0
    assert "warning: this bundle failed" in capsys.readouterr().err


def test_unchecked_is_never_called_passed(decoder: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    assert kogata("export", decoder, "-o", out, "--to", "onnx", "--parity", "none", "-q") == 0
    manifest = json.loads((out / "manifest.json").read_text())
    assert [p["verdict"] for p in manifest["parity"].values()] == ["unchecked"]
    assert not (out / "parity").exists()


class TestBadInput:
    """Each ends with the contract's exit code, says what and where, and leaves nothing behind."""

    @pytest.fixture
    def spoiled(self, decoder: Path, tmp_path: Path) -> Path:
        copy = tmp_path / "checkpoint"
        shutil.copytree(decoder, copy)
        return copy

    def refuse(self, capsys: pytest.CaptureFixture[str], code: int, *arguments: object) -> str:
        parent = Path(str(arguments[arguments.index("-o") + 1])).parent
        before = sorted(parent.iterdir()) if parent.is_dir() else None
        assert kogata("export", *arguments) == code
        told = capsys.readouterr()
        assert "Traceback" not in told.out + told.err
        assert "error:" in told.err
        assert told.out == ""
        assert before is None or sorted(parent.iterdir()) == before
        return str(told.err)

    def test_truncated_weights(self, spoiled: Path, tmp_path: Path, capsys) -> None:
        weights = next(spoiled.glob("*.safetensors"))
        weights.write_bytes(weights.read_bytes()[:-100])
        assert weights.name in self.refuse(capsys, 2, spoiled, "-o", tmp_path / "out")

    def test_missing_tokenizer(self, spoiled: Path, tmp_path: Path, capsys) -> None:
        (spoiled / "tokenizer.json").unlink()
        assert "tokenizer" in self.refuse(capsys, 2, spoiled, "-o", tmp_path / "out")

    def test_unknown_architecture(self, spoiled: Path, tmp_path: Path, capsys) -> None:
        config = json.loads((spoiled / "config.json").read_text())
        (spoiled / "config.json").write_text(json.dumps({**config, "model_type": "lama"}))
        told = self.refuse(capsys, 3, spoiled, "-o", tmp_path / "out")
        assert "lama" in told
        assert "llama" in told

    def test_pickle_only(self, spoiled: Path, tmp_path: Path, capsys) -> None:
        for file in spoiled.glob("*.safetensors*"):
            file.unlink()
        (spoiled / "pytorch_model.bin").write_bytes(b"\x80\x04.")
        assert "pickle" in self.refuse(capsys, 2, spoiled, "-o", tmp_path / "out")

    def test_unwritable_output(self, decoder: Path, tmp_path: Path, capsys) -> None:
        (tmp_path / "file").write_text("in the way")
        self.refuse(capsys, 2, decoder, "-o", tmp_path / "file" / "out")

    def test_output_that_is_no_bundle(self, decoder: Path, tmp_path: Path, capsys) -> None:
        (tmp_path / "precious").mkdir()
        (tmp_path / "precious" / "thesis.txt").write_text("mine")
        self.refuse(capsys, 2, decoder, "-o", tmp_path / "precious", "--force")
        assert (tmp_path / "precious" / "thesis.txt").read_text() == "mine"

    @pytest.mark.parametrize("bits", [0, 5, 7, 9, -4])
    def test_impossible_bits(self, bits: int, decoder: Path, tmp_path: Path, capsys) -> None:
        self.refuse(capsys, 2, decoder, "-o", tmp_path / "out", f"--bits={bits}")

    def test_unknown_target(self, decoder: Path, tmp_path: Path, capsys) -> None:
        told = self.refuse(capsys, 2, decoder, "-o", tmp_path / "out", "--for", "iphone-15-prop")
        assert "iphone-15-pro" in told

    def test_nothing_there(self, tmp_path: Path, capsys) -> None:
        self.refuse(capsys, 2, tmp_path / "absent", "-o", tmp_path / "out")


def test_usage_errors_use_the_envelope(capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("export", "--format", "json", "--no-such-option") == 2
    told = json.loads(capsys.readouterr().out)
    assert set(told) == {"command", "ok", "exit_code", "result", "diagnostics"}
    assert told["command"] == "export"
    assert told["exit_code"] == 2


def test_help_is_fast_because_nothing_heavy_is_imported() -> None:
    code = (
        "import sys; sys.argv = ['kogata', '--help']\n"
        "from exporter.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'transformers', 'onnxruntime', 'coremltools', 'numba', 'matplotlib', 'numpy', 'onnx'}\n"
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "[]"
