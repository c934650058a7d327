"""Models that Kogata doesn't draw, from the command to the clients that load what it wrote."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import transformers
from onnx import numpy_helper
from support.command import kogata_plain as kogata
from support.other_checkpoints import tiny_model

RNG = np.random.default_rng(11)


def said(capsys: pytest.CaptureFixture[str]) -> str:
    """Everything printed so far."""
    return "".join(capsys.readouterr())


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("made")


def checkpoint(made: Path, kind: str) -> Path:
    folder = made / kind
    return folder if folder.exists() else tiny_model(folder, kind)


def bundle(made: Path, kind: str, *options: object) -> Path:
    """Of one of the tiny models; made once for each set of options."""
    out = made / "-".join([kind, "bundle", *map(str, options)])
    if not out.exists():
        assert kogata("export", checkpoint(made, kind), "-o", out, "--parity", "quick", "-q", *options) == 0
    return out


def files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file()}


def test_an_image_classifier(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = bundle(made, "vit", "--bits", 8)
    assert {
        "onnx/model.onnx", "onnx/config.json", "onnx/preprocessor_config.json", "preprocessor/preprocessor_config.json",
        "coreml/vit.mlpackage/Manifest.json", "parity/report.html", "README.md", "SHA256SUMS",
    } <= files(out)  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["task"], manifest["context"]) == ("image-classification", None)
    assert manifest["model"]["labels"] == ["cat", "dog", "小鳥", "fish", "none of these"]
    assert manifest["model"]["inputs"]["model"] == [
        {"name": "pixel_values", "kind": "image", "dtype": "FLOAT", "shape": [1, 3, 32, 32]}
    ]
    rows = {row["name"]: row["verdict"] for row in json.loads((out / "parity" / "report.json").read_text())["rows"]}
    assert rows == dict.fromkeys(
        ("import", "compression", "onnx lowering", "coreml lowering", "fp16", "onnx", "coreml", "onnx vs coreml"),
        "passed",
    )
    card = (out / "README.md").read_text()
    assert "mean 0.485, 0.456, 0.406" in card
    assert "ORTModelForImageClassification" in card
    assert kogata("verify", out) == 0
    assert kogata("check", out, "--quick", "-q") == 0
    assert kogata("check", out, "--against", checkpoint(made, "vit"), "--quick", "-q") == 0
    assert kogata("inspect", out) == 0
    capsys.readouterr()
    assert kogata("run", out, "a picture") == 3
    assert "image-classification" in said(capsys)


def test_an_encoder_decoder_in_two_components(made: Path) -> None:
    # 42 positions of --parity quick are too few: one flip of this random model is more than the gate allows.
    out = bundle(made, "t5", "--bits", 8, "--parity", "full")
    assert {
        "onnx/encoder_model.onnx", "onnx/decoder_model.onnx", "onnx/generation_config.json", "tokenizer/tokenizer.json",
        "coreml/t5-encoder_model.mlpackage/Manifest.json", "coreml/t5-decoder_model.mlpackage/Manifest.json",
    } <= files(out)  # fmt: skip
    manifest = json.loads((out / "manifest.json").read_text())
    assert [(a["kind"], a["component"]) for a in manifest["artifacts"]] == [
        ("coreml", "encoder_model"), ("coreml", "decoder_model"),
        ("onnx", "encoder_model"), ("onnx", "decoder_model"),
    ]  # fmt: skip
    assert set(manifest["parity"]) == {a["path"] for a in manifest["artifacts"]}
    assert all(p["verdict"] == "passed" for p in manifest["parity"].values())
    for artifact in manifest["artifacts"]:
        others = {"encoder_model", "decoder_model"} - {artifact["component"]}
        assert not any(other in file["path"] for file in artifact["files"] for other in others)
    assert kogata("verify", out) == 0
    assert kogata("check", out, "--against", checkpoint(made, "t5"), "-q") == 0


def test_two_towers(made: Path) -> None:
    """CLIP's towers are files of their own; together they score a text for an image as the whole model does."""
    out = bundle(made, "clip", "--bits", 16, "--to", "onnx")
    assert {"onnx/text_model.onnx", "onnx/vision_model.onnx"} <= files(out)
    assert "onnx/model.onnx" not in files(out)
    generator = torch.Generator().manual_seed(6)
    ids = torch.randint(3, 298, (2, 16), generator=generator)
    ids[:, -1] = 299  # where CLIP reads a text's embedding
    pixels = torch.randn(3, 3, 32, 32, generator=generator)
    texts, images = (
        onnxruntime.InferenceSession(str(out / "onnx" / f"{tower}_model.onnx")).run(None, feeds)[0]
        for tower, feeds in (
            ("text", {"input_ids": ids.numpy(), "attention_mask": np.ones((2, 16), np.int64)}),
            ("vision", {"pixel_values": pixels.numpy()}),
        )
    )
    scale = json.loads((out / "manifest.json").read_text())["model"]["logit_scale"]
    with torch.inference_mode():
        expected = reference(checkpoint(made, "clip"))(input_ids=ids, pixel_values=pixels).logits_per_image
    assert close(torch.from_numpy(scale * images @ texts.T), expected)


