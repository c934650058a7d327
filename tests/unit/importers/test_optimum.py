"""Models that come through optimum: their graphs against transformers' own models, and what is refused.

The reference is transformers' model of the checkpoint, called the documented way and without the exporter's patches.
float32 on both sides, in another order of additions: 1e-4 of the largest value, as for the graphs that are drawn.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import onnxruntime
import pytest
import torch
import transformers
from numpy.typing import NDArray
from support.other_checkpoints import MODELS, tiny_model
from transformers.modeling_outputs import BaseModelOutput

from exporter.checkpoint import open_checkpoint
from exporter.errors import InputError, KogataError, UnsupportedError
from exporter.graph.model import GraphSpec, Hub
from exporter.importers.optimum import import_through_optimum
from exporter.importers.routes import ImportOptions, import_model, route_of

RNG = np.random.default_rng(3)
Arrays = dict[str, NDArray[Any]]

# model → its components, each with what its inputs are, and its task
EXPECTED: Mapping[str, tuple[str, dict[str, dict[str, tuple[str, tuple[int, ...]]]]]] = {
    "bart": ("text2text-generation", {
        "encoder_model": {"input_ids": ("ids", (1, 24)), "attention_mask": ("mask", (1, 24))},
        "decoder_model": {
            "encoder_attention_mask": ("output", (1, 24)),
            "input_ids": ("ids", (1, 24)),
            "encoder_hidden_states": ("output", (1, 24, 32)),
        },
    }),
    "beit": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "clip": ("feature-extraction", {
        "text_model": {"input_ids": ("ids", (1, 16)), "attention_mask": ("mask", (1, 16))},
        "vision_model": {"pixel_values": ("image", (1, 3, 32, 32))},
    }),
    "convnext": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "dinov2": ("feature-extraction", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "mobilevit": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 64, 64))}}),
    "resnet": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "siglip": ("feature-extraction", {
        "text_model": {"input_ids": ("ids", (1, 16))},
        "vision_model": {"pixel_values": ("image", (1, 3, 32, 32))},
    }),
    "swin": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "t5": ("text2text-generation", {
        "encoder_model": {"input_ids": ("ids", (1, 24)), "attention_mask": ("mask", (1, 24))},
        "decoder_model": {
            "encoder_attention_mask": ("output", (1, 24)),
            "input_ids": ("ids", (1, 24)),
            "encoder_hidden_states": ("output", (1, 24, 32)),
        },
    }),
    "vit": ("image-classification", {"model": {"pixel_values": ("image", (1, 3, 32, 32))}}),
    "wav2vec2": ("automatic-speech-recognition", {"model": {"input_values": ("features", (1, 80_000))}}),
    "whisper": ("automatic-speech-recognition", {
        "encoder_model": {"input_features": ("features", (1, 8, 60))},
        "decoder_model": {"input_ids": ("ids", (1, 20)), "encoder_hidden_states": ("output", (1, 30, 32))},
    }),
}  # fmt: skip


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("others")


def checkpoint_of(checkpoints: Path, kind: str) -> Path:
    folder = checkpoints / kind
    return folder if folder.exists() else tiny_model(folder, kind)


def imported(folder: Path, work: Path, context: int | None = None) -> dict[str, Hub]:
    hubs, assumed = import_through_optimum(open_checkpoint(folder), {}, context, work)
    assert assumed == ()  # the configuration says all sizes
    return {hub.spec.component: hub for hub in hubs if isinstance(hub.spec, GraphSpec)}


def load(folder: Path) -> Any:
    architecture = json.loads((folder / "config.json").read_text())["architectures"][0]
    return getattr(transformers, architecture).from_pretrained(folder).eval()


def feeds_of(hub: Hub, upstream: Arrays) -> Arrays:
    """Random inputs, the second half of a mask 0; what an encoder made where the input is one of its outputs."""
    feeds: Arrays = {}
    for port in hub.spec.inputs:
        if port.source is not None:
            feeds[port.name] = upstream[port.source[1]]
        elif port.kind == "ids":
            feeds[port.name] = RNG.integers(3, port.vocabulary, port.shape)
        elif port.kind == "mask":
            feeds[port.name] = (np.arange(port.shape[1]) < port.shape[1] // 2).astype(np.int64)[None]
        else:
            shape = (1, 800) if port.name == "input_values" else port.shape  # any length will do, a short one is fast
            feeds[port.name] = RNG.standard_normal(shape).astype(np.float32)
    return feeds


def reference(model: Any, component: str, feeds: Arrays) -> Arrays:
    inputs = {name: torch.from_numpy(array) for name, array in feeds.items()}
    with torch.inference_mode():
        if component == "encoder_model":
            made = dict(model.get_encoder()(**inputs).items())
        elif component == "decoder_model":
            encoded = BaseModelOutput(last_hidden_state=inputs["encoder_hidden_states"])
            mask = {"attention_mask": inputs["encoder_attention_mask"]} if "encoder_attention_mask" in inputs else {}
            made = dict(model(decoder_input_ids=inputs["input_ids"], encoder_outputs=encoded, **mask).items())
        elif component in ("text_model", "vision_model"):  # the whole model, the other side's input made up
            others = {"pixel_values": torch.zeros(1, 3, 32, 32), "input_ids": torch.ones(1, 16, dtype=torch.long)}
            made = dict(model(**{**others, **inputs}).items())
        else:
            made = dict(model(**inputs).items())
    return {name: value.numpy() for name, value in made.items() if isinstance(value, torch.Tensor)}


@pytest.mark.parametrize("kind", sorted(EXPECTED))
def test_the_graph_computes_what_transformers_computes(kind: str, checkpoints: Path, tmp_path: Path) -> None:
    folder = checkpoint_of(checkpoints, kind)
    task, components = EXPECTED[kind]
    hubs = imported(folder, tmp_path)
    assert list(hubs) == list(components)  # in the order in which they run
    assert list(tmp_path.iterdir()) == []  # the export's own files are gone
    model = load(folder)
    made: Arrays = {}
    for component, hub in hubs.items():
        assert (hub.task, hub.family) == (task, kind)
        assert {port.name: (port.kind, port.shape) for port in hub.spec.inputs} == components[component]
        feeds = feeds_of(hub, made)
        proto = ir.to_proto(hub.model).SerializeToString()
        session = onnxruntime.InferenceSession(proto, providers=["CPUExecutionProvider"])
        made = {**feeds, **dict(zip(hub.spec.outputs, session.run(None, feeds), strict=True))}
        expected = reference(model, component, feeds)
        for name in hub.spec.outputs:
            assert np.abs(made[name] - expected[name]).max() <= 1e-4 * np.abs(expected[name]).max()
        assert len(hub.weights) >= 3
        held = sum(np.prod(w.shape) for w in hub.weights)
        stored = sum(hub.model.graph.initializers[name].const_value.size for name in hub.stored)
        assert held > 0.5 * stored


def test_labels_are_the_checkpoints(checkpoints: Path, tmp_path: Path) -> None:
    (hub,) = imported(checkpoint_of(checkpoints, "vit"), tmp_path).values()
    assert hub.spec.labels == ("cat", "dog", "小鳥", "fish", "none of these")
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "unnamed")
    edit(folder, id2label={str(i): f"LABEL_{i}" for i in range(5)})
    (hub,) = imported(folder, tmp_path).values()
    assert hub.spec.labels == ()


def test_a_decoder_of_another_family_keeps_its_cache(checkpoints: Path, tmp_path: Path) -> None:
    (hub,) = imported(checkpoint_of(checkpoints, "bloom"), tmp_path).values()
    assert hub.task == "text-generation"
    assert [port.name for port in hub.spec.inputs if port.kind == "past"] == [
        f"past_key_values.{i}.{kind}" for i in range(2) for kind in ("key", "value")
    ]
    assert set(hub.spec.outputs) == {"logits", *(f"present.{i}.{kind}" for i in range(2) for kind in ("key", "value"))}


def test_a_shorter_context(checkpoints: Path, tmp_path: Path) -> None:
    folder = checkpoint_of(checkpoints, "t5")
    hubs = imported(folder, tmp_path, context=8)
    assert hubs["encoder_model"].spec.shapes["input_ids"] == (1, 8)
    assert hubs["decoder_model"].spec.shapes["encoder_hidden_states"] == (1, 8, 32)
    with pytest.raises(InputError, match="maximum, 24"):
        imported(folder, tmp_path, context=25)


def test_shapes_of_one_component(checkpoints: Path, tmp_path: Path) -> None:
    checkpoint = open_checkpoint(checkpoint_of(checkpoints, "t5"))
    asked = ImportOptions(shapes={"decoder_model.input_ids": (1, 5), "attention_mask": (1, 7)})
    encoder, decoder = import_model(checkpoint, asked, tmp_path).hubs
    assert (encoder.spec.shapes["input_ids"], decoder.spec.shapes["input_ids"]) == ((1, 7), (1, 5))
    with pytest.raises(InputError, match="no input 'pixels'"):
        import_model(checkpoint, ImportOptions(shapes={"pixels": (1, 5)}), tmp_path)


def test_nothing_of_the_exporter_is_printed(
    checkpoints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    imported(checkpoint_of(checkpoints, "siglip"), tmp_path)
    assert capfd.readouterr() == ("", "")
    assert [str(warning.message) for warning in recwarn if "Tracer" in str(warning.category)] == []


def edit(folder: Path, **changes: object) -> None:
    settings = json.loads((folder / "config.json").read_text())
    settings = {key: value for key, value in (settings | changes).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(settings))


def refusal(folder: Path, work: Path) -> KogataError:
    with pytest.raises(KogataError) as refused:
        import_model(open_checkpoint(folder), ImportOptions(), work)
    return refused.value


def test_a_type_that_nobody_knows(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    edit(folder, model_type="convnxt")
    error = refusal(folder, tmp_path)
    assert isinstance(error, UnsupportedError)
    message, hint = error.diagnostics[0].message, error.diagnostics[0].hint
    assert "neither Kogata nor optimum" in message
    assert "the nearest name is 'convnext', exported through optimum" in message
    assert "llama" in hint
    edit(folder, model_type="lama")
    assert "'llama', exported natively" in refusal(folder, tmp_path).diagnostics[0].message


def test_routes(checkpoints: Path, tmp_path: Path) -> None:
    """A head of a native family that kogata doesn't draw goes through optimum."""
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    assert route_of(open_checkpoint(folder)) == "optimum"
    edit(folder, model_type="llama", architectures=["LlamaForSequenceClassification"])
    assert route_of(open_checkpoint(folder)) == "optimum"
    edit(folder, architectures=["LlamaForCausalLM"])
    assert route_of(open_checkpoint(folder)) == "native"


