"""Each runner against transformers' own model, called directly."""

from __future__ import annotations

import shutil
import sys

import numpy as np
import onnx
import pytest
import torch
from safetensors.torch import load_file, save_file
from support.checkpoints import edit_config, tiny_bert, tiny_llama, write_json
from transformers import AutoModel, AutoModelForCausalLM

from exporter.errors import InputError, RuntimeMissingError, UnsupportedError
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.runners import coreml
from exporter.runners.base import embeddings_of, logits_of
from exporter.runners.mil import load_mlpackage
from exporter.runners.mil_texts import MASKED, MilDecoder, MilEncoder, causal_mask
from exporter.runners.ort import OnnxDecoder, OnnxEncoder, OnnxSource
from exporter.runners.pooling import SentencePooling
from exporter.runners.reference import TorchDecoder, TorchEncoder

IDS = np.array([5, 30, 100, 7, 7, 250, 19, 301, 44, 12, 3], np.int64)
WORDS = np.array([2, 30, 100, 7, 7, 150, 19, 3], np.int64)
FP32 = 2e-5  # absolute, on values up to 10: float32 in another order of additions


def expected_logits(folder):
    model = AutoModelForCausalLM.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        return model(torch.from_numpy(IDS)[None]).logits[0].numpy()


def decoders(llama):
    mil = load_mlpackage(llama.subjects.artifacts[FLEXIBLE])
    return {
        "torch": (TorchDecoder(llama.subjects.checkpoint), FP32),
        "hub": (OnnxDecoder(OnnxSource(model=llama.hub.model), 1), FP32),
        "onnx": (OnnxDecoder(OnnxSource(path=llama.subjects.artifacts[PORTABLE]), 1), None),
        "mil": (MilDecoder(mil), None),
        "mil unrounded": (MilDecoder(mil, rounding=False, mask="exact"), None),
    }


def test_decoders_in_one_go_and_in_pieces(llama):
    """Palettized ones are compared with each other elsewhere: here they must only agree with themselves."""
    expected = expected_logits(llama.subjects.checkpoint)
    for name, (runner, tolerance) in decoders(llama).items():
        whole = runner.session().feed(IDS)
        assert whole.shape == expected.shape
        assert whole.dtype == np.float32
        if tolerance:
            np.testing.assert_allclose(whole, expected, rtol=0, atol=tolerance, err_msg=name)
        session = runner.session()
        parts = [session.feed(IDS[a:b]) for a, b in ((0, 4), (4, 5), (5, 6), (6, 11))]
        spread = 0.05 if name == "mil" else FP32  # float16 rounds logits of 10 to 0.008, several times over
        np.testing.assert_allclose(np.concatenate(parts), whole, rtol=0, atol=spread, err_msg=name)


def test_sessions_are_independent(llama):
    for name, (runner, _) in decoders(llama).items():
        first, second = runner.session(), runner.session()
        first.feed(IDS[:5])
        np.testing.assert_array_equal(second.feed(IDS[5:]), runner.session().feed(IDS[5:]), err_msg=name)


def test_decoder_batch_is_padded_at_the_start(llama):
    runner = OnnxDecoder(OnnxSource(model=llama.hub.model), 1)
    batch = runner.feed_batch([IDS, IDS[:3], IDS[4:9]])
    for ids, logits in zip((IDS, IDS[:3], IDS[4:9]), batch, strict=True):
        np.testing.assert_allclose(logits, runner.session().feed(ids), rtol=0, atol=FP32)


def test_encoders(bert):
    folder = bert.subjects.checkpoint
    model = AutoModel.from_pretrained(folder, attn_implementation="eager")
    with torch.no_grad():
        tokens = model(torch.from_numpy(WORDS)[None]).last_hidden_state[0].numpy()
    mean = tokens.astype(np.float64).mean(0)
    mean /= np.linalg.norm(mean)
    mil = load_mlpackage(bert.subjects.artifacts[FLEXIBLE])
    for runner, tolerance in (
        (TorchEncoder(folder), FP32),
        (OnnxEncoder(OnnxSource(model=bert.hub.model), 1), FP32),
        (MilEncoder(mil, rounding=False), 0.3),  # palettes of 8 bits
        (MilEncoder(mil), 0.3),
    ):
        made = runner.encode(WORDS)
        assert made.tokens.shape == tokens.shape
        np.testing.assert_allclose(made.tokens, tokens, rtol=0, atol=tolerance)
        np.testing.assert_allclose(made.sentence, mean, rtol=0, atol=tolerance)