def test_the_same_bytes_each_time(made: Path, tmp_path: Path) -> None:
    out = bundle(made, "vit", "--bits", 8)
    again = tmp_path / "again"
    assert kogata("export", checkpoint(made, "vit"), "-o", again, "--parity", "quick", "-q", "--bits", 8) == 0
    assert {f: (out / f).read_bytes() for f in files(out)} == {f: (again / f).read_bytes() for f in files(again)}


def reference(folder: Path) -> Any:
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder).eval()


def close(found: torch.Tensor, expected: torch.Tensor) -> bool:
    """float32 on both sides: 1e-4 of the largest value."""
    return bool((found - expected).abs().max() <= 1e-4 * expected.abs().max())


def test_optimum_loads_an_image_classifier(made: Path) -> None:
    from optimum.onnxruntime import ORTModelForImageClassification

    out = bundle(made, "vit", "--bits", 16, "--to", "onnx")
    model = ORTModelForImageClassification.from_pretrained(out / "onnx")
    pixels = torch.randn(3, 3, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = reference(checkpoint(made, "vit"))(pixel_values=pixels).logits
        assert close(model(pixel_values=pixels).logits, expected)
    assert model.config.id2label[2] == "小鳥"
    palettized = ORTModelForImageClassification.from_pretrained(bundle(made, "vit", "--bits", 8) / "onnx")
    found = palettized(pixel_values=pixels).logits
    assert torch.cosine_similarity(found, expected).min() > 0.99
    assert not torch.equal(found, expected)


def test_optimum_loads_an_encoder_decoder(made: Path) -> None:
    from optimum.onnxruntime import ORTModelForSeq2SeqLM

    out = bundle(made, "t5", "--bits", 16, "--to", "onnx")
    model = ORTModelForSeq2SeqLM.from_pretrained(out / "onnx", use_cache=False)
    torch_model = reference(checkpoint(made, "t5"))
    generator = torch.Generator().manual_seed(2)
    ids = torch.randint(3, 300, (2, 9), generator=generator)
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    decoder_ids = torch.randint(3, 300, (2, 4), generator=generator)
    with torch.inference_mode():
        expected = torch_model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids).logits
        found = model(input_ids=ids, attention_mask=mask, decoder_input_ids=decoder_ids).logits
        assert close(found, expected)
        settings = {"attention_mask": mask, "max_new_tokens": 8, "do_sample": False, "num_beams": 1}
        assert torch.equal(model.generate(ids, **settings), torch_model.generate(ids, **settings))


def test_optimum_loads_a_speech_model(made: Path) -> None:
    from optimum.onnxruntime import ORTModelForSpeechSeq2Seq

    out = bundle(made, "whisper", "--bits", 16, "--to", "onnx")
    model = ORTModelForSpeechSeq2Seq.from_pretrained(out / "onnx", use_cache=False)
    generator = torch.Generator().manual_seed(3)
    sound = torch.randn(2, 8, 60, generator=generator)
    ids = torch.randint(3, 300, (2, 5), generator=generator)
    with torch.inference_mode():
        expected = reference(checkpoint(made, "whisper"))(input_features=sound, decoder_input_ids=ids).logits
        assert close(model(input_features=sound, decoder_input_ids=ids).logits, expected)


