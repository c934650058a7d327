"""The `onnx/` folder as the real clients load it: onnxruntime-genai, optimum, sentence-transformers.

The reference is transformers' own model with the palettes' decoded weights, so that a client must compute exactly what
the file stores; nothing of Kogata takes part in running it.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from support.checkpoints import SENTENCES, tiny_bert, tiny_llama
from transformers import AutoModel, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from exporter.bundle.onnx_files import genai_config, generation_config, model_config
from exporter.checkpoint import open_checkpoint
from exporter.graph.model import DecoderSpec, Hub
from exporter.graph.palette import Palette
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.importers import import_checkpoint
from exporter.lower.onnx import OnnxOptions, lower_onnx

BITS = 4
STEPS = 12  # greedy tokens: enough to run the cache well past the prompt
# fp32 on both sides, but other orders of summation, through two layers whose activations are around 1 to 10.
TOLERANCE = 2e-4


def palettized(hub: Hub) -> Hub:
    """Each open matrix on an even grid per group of 4 rows; how well it fits doesn't matter here."""
    palettes = {}
    for weight in hub.weights:
        values = hub.model.graph.initializers[weight.name].const_value.numpy().astype(np.float32)
        groups = -(-len(values) // 4)
        lut = np.linspace(values.min(), values.max(), 2**BITS).astype(np.float16)
        indices = np.abs(values[..., None] - lut.astype(np.float32)).argmin(-1).astype(np.uint8)
        palettes[weight.name] = Palette.of(indices, np.tile(lut, (groups, 1)), BITS, 4)
    return apply_palettes(hub, palettes)


def write_folder(source: Path, folder: Path) -> tuple[Hub, Path]:
    """`onnx/` as a bundle has it: the model, configurations and the tokenizer."""
    checkpoint = open_checkpoint(source)
    hub = palettized(import_checkpoint(checkpoint))
    lower_onnx(hub, folder, OnnxOptions())
    files: dict[str, Mapping[str, object]] = {"config.json": model_config(checkpoint.config)}
    if isinstance(hub.spec, DecoderSpec):
        config, generation = checkpoint.config, checkpoint.generation_config
        files["generation_config.json"] = generation_config(config, generation)
        files["genai_config.json"] = genai_config(hub.spec, hub.family, hub.spec.context, config, generation)
    for name, content in files.items():
        (folder / name).write_text(json.dumps(content), encoding="utf-8")
    for name, path in checkpoint.tokenizer_files.items():
        shutil.copy(path, folder / name)
    return hub, folder


def reference(model: PreTrainedModel, palettes: Mapping[str, Palette]) -> PreTrainedModel:
    """`model` with the weights that the palettes decode to."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, palette in palettes.items():
            parameters[name].copy_(torch.from_numpy(palette.dense()))
    return model.eval()


@pytest.fixture(scope="module", params=[12, 8], ids=lambda d: f"head_dim={d}")
def decoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel]:
    """hidden_size / heads is 8; a head_dim of its own is what newer families have."""
    root = tmp_path_factory.mktemp("decoder")
    checkpoint = tiny_llama(root / "checkpoint", tie_word_embeddings=True, head_dim=request.param)
    hub, folder = write_folder(checkpoint, root / "onnx")
    return folder, reference(AutoModelForCausalLM.from_pretrained(checkpoint), hub.palettes)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PreTrainedModel, Path]:
    root = tmp_path_factory.mktemp("encoder")
    hub, folder = write_folder(tiny_bert(root / "checkpoint"), root / "onnx")
    return folder, reference(AutoModel.from_pretrained(root / "checkpoint"), hub.palettes), root / "checkpoint"


def greedy(model: PreTrainedModel, ids: list[int]) -> list[int]:
    """Plain greedy decoding in torch, without a cache: the simplest form there is."""
    ids = list(ids)
    with torch.no_grad():
        for _ in range(STEPS):
            ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
    return ids


def test_the_decoder_s_inputs_and_outputs_are_the_contract_s(decoder: tuple[Path, PreTrainedModel]) -> None:
    graph = onnx.load(decoder[0] / "model.onnx").graph

    def ports(values: list[onnx.ValueInfoProto]) -> dict[str, int]:
        return {value.name: value.type.tensor_type.elem_type for value in values}

    cache = [f"{i}.{kind}" for i in range(2) for kind in ("key", "value")]
    assert ports(graph.input) == {
        **dict.fromkeys(("input_ids", "attention_mask", "position_ids"), onnx.TensorProto.INT64),
        **dict.fromkeys((f"past_key_values.{name}" for name in cache), onnx.TensorProto.FLOAT),
    }
    assert ports(graph.output) == dict.fromkeys(
        ("logits", *(f"present.{name}" for name in cache)), onnx.TensorProto.FLOAT
    )


def test_onnxruntime_genai_generates_the_same_tokens(decoder: tuple[Path, PreTrainedModel]) -> None:
    import onnxruntime_genai as genai

    folder, torch_model = decoder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = genai.Model(str(folder))
    its_tokenizer = genai.Tokenizer(model)
    for text in SENTENCES[:3]:
        ids = tokenizer(text)["input_ids"]
        # By default it leaves special tokens to the chat template (microsoft/onnxruntime-genai#1442).
        its_tokenizer.update_options(add_special_tokens="true")
        assert its_tokenizer.encode(text).tolist() == ids
        wanted = greedy(torch_model, ids)
        params = genai.GeneratorParams(model)
        params.set_search_options(max_length=len(wanted), do_sample=False)
        generator = genai.Generator(model, params)
        generator.append_tokens(np.array(ids, np.int32))
        while not generator.is_done():
            generator.generate_next_token()
        found = generator.get_sequence(0).tolist()
        assert found == wanted[: len(found)]
        assert len(found) == len(wanted) or found[-1] == tokenizer.eos_token_id


def test_optimum_loads_the_decoder(decoder: tuple[Path, PreTrainedModel]) -> None:
    from optimum.onnxruntime import ORTModelForCausalLM

    folder, torch_model = decoder
    if torch_model.config.head_dim != torch_model.config.hidden_size // torch_model.config.num_attention_heads:
        pytest.skip("optimum-onnx 0.1 makes a Llama's empty cache hidden_size / heads wide, whatever head_dim says")
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = ORTModelForCausalLM.from_pretrained(folder)
    batch = tokenizer(list(SENTENCES[:3]), return_tensors="pt", padding=True, return_token_type_ids=False)
    with torch.no_grad():
        wanted = torch_model(**batch, position_ids=_positions(batch["attention_mask"])).logits
        found = model(**batch, position_ids=_positions(batch["attention_mask"]), use_cache=True).logits
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], wanted[real], atol=TOLERANCE, rtol=TOLERANCE)

    one = tokenizer(SENTENCES[0], return_tensors="pt", return_token_type_ids=False)
    wanted_ids = greedy(torch_model, one["input_ids"][0].tolist())
    found_ids = model.generate(**one, max_new_tokens=STEPS, do_sample=False)[0].tolist()
    assert found_ids == wanted_ids[: len(found_ids)]
    assert len(found_ids) > one["input_ids"].shape[1]


def _positions(mask: torch.Tensor) -> torch.Tensor:
    """As transformers' generate makes them for padding on the left."""
    return (mask.cumsum(-1) - 1).clamp(min=0)


def test_optimum_loads_the_encoder(encoder: tuple[Path, PreTrainedModel, Path]) -> None:
    from optimum.onnxruntime import ORTModelForFeatureExtraction

    folder, torch_model, _ = encoder
    tokenizer = AutoTokenizer.from_pretrained(folder)
    batch = tokenizer(list(SENTENCES), return_tensors="pt", padding=True, truncation=True, max_length=64)
    with torch.no_grad():
        wanted = torch_model(**batch).last_hidden_state
    found = ORTModelForFeatureExtraction.from_pretrained(folder)(**batch).last_hidden_state
    real = batch["attention_mask"].bool()
    torch.testing.assert_close(found[real], wanted[real], atol=TOLERANCE, rtol=TOLERANCE)


def test_nothing_is_said_while_it_loads(
    decoder: tuple[Path, PreTrainedModel], encoder: tuple[Path, PreTrainedModel, Path],
    capfd: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    """An app logs what onnxruntime warns of."""
    import onnxruntime

    capfd.readouterr()
    for folder in (decoder[0], encoder[0]):
        onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert capfd.readouterr() == ("", "")


def test_the_sentence_embedding_needs_no_client_code(encoder: tuple[Path, PreTrainedModel, Path]) -> None:
    """Mean over real tokens, unit length: straight from onnxruntime."""
    import onnxruntime

    folder, torch_model, _ = encoder
    batch = AutoTokenizer.from_pretrained(folder)(list(SENTENCES), return_tensors="pt", padding=True)
    session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
    assert [o.name for o in session.get_outputs()] == ["last_hidden_state", "sentence_embedding"]
    found = session.run(["sentence_embedding"], {k: v.numpy() for k, v in batch.items()})[0]
    mask = batch["attention_mask"][..., None]
    with torch.no_grad():
        mean = (torch_model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(found, torch.nn.functional.normalize(mean).numpy(), atol=TOLERANCE)


def test_sentence_transformers_runs_it_as_its_onnx_backend(
    encoder: tuple[Path, PreTrainedModel, Path], tmp_path: Path
) -> None:
    """Our folder in the place where it looks for one: `onnx/` beside the checkpoint's modules."""
    from sentence_transformers import SentenceTransformer

    folder, torch_model, checkpoint = encoder
    home = tmp_path / "model"
    shutil.copytree(checkpoint, home, ignore=shutil.ignore_patterns("*.safetensors"))
    shutil.copytree(folder, home / "onnx")
    model = SentenceTransformer(str(home), backend="onnx", device="cpu")
    found = model.encode(list(SENTENCES))
    batch = AutoTokenizer.from_pretrained(folder)(list(SENTENCES), return_tensors="pt", padding=True)
    mask = batch["attention_mask"][..., None]
    with torch.no_grad():
        mean = (torch_model(**batch).last_hidden_state * mask).sum(1) / mask.sum(1)
    np.testing.assert_allclose(found, torch.nn.functional.normalize(mean).numpy(), atol=TOLERANCE)