def test_encoder_takes_the_smallest_length_that_fits(bert):
    runner = MilEncoder(load_mlpackage(bert.subjects.artifacts[FLEXIBLE]))
    seen = []
    predict = runner.model.predict
    runner.model.predict = lambda feeds, **rest: seen.append(feeds["attention_mask"]) or predict(feeds, **rest)
    for count in (1, runner.lengths[0], runner.lengths[0] + 1):
        runner.encode(np.full(count, 9, np.int64))
    assert [mask.shape[1] for mask in seen] == [runner.lengths[0], runner.lengths[0], runner.lengths[1]]
    assert [int(mask.sum()) for mask in seen] == [1, runner.lengths[0], runner.lengths[0] + 1]
    with pytest.raises(InputError, match="at most"):
        runner.encode(np.full(runner.lengths[-1] + 1, 9, np.int64))


@pytest.mark.parametrize("mode", ["cls_token", "max_tokens", "mean_tokens", "mean_sqrt_len_tokens"])
@pytest.mark.parametrize("normalize", [False, True])
def test_pooling_by_its_definition(mode, normalize):
    hidden = np.random.default_rng(0).standard_normal((7, 5)).astype(np.float32)
    expected = {
        "cls_token": hidden[0],
        "max_tokens": hidden.max(0),
        "mean_tokens": hidden.mean(0),
        "mean_sqrt_len_tokens": hidden.sum(0) / np.sqrt(7),
    }[mode]
    if normalize:
        expected = expected / np.linalg.norm(expected)
    pooled = SentencePooling((mode,), normalize).apply(torch.from_numpy(hidden)).numpy()
    np.testing.assert_allclose(pooled, expected, rtol=1e-5, atol=1e-6)


def test_pooling_is_read_from_the_checkpoint(tmp_path):
    folder = tiny_bert(tmp_path / "cls", pooling="cls", normalize=False)
    pooling = SentencePooling.read(folder)
    assert (pooling.modes, pooling.normalize) == (("cls_token",), False)
    assert SentencePooling.read(tiny_bert(tmp_path / "none", pooling=None)) is None
    write_json(folder / "1_Pooling" / "config.json", {"pooling_mode_attention_tokens": True})
    with pytest.raises(UnsupportedError, match="attention_tokens"):
        SentencePooling.read(folder)
    write_json(folder / "modules.json", [{"type": "sentence_transformers.models.LSTM", "path": "2_LSTM"}])
    with pytest.raises(UnsupportedError, match="LSTM"):
        SentencePooling.read(folder)
    write_json(folder / "modules.json", [{"type": "x.Pooling", "path": "../../elsewhere"}])
    with pytest.raises(InputError, match="leaves"):
        SentencePooling.read(folder)


def test_reference_with_invented_weights_is_refused(tmp_path):
    """transformers would draw the missing weight at random and go on."""
    folder = tiny_llama(tmp_path / "m")
    tensors = load_file(folder / "model.safetensors")
    del tensors["model.layers.1.mlp.up_proj.weight"]
    save_file(tensors, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"model\.layers\.1\.mlp\.up_proj\.weight") as caught:
        TorchDecoder(folder)
    assert caught.value.diagnostics[0].code == "parity.reference-weights"


def test_reference_never_runs_the_checkpoints_code_and_never_unpickles(tmp_path):
    folder = tiny_llama(tmp_path / "code")
    (folder / "evil.py").write_text("raise SystemExit('ran')")
    edit_config(folder, model_type="evil", auto_map={"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"})
    with pytest.raises(InputError) as caught:
        TorchDecoder(folder)
    assert caught.value.diagnostics[0].code == "parity.reference"
    pickled = tiny_llama(tmp_path / "pickle")
    torch.save(load_file(pickled / "model.safetensors"), pickled / "pytorch_model.bin")
    (pickled / "model.safetensors").unlink()
    with pytest.raises(InputError):
        TorchDecoder(pickled)


def test_damaged_onnx_files(llama, tmp_path):
    for name, content in (
        ("empty.onnx", b""),
        ("text.onnx", b"hello"),
        ("cut.onnx", llama.subjects.artifacts[PORTABLE].read_bytes()[:5000]),
    ):
        path = tmp_path / name
        path.write_bytes(content)
        with pytest.raises(InputError) as caught:
            OnnxDecoder(OnnxSource(path=path), 1)
        assert caught.value.diagnostics[0].where in (name, "")
    with pytest.raises(InputError):
        OnnxDecoder(OnnxSource(path=tmp_path / "missing.onnx"), 1)