def test_a_decoder_of_another_family(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """As ONNX with a cache, which optimum's class generates with; for Core ML the refusal says what to do."""
    from optimum.onnxruntime import ORTModelForCausalLM

    source = checkpoint(made, "bloom")
    assert kogata("export", source, "-o", tmp_path / "both") == 3
    assert "--to onnx" in said(capsys)
    assert not (tmp_path / "both").exists()
    out = bundle(made, "bloom", "--bits", 16, "--to", "onnx")
    rows = [row["name"] for row in json.loads((out / "parity" / "report.json").read_text())["rows"]]
    assert "onnx cached decode" in rows
    model = ORTModelForCausalLM.from_pretrained(out / "onnx")
    torch_model = reference(source)
    ids = torch.randint(3, 300, (1, 6), generator=torch.Generator().manual_seed(4))
    settings = {"max_new_tokens": 8, "do_sample": False, "pad_token_id": 3, "eos_token_id": None}
    with torch.inference_mode():
        assert close(model(ids, attention_mask=torch.ones_like(ids)).logits, torch_model(ids).logits)
        assert torch.equal(model.generate(ids, **settings), torch_model.generate(ids, **settings))
    capsys.readouterr()
    assert kogata("run", out, "Wake me up", "--max-tokens", 4) == 0
    assert kogata("check", out, "--against", source, "--quick", "-q") == 0


def own_model(folder: Path, extra: str = "") -> Path:
    """A file as a user's own exporter writes one: an unusual name, an axis of any size, weights `[in, out]`."""
    text = f"""<ir_version: 8, opset_import: ["" : 17, "com.example" : 1]>
    g (float[N, 48] measured, int64[N] station) => (float[N, 7] forecast) {{
        place = Gather(stations, station)
        h = MatMul(measured, up)
        s = Add(h, place)
        a = Erf(s)
        {extra or "b = Identity(a)"}
        forecast = MatMul(b, down)
    }}"""
    model = onnx.parser.parse_model(text)
    for name, shape in {"stations": (90, 64), "up": (48, 64), "down": (64, 7)}.items():
        values = (RNG.standard_normal(shape) / np.sqrt(shape[0])).astype(np.float32)
        model.graph.initializer.append(numpy_helper.from_array(values, name))
    folder.mkdir(exist_ok=True)
    onnx.save(model, str(folder / "weather.onnx"))
    return folder / "weather.onnx"


def test_a_users_own_file(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = own_model(tmp_path / "own")
    (tmp_path / "own" / "LICENSE").write_text("of something else that lies here")
    out = tmp_path / "own" / "bundle"  # beside the file, which is no folder that would hold it
    assert kogata("export", source, "-o", out, "--bits", 6) == 0
    assert "measured [1, 48]" in said(capsys)
    manifest = json.loads((out / "manifest.json").read_text())
    assert (manifest["name"], manifest["task"], manifest["model"]["family"]) == ("weather", "other", "onnx")
    assert manifest["source"]["license"] is None
    assert manifest["model"]["inputs"]["model"][1]["vocabulary"] == 90
    assert not any("LICENSE" in f or f.startswith(("tokenizer", "preprocessor")) for f in files(out))
    assert {f for f in files(out) if f.startswith("onnx/")} == {"onnx/model.onnx"}
    assert kogata("verify", out) == 0
    assert kogata("check", out, "--against", source, "-q") == 0
    assert kogata("check", out, "-q") == 0
    assert kogata("inspect", source) == 0
    again = tmp_path / "again"
    assert kogata("export", source, "-o", again, "--shape", "measured=4,48", "--parity", "quick", "-q") == 0
    inputs = json.loads((again / "manifest.json").read_text())["model"]["inputs"]["model"]
    assert [port["shape"] for port in inputs] == [[4, 48], [4]]


def test_samples_of_the_user(tmp_path: Path) -> None:
    source = own_model(tmp_path / "own")
    np.savez(tmp_path / "days.npz", measured=RNG.standard_normal((3, 48)), station=np.array([[1], [89], [0]]))
    assert kogata("export", source, "-o", tmp_path / "out", "--bits", 8, "--prompts", tmp_path / "days.npz", "-q") == 0
    report = json.loads((tmp_path / "out" / "parity" / "report.json").read_text())
    assert report["prompts"] == {"count": 3, "source": "days.npz"}


def test_everything_that_core_ml_lacks_is_listed_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    extra = "b0 = com.example.Secret(a) b = com.example.Other(b0)"
    source = own_model(tmp_path / "own", extra)
    assert kogata("export", source, "-o", tmp_path / "out", "--to", "coreml", "--format", "json") == 3
    found = json.loads(capsys.readouterr().out)["diagnostics"]
    assert {"Secret", "Other"} == {op for d in found for op in ("Secret", "Other") if op in d["message"]}
    assert all(d["where"] for d in found)
    assert not (tmp_path / "out").exists()


def test_a_failed_gate_exits_1(made: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Two bits leave little of an encoder-decoder this small, whose attention isn't scaled."""
    out = tmp_path / "out"
    assert kogata("export", checkpoint(made, "t5"), "-o", out, "--bits", 2, "--parity", "quick", "-q") == 1
    assert not out.exists()
    assert (tmp_path / "out.rejected" / "manifest.json").exists()
    assert "parity row" in said(capsys)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        (["--shape", "pixel_values"], 2),
        (["--shape", "pixel_values=1,a"], 2),
        (["--shape", "pixel_values=1,3,32,32", "--shape", "pixel_values=1,3,32,32"], 2),
        (["--shape", "pictures=1,3,32,32"], 2),
        (["--shape", "pixel_values=1,3,32"], 2),
        (["--context", "64"], 2),
        (["--prompts", "missing.npz"], 2),
        (["--task", "missing.jsonl"], 2),
        (["--for", "no-such-device"], 2),
    ],
)
def test_options_that_make_no_sense(made: Path, tmp_path: Path, options: list[str], code: int) -> None:
    assert kogata("export", checkpoint(made, "vit"), "-o", tmp_path / "out", "-q", *options) == code
    assert list(tmp_path.iterdir()) == []


def test_shapes_are_for_models_that_come_as_onnx(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from support.checkpoints import tiny_bert

    tiny_bert(tmp_path / "bert")
    assert kogata("export", tmp_path / "bert", "-o", tmp_path / "out", "--shape", "input_ids=1,8") == 2
    assert "--context" in said(capsys)


@pytest.mark.parametrize(
    "name", ["gpt-4o-mini", "openai/gpt-4o", "google/gemini-2.5-flash", "anthropic/claude-3-haiku"]
)
def test_closed_models_have_no_weights(tmp_path: Path, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("export", name, "-o", tmp_path / "out") == 2
    assert "publish no weights" in said(capsys)


def test_what_inspect_says_before_anything_is_traced(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert kogata("inspect", checkpoint(made, "vit"), "--format", "json") == 0
    facts = json.loads(capsys.readouterr().out)["result"]["facts"]
    assert facts["export"].startswith("through optimum-onnx ")
    assert (facts["task"], facts["image"]) == ("image-classification", "3 × 32 × 32")


def test_damaged_components_are_noticed(made: Path, tmp_path: Path) -> None:
    out = shutil.copytree(bundle(made, "t5", "--bits", 8, "--parity", "full"), tmp_path / "t5")
    with (out / "onnx" / "decoder_model.onnx").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\0" if file.read(1) != b"\0" else b"\1")
    assert kogata("verify", out) == 1
    assert kogata("check", out) == 1


@pytest.mark.slow
def test_experts_are_compressed_or_the_size_gate_fails(made: Path, tmp_path: Path) -> None:
    """32 columns at 8 bits: LUTs of 16 rows take as many bytes as they save, LUTs of 32 rows half as many."""
    folder, out = checkpoint(made, "qwen3_moe"), tmp_path / "out"
    options = ("--to", "onnx", "--bits", 8, "--calibrate", "none", "--parity", "none", "-q")
    assert kogata("export", folder, "-o", out, *options) == 0
    manifest = json.loads((out / "manifest.json").read_text())
    experts = [t for t in manifest["compression"]["tensors"] if ".experts." in t["name"]]
    assert len(experts) == 2 * 8 * 3
    assert {t["bits"] for t in experts} == {8}
    assert sum(t["stored_bytes"] for t in experts) < 2 * sum(t["shape"][0] * t["shape"][1] for t in experts)
    assert kogata("export", folder, "-o", tmp_path / "one", *options, "--group-size", 1) == 1
    manifest = json.loads((tmp_path / "one.rejected" / "manifest.json").read_text())
    assert manifest["verdict"] == "failed"
    assert "were not compressed as --bits 8 asks" in manifest["failures"][0]


@pytest.mark.slow
def test_a_bundle_of_a_checkpoint_is_not_checked_against_a_file(made: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = bundle(made, "bloom", "--bits", 8, "--to", "onnx")
    said(capsys)
    assert kogata("check", out, "--against", out / "onnx" / "model.onnx") == 2
    assert "made from a checkpoint that optimum exports, and this is an .onnx file" in said(capsys)
