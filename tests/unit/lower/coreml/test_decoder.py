"""The stateful decoder program, executed from the saved package, against transformers and onnxruntime."""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.checkpoints import tiny_llama
from support.decoder_programs import exact_mask, feed, swift_mask
from transformers import AutoModelForCausalLM

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, UnsupportedError
from exporter.graph.model import Hub
from exporter.graph.palette import PALETTE_BITS, Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers import import_checkpoint
from exporter.lower.coreml import CoreMLOptions, lower_coreml
from exporter.runners.mil import MilModel, load_mlpackage
from exporter.runners.ort import OnnxDecoder, OnnxSource

PROMPT = [5, 17, 3, 99, 42, 7, 7, 60]


def palettes(hub: Hub, bits: int, group_size: int) -> dict[str, Palette]:
    """Random palettes: lowering must keep what it is given, good or bad."""
    rng = np.random.default_rng(bits)
    made = {}
    for weight in hub.weights:
        rows, columns = weight.shape
        lut = np.sort(rng.standard_normal((-(-rows // group_size), 2**bits)) * 0.2, axis=1).astype(np.float16)
        indices = rng.integers(0, 2**bits, (rows, columns)).astype(np.uint8)
        made[weight.name] = Palette.of(indices, lut, bits, group_size)
    return made


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, MilModel, Hub]:
    folder = tiny_llama(tmp_path_factory.mktemp("llama"), tie_word_embeddings=True)
    hub = import_checkpoint(open_checkpoint(folder))
    path = folder.parent / "tiny.mlpackage"
    lower_coreml(hub, path, CoreMLOptions())
    return folder, load_mlpackage(path), hub


def test_the_callers_mask_is_honoured(exported) -> None:
    _, model, _ = exported
    mask = exact_mask(0, len(PROMPT))
    mask[..., 3:, 2] = -np.inf  # token 2 is hidden from the rest
    state = model.new_state()
    inputs = {"inputIds": np.array([PROMPT], np.int32), "causalMask": mask}
    hidden = model.predict(inputs, state)["logits"][0].astype(np.float32)
    changed = [*PROMPT[:2], 11, *PROMPT[3:]]
    inputs["inputIds"] = np.array([changed], np.int32)
    other = model.predict(inputs, model.new_state())["logits"][0].astype(np.float32)
    np.testing.assert_array_equal(hidden[3:], other[3:])
    assert np.abs(feed(model, [PROMPT], exact_mask) - hidden)[3:].max() > 1e-3


@pytest.mark.parametrize("bits", PALETTE_BITS)
@pytest.mark.parametrize("group_size", [16, 7, 1])
def test_palettes_arrive_as_they_are(exported, tmp_path: Path, bits: int, group_size: int) -> None:
    """Every weight decodes to its palette exactly, and the program computes what the hub with them computes."""
    _, _, hub = exported
    compressed = apply_palettes(hub, palettes(hub, bits, group_size))
    artifact = lower_coreml(compressed, tmp_path / "p.mlpackage", CoreMLOptions())
    model = load_mlpackage(artifact.path)
    for name, palette in compressed.palettes.items():
        stored = model.constant(re.sub(r"\W", "_", name))
        np.testing.assert_array_equal(stored[: palette.shape[0]], palette.dense())
    expected = OnnxDecoder(OnnxSource(compressed.model), 1).session().feed(np.array(PROMPT))
    inputs = {"inputIds": np.array([PROMPT], np.int32), "causalMask": swift_mask(0, len(PROMPT))}
    got = model.predict(inputs, model.new_state(), fp16_rounding=False)["logits"][0]
    # norms and rope tables were rounded to fp16 when they were stored; random weights amplify that
    assert np.abs(got - expected).max() < 1e-2 * np.abs(expected).max()


def test_stored_bytes_are_what_the_bits_say(tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "llama", hidden_size=256, intermediate_size=512, tie_word_embeddings=True)
    hub = import_checkpoint(open_checkpoint(folder))
    compressed = apply_palettes(hub, palettes(hub, 4, 16))
    artifact = lower_coreml(compressed, tmp_path / "p.mlpackage", CoreMLOptions())
    weights = artifact.path / "Data/com.apple.CoreML/weights/weight.bin"
    packed = sum(p.stored_bytes for p in compressed.palettes.values())
    kept = 2 * (2 * 256 * 2 + 256 + 2 * 2 * hub.spec.context * 12)  # norms (twice: [x, -x]) and rope tables, fp16
    # blobs are aligned to 64 bytes and carry 64 of description; a tied weight stored twice would add 12 %
    assert packed + kept < weights.stat().st_size < 1.05 * (packed + kept) + 128 * 60


def test_same_bytes_from_another_process(exported, tmp_path: Path) -> None:
    folder, _, hub = exported
    code = (
        "import sys; from pathlib import Path; from exporter.checkpoint import open_checkpoint;"
        "from exporter.importers import import_checkpoint; from exporter.lower.coreml import *;"
        "lower_coreml(import_checkpoint(open_checkpoint(sys.argv[1])), Path(sys.argv[2]),"
        "CoreMLOptions(metadata={'b': '2', 'a': '1'}))"
    )
    here, there = (tmp_path / name / "m.mlpackage" for name in ("here", "there"))
    for path in (here, there):
        path.parent.mkdir()
    lower_coreml(hub, here, CoreMLOptions(metadata={"b": "2", "a": "1"}))
    subprocess.run([sys.executable, "-c", code, str(folder), str(there)], check=True)
    seen = []
    for path in (here, there):
        files = sorted(p for p in path.rglob("*") if p.is_file())
        seen.append([(str(p.relative_to(path)), hashlib.sha256(p.read_bytes()).hexdigest()) for p in files])
    assert seen[0] == seen[1]
    assert len(seen[0]) == 3


def test_context_is_bounded(exported, tmp_path: Path) -> None:
    _, _, hub = exported
    with pytest.raises(InputError, match="context"):
        lower_coreml(hub, tmp_path / "x.mlpackage", CoreMLOptions(context=hub.spec.context + 1))
    assert not (tmp_path / "x.mlpackage").exists()


def test_a_weight_beyond_float16_is_refused(exported, tmp_path: Path) -> None:
    folder = tiny_llama(tmp_path / "llama")
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    with torch.no_grad():
        model.model.layers[0].mlp.up_proj.weight[0, 0] = 1e5
    model.save_pretrained(folder)
    hub = import_checkpoint(open_checkpoint(folder))
    with pytest.raises(UnsupportedError, match="65504") as caught:
        lower_coreml(hub, tmp_path / "x.mlpackage", CoreMLOptions())
    assert "up_proj" in caught.value.diagnostics[0].where


def test_every_missing_op_is_named_at_once(exported, tmp_path: Path) -> None:
    _, _, hub = exported
    model = hub.model.clone()
    strange = [node for node in model.graph if node.op_type in ("Sigmoid", "RMSNormalization")]
    for node in strange:
        node.op_type = f"Odd{node.op_type}"
    with pytest.raises(UnsupportedError) as caught:
        lower_coreml(replace(hub, model=model), tmp_path / "x.mlpackage", CoreMLOptions())
    assert len(caught.value.diagnostics) == len(strange) > 3
    assert {d.where for d in caught.value.diagnostics} == {node.name for node in strange}


def test_the_program_stays_small(exported) -> None:
    """Ops a layer that are not constants; more of them would mean that something is computed twice.

    Two ops of each layer cut its keys and values out of rows that are padded from 12 to 32.
    """
    _, model, hub = exported
    count = sum(op.kind not in ("const", "constexpr_lut_to_dense") for op in model.function.operations)
    assert count <= 70 + 59 * hub.spec.cache.layers