@pytest.mark.parametrize("location", ["../secret.bin", "/etc/passwd", "link.bin"])
def test_external_data_stays_in_the_folder(tmp_path, location):
    (tmp_path / "secret.bin").write_bytes(bytes(16))
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "link.bin").symlink_to(tmp_path / "secret.bin")
    tensor = onnx.helper.make_tensor("w", onnx.TensorProto.FLOAT, [4], np.zeros(4, np.float32).tobytes(), raw=True)
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value=location)
    value = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [4])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Identity", ["w"], ["y"])], "g", [], [value], [tensor])
    (folder / "model.onnx").write_bytes(onnx.helper.make_model(graph).SerializeToString())
    with pytest.raises(InputError, match="outside of the model's folder"):
        OnnxEncoder(OnnxSource(path=folder / "model.onnx"), 1)


def test_decoder_without_cache_is_refused(bert):
    with pytest.raises(InputError, match="cache"):
        OnnxDecoder(OnnxSource(model=bert.hub.model), 1)


def test_large_graphs_go_through_a_file(llama, monkeypatch):
    monkeypatch.setattr("exporter.runners.ort._BYTES_LIMIT", 1)
    by_file = OnnxDecoder(OnnxSource(model=llama.hub.model), 1)
    monkeypatch.undo()
    by_bytes = OnnxDecoder(OnnxSource(model=llama.hub.model), 1)
    np.testing.assert_array_equal(by_file.session().feed(IDS), by_bytes.session().feed(IDS))


def test_callers_masks():
    exact = causal_mask(2, 3, "exact")
    assert exact.shape == (1, 1, 3, 5)
    assert exact.dtype == np.float16
    np.testing.assert_array_equal(exact[0, 0] == np.float16(MASKED), np.triu(np.ones((3, 5), bool), 3))
    zeros = causal_mask(2, 3, "swift-transformers")
    assert zeros.shape == (1, 1, 1, 6)
    assert not zeros.any()


@pytest.mark.skipif(sys.platform == "darwin", reason="macOS has Core ML")
def test_core_ml_is_refused_where_there_is_none(llama, quick):
    with pytest.raises(RuntimeMissingError) as caught:
        coreml.CoreMLDecoder(llama.subjects.artifacts[FLEXIBLE])
    assert caught.value.exit_code == 4
    with pytest.raises(RuntimeMissingError):
        quick(llama.only("coreml"), coreml_runner="system")


def test_core_ml_runner_calls_the_model_as_an_app_does(llama, bert, monkeypatch):
    """The reference executor behind the interface of Core ML's Python class: only the calls are tested."""

    class Model:
        def __init__(self, path):
            from pathlib import Path

            self.model = load_mlpackage(Path(path))

        def make_state(self):
            return self.model.new_state()

        def predict(self, feeds, state=None):
            return self.model.predict(feeds, state)

    monkeypatch.setattr(coreml, "available", lambda: True)
    import coremltools

    monkeypatch.setattr(coremltools.models, "MLModel", Model)
    session = coreml.CoreMLDecoder(llama.subjects.artifacts[FLEXIBLE]).session()
    reference = MilDecoder(load_mlpackage(llama.subjects.artifacts[FLEXIBLE])).session()
    for piece in (IDS[:4], IDS[4:5], IDS[5:]):
        np.testing.assert_array_equal(session.feed(piece), reference.feed(piece))
    mil = MilEncoder(load_mlpackage(bert.subjects.artifacts[FLEXIBLE]))
    made = coreml.CoreMLEncoder(bert.subjects.artifacts[FLEXIBLE], mil.lengths).encode(WORDS)
    np.testing.assert_array_equal(made.tokens, mil.encode(WORDS).tokens)


def test_copied_package_gives_the_same_numbers(llama, tmp_path):
    """Nothing of the runner depends on where a file lies."""
    copy = tmp_path / "copy.mlpackage"
    shutil.copytree(llama.subjects.artifacts[FLEXIBLE], copy)
    one, other = (
        MilDecoder(load_mlpackage(path)).session().feed(IDS) for path in (llama.subjects.artifacts[FLEXIBLE], copy)
    )
    np.testing.assert_array_equal(one, other)


def test_outputs_of_other_shapes_are_refused():
    """Some exports give the logits of the last position only: nothing here could be compared with them."""
    good = np.zeros((1, 3, 7), np.float16)
    assert logits_of({"logits": good}, 3).dtype == np.float32
    assert embeddings_of({"token_embeddings": good}, 2).tokens.shape == (2, 7)
    for results in ({}, {"logits": good[:, -1:]}, {"logits": good[0]}, {"logits": np.zeros(())}):
        with pytest.raises(InputError):
            logits_of(results, 3)
    for results in ({}, {"token_embeddings": good[:, :1]}, {"token_embeddings": good, "sentence_embedding": good}):
        with pytest.raises(InputError):
            embeddings_of(results, 3)
