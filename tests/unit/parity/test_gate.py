"""The whole gate on tiny exports: everything sound passes; and each row fails for what it is there to find.

The models have random weights, so that only rows which don't depend on training are gated as strictly as for real ones.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import pytest

from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.palette import Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.lower.onnx import OnnxOptions, lower_onnx

DECODER_ROWS = [
    "import", "compression", "onnx lowering", "coreml lowering", "fp16", "onnx", "coreml", "onnx vs coreml",
    "hub padding", "onnx cached decode", "onnx padding", "coreml masks", "coreml cached decode",
    "tokenizer",
]  # fmt: skip
Q_PROJ = "model.layers.1.self_attn.q_proj.weight"
UP_PROJ = "model.layers.1.mlp.up_proj.weight"


def failed(report):
    return [row.name for row in report.rows if row.verdict == "failed"]


def with_shifted_table(built, name):
    """The compressed hub with one lookup table in another order."""
    palette = built.compressed.palettes[name]
    shifted = replace(palette, lut=np.roll(palette.lut, 3, axis=1))
    return apply_palettes(built.hub, {**built.compressed.palettes, name: shifted})


def test_sound_decoder_passes_every_row(llama, quick):
    report = quick(llama.subjects, depth="full")
    assert [row.name for row in report.rows] == DECODER_ROWS
    assert failed(report) == [], report.findings
    assert report.verdict == report.artifact_verdict(PORTABLE) == report.artifact_verdict(FLEXIBLE) == "passed"
    assert report.row("import").metrics["greedy_equal"] == 1
    assert "not run on a device" in report.row("coreml").runners[1]


def test_sound_encoder_passes_every_row(bert, quick):
    report = quick(bert.subjects)
    assert failed(report) == []
    assert report.row("import").metrics["sentence_psnr_db"] > 100
    assert report.row("onnx vs coreml").metrics["psnr_db"] > 45


def test_report_is_json_without_nan_and_has_no_paths(llama, quick, tmp_path):
    text = json.dumps(quick(llama.subjects).as_json(), allow_nan=False)
    assert str(llama.folder) not in text
    assert "/" + "tmp" not in text


def test_same_report_twice(llama, quick):
    first, second = (json.dumps(quick(llama.subjects, depth="full").as_json()) for _ in range(2))
    assert first == second


def test_bundle_without_checkpoint(llama, quick):
    report = quick(llama.only("onnx", "coreml"))
    names = [row.name for row in report.rows]
    assert names == [
        "fp16",
        "onnx vs coreml",
        "onnx cached decode",
        "onnx padding",
        "coreml masks",
        "coreml cached decode",
    ]
    assert report.verdict == "passed"


def test_bundle_against_checkpoint(llama, quick):
    report = quick(llama.only("checkpoint", "onnx"))
    assert [row.name for row in report.rows] == ["onnx", "onnx cached decode", "onnx padding", "tokenizer"]
    assert report.artifact_verdict(FLEXIBLE) == "unchecked"


@pytest.mark.parametrize(
    ("name", "change", "tensor"),
    [
        (Q_PROJ, lambda w: w.T, "layers.1/attention/q"),
        ("model.layers.0.mlp.down_proj.weight", lambda w: w[::-1], "layers.0/mlp/down"),
        ("rope/cos", lambda table: np.roll(table, 1, axis=0), "layers.0/attention/output"),
        ("model.norm.weight", lambda w: w + 0.01, "norm"),
        ("lm_head.weight", lambda w: np.roll(w, 1, axis=0), "logits"),
    ],
    ids=["transposed", "reversed rows", "rope table off by one", "norm offset", "vocabulary off by one"],
)
def test_import_row_names_the_first_wrong_tensor(llama, quick, breaking, name, change, tensor):
    with_tensor, _ = breaking
    report = quick(replace(llama.only("checkpoint"), hub=with_tensor(llama.hub, name, change)))
    assert failed(report) == ["import"]
    assert [f.where for f in report.findings if f.code == "parity.import"] == [tensor]


def test_import_row_finds_a_missing_causal_mask(llama, quick, breaking):
    def see_everything(nodes):
        causal = nodes["mask/causal"]  # key position <= query position; 0 <= query position is always true
        causal.replace_input_with(0, causal.graph.initializers["integer/0"])

    _, rewired = breaking
    report = quick(replace(llama.only("checkpoint"), hub=rewired(llama.hub, see_everything)))
    assert "import" in failed(report)
    assert report.findings[0].where == "layers.0/attention/output"


def test_padding_row_finds_a_missing_padding_mask(bert, llama, quick, breaking):
    with_tensor, rewired = breaking
    unmasked = with_tensor(bert.hub, "mask/masked", np.zeros_like)
    assert failed(quick(replace(bert.only("checkpoint"), hub=unmasked))) == ["hub padding"]

    def only_causal(nodes):
        nodes["mask/seen"].replace_input_with(0, nodes["mask/causal"].outputs[0])

    unmasked = rewired(llama.hub, only_causal)
    assert failed(quick(replace(llama.only("checkpoint"), hub=unmasked))) == ["hub padding"]


def test_compression_row_names_a_palette_of_another_order(llama, quick):
    """One reversed LUT costs a deep model next to nothing; the weight gate sees it at any number of bits."""
    palettes = dict(llama.compressed.palettes)
    palettes[Q_PROJ] = replace(palettes[Q_PROJ], lut=palettes[Q_PROJ].lut[:, ::-1].copy())
    broken = apply_palettes(llama.hub, palettes)
    report = quick(replace(llama.only("hub"), compressed=broken))
    assert report.verdict == "failed"
    assert [f.where for f in report.findings if f.code == "parity.compression"] == [Q_PROJ]


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_compression_row_fails_gibberish_at_any_bits(llama, quick, bits):
    """Rows in another order: each weight is made of the right numbers, and the model of the wrong ones."""
    rng = np.random.default_rng(0)
    palettes = {
        name: Palette.of(p.indices[rng.permutation(p.shape[0])], p.lut, p.bits, p.group_size)
        for name, p in llama.compressed.palettes.items()
    }
    report = quick(replace(llama.only("hub"), compressed=apply_palettes(llama.hub, palettes)), bits=bits)
    gates = {check.limit.metric: check.passed for check in report.row("compression").checks}
    assert not gates["kl"]
    assert not gates["top1_or_tie"]
    assert not gates["weight_error"] or bits < 8  # the palettes themselves have 8 bits here


@pytest.mark.parametrize("bits", [1, 2, 3, 4, 6, 8])
def test_compression_row_fails_a_broken_encoder_at_any_bits(bert, quick, bits):
    name = "embeddings.word_embeddings.weight"
    palette = bert.compressed.palettes[name]
    broken = Palette.of(np.roll(palette.indices, 1, axis=0), palette.lut, palette.bits, palette.group_size)
    graph = apply_palettes(bert.hub, {**bert.compressed.palettes, name: broken})
    report = quick(replace(bert.only("hub"), compressed=graph), bits=bits)
    gates = {check.limit.metric: check.passed for check in report.row("compression").checks}
    assert not gates["self_retrieval"]
    assert report.findings[0].where == name


def test_onnx_lowering_row_names_the_tensor(llama, quick, tmp_path):
    path = lower_onnx(with_shifted_table(llama, UP_PROJ), tmp_path, OnnxOptions()).path
    report = quick(replace(llama.only("compressed"), artifacts={PORTABLE: path}))
    assert "onnx lowering" in failed(report)
    assert report.findings[0].where == "layers.1/mlp/up"
    assert report.artifact_verdict(PORTABLE) == "failed"


def test_coreml_lowering_row_names_the_tensor(llama, bert, quick, tmp_path):
    cases = [
        (llama, Q_PROJ, "layers.1/attention/q"),
        (bert, "encoder.layer.1.intermediate.dense.weight", "layers.1/mlp/up"),
    ]
    for index, (built, weight, tensor) in enumerate(cases):
        path = tmp_path / f"{index}.mlpackage"
        lower_coreml(with_shifted_table(built, weight), path, CoreMLOptions())
        report = quick(replace(built.only("compressed"), artifacts={FLEXIBLE: path}))
        assert "coreml lowering" in failed(report)
        assert report.findings[0].where == tensor


def test_artifacts_with_different_palettes_fail_against_each_other(llama, quick, tmp_path):
    path = lower_onnx(with_shifted_table(llama, Q_PROJ), tmp_path, OnnxOptions()).path
    report = quick(replace(llama.only(), artifacts={PORTABLE: path, FLEXIBLE: llama.subjects.artifacts[FLEXIBLE]}))
    assert failed(report) == ["onnx vs coreml"]
    assert report.findings[0].where == "layers.1/attention/q"
    assert report.artifact_verdict(PORTABLE) == report.artifact_verdict(FLEXIBLE) == "failed"


def test_fp16_row_names_the_first_overflow(llama, quick, breaking, tmp_path):
    """up × 3e4 and down ÷ 3e4 is the same model in float32; in float16 the product overflows."""
    with_tensor, _ = breaking
    scaled = with_tensor(llama.hub, "model.layers.1.mlp.up_proj.weight", lambda w: w * np.float32(3e4))
    scaled = with_tensor(scaled, "model.layers.1.mlp.down_proj.weight", lambda w: w / np.float32(3e4))
    path = tmp_path / "scaled.mlpackage"
    lower_coreml(scaled, path, CoreMLOptions())
    report = quick(replace(llama.only(), hub=scaled, artifacts={FLEXIBLE: path}), bits=16)
    assert "fp16" in failed(report)
    assert "coreml lowering" not in failed(report)
    finding = next(f for f in report.findings if f.code == "parity.fp16")
    assert finding.where in ("layers_1_mlp_up", "layers_1_mlp_gated")
    assert report.row("fp16").metrics["overflow"] >= 1


def test_not_a_number_fails_every_row_behind_it(llama, quick, breaking):
    def poison(w):
        w = w.copy()
        w[3] = np.nan
        return w

    with_tensor, _ = breaking
    report = quick(replace(llama.only("checkpoint"), hub=with_tensor(llama.hub, "model.norm.weight", poison)))
    assert "import" in failed(report)
    assert report.row("import").metrics["non_finite"] > 0
    assert report.findings[0].where == "norm"
    json.dumps(report.as_json(), allow_nan=False)


def test_cached_decode_row_finds_positions_that_start_anew(llama, quick, breaking, tmp_path):
    """A graph that rotates new tokens as if they were the first is right in one go, and wrong with a cache."""
    _, rewired = breaking
    path = lower_onnx(rewired(llama.hub, _restart_positions), tmp_path, OnnxOptions()).path
    report = quick(replace(llama.only("checkpoint"), artifacts={PORTABLE: path}), bits=16)
    assert "onnx cached decode" in failed(report)
    assert "onnx" not in failed(report)


def _restart_positions(nodes):
    rotation = nodes["layers.0/attention/q_rotated"]
    past = nodes["mask/first"].outputs[0]  # [1]
    restarted = ir.node("Sub", [rotation.inputs[3], past])
    restarted.name = restarted.outputs[0].name = "restarted"
    rotation.graph.insert_before(rotation, [restarted])
    for name in ("layers.0/attention/q_rotated", "layers.0/attention/k_rotated"):
        nodes[name].replace_input_with(3, restarted.outputs[0])


def test_other_output_shapes_fail(llama, quick, breaking):
    with_tensor, _ = breaking
    cut = with_tensor(llama.hub, "lm_head.weight", lambda w: w[:-1])
    report = quick(replace(llama.only("checkpoint"), hub=cut))
    assert report.row("import").metrics["shapes"] > 0
    assert report.verdict == "failed"


def test_rows_that_follow_from_another_are_not_searched(llama, quick, breaking, tmp_path):
    with_tensor, _ = breaking
    broken = with_tensor(llama.hub, Q_PROJ, lambda w: w.T)
    path = lower_onnx(broken, tmp_path, OnnxOptions()).path
    report = quick(replace(llama.only("checkpoint"), hub=broken, artifacts={PORTABLE: path}), bits=16)
    by_code = {f.code: f.message for f in report.findings}
    assert "because of: import" in by_code["parity.onnx"]


def test_a_budget_replaces_the_limit_by_bits(llama, quick):
    report = quick(llama.only("checkpoint", "onnx"), limits={"kl": 1e-12})
    assert failed(report) == ["onnx"]
    check = next(c for c in report.row("onnx").checks if c.limit.metric == "kl")
    assert check.limit.value == 1e-12
    assert "budget" in check.limit.reason


def test_damaged_artifacts_are_input_errors(llama, quick, tmp_path):
    from exporter.errors import InputError

    path = tmp_path / "model.onnx"
    path.write_bytes(llama.subjects.artifacts[PORTABLE].read_bytes()[:-1000])
    with pytest.raises(InputError):
        quick(replace(llama.only("checkpoint"), artifacts={PORTABLE: path}))
    package = tmp_path / "cut.mlpackage"
    shutil.copytree(llama.subjects.artifacts[FLEXIBLE], package)
    weights = next(package.rglob("weight.bin"))
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(InputError):
        quick(replace(llama.only("checkpoint"), artifacts={FLEXIBLE: package}))