@pytest.mark.parametrize(
    ("architectures", "code"),
    [
        (["ViTForMadeUpThings"], "config.unsupported"),
        (["pipeline"], "config.unsupported"),
        (["AutoTokenizer"], "config.unsupported"),
        (["os.system"], "config.invalid"),
        ([3], "config.invalid"),
        ("ViTModel", "config.invalid"),
    ],
)
def test_classes_that_are_no_models(checkpoints: Path, tmp_path: Path, architectures: object, code: str) -> None:
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    edit(folder, architectures=architectures)
    assert refusal(folder, tmp_path).diagnostics[0].code == code


def test_a_task_that_optimum_doesnt_export(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint_of(checkpoints, "swin"), tmp_path / "swin")
    edit(folder, architectures=["SwinBackbone"])
    error = refusal(folder, tmp_path)
    assert isinstance(error, UnsupportedError)
    assert error.diagnostics[0].code == "optimum.task"
    assert "image-classification" in error.diagnostics[0].message


def test_missing_and_misshapen_weights(checkpoints: Path, tmp_path: Path) -> None:
    """transformers would draw these at random and go on."""
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    edit(folder, num_hidden_layers=3)
    error = refusal(folder, tmp_path)
    assert error.diagnostics[0].code == "tensor.missing"
    assert "vit.encoder.layer.2" in error.diagnostics[0].message
    edit(folder, num_hidden_layers=2, intermediate_size=48)
    assert refusal(folder, tmp_path).diagnostics[0].code in ("tensor.missing", "optimum.load")


def test_what_optimum_said_is_passed_on(checkpoints: Path, tmp_path: Path) -> None:
    """optimum asks DINOv2's preprocessor for sizes, and dies of an IndexError without one."""
    folder = shutil.copytree(checkpoint_of(checkpoints, "dinov2"), tmp_path / "dinov2")
    (folder / "preprocessor_config.json").unlink()
    error = refusal(folder, tmp_path)
    assert isinstance(error, UnsupportedError)
    assert "IndexError" in error.diagnostics[0].message
    assert "preprocessor_config.json" in error.diagnostics[0].hint
    assert "optimum-onnx" in error.diagnostics[0].hint


def test_code_of_the_checkpoint_is_never_run(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    trace = tmp_path / "was_run"
    for name in ("modeling_own", "configuration_own", "processing_own"):
        (folder / f"{name}.py").write_text(f"open({str(trace)!r}, 'w').write('x')\nclass Own: pass\n")
    edit(folder, auto_map={"AutoConfig": "configuration_own.Own", "AutoModel": "modeling_own.Own"})
    settings = json.loads((folder / "preprocessor_config.json").read_text())
    settings["auto_map"] = {"AutoImageProcessor": "processing_own.Own"}
    (folder / "preprocessor_config.json").write_text(json.dumps(settings))
    imported(folder, tmp_path)
    assert not trace.exists()


def test_pickles_are_never_opened(checkpoints: Path, tmp_path: Path) -> None:
    folder = shutil.copytree(checkpoint_of(checkpoints, "vit"), tmp_path / "vit")
    torch.save(load(folder).state_dict(), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    with pytest.raises(InputError) as refused:
        open_checkpoint(folder)
    assert refused.value.diagnostics[0].code == "checkpoint.pickle"


def test_every_tiny_model_is_expected_somewhere() -> None:
    assert set(MODELS) == {*EXPECTED, "bloom", "qwen3_moe"}
