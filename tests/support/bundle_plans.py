"""A small decoder bundle and a small encoder bundle, with every kind of file that a bundle may hold."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from exporter.bundle import (
    ArtifactPlan,
    Bound,
    BundlePlan,
    ChatFacts,
    CompressionFacts,
    Interface,
    ParityFacts,
    Port,
    SourceFacts,
)
from exporter.formats import FLEXIBLE, PORTABLE
from exporter.graph.model import CacheSpec, DecoderSpec, EncoderSpec

PASSED = ParityFacts(
    "passed",
    "a test",
    {"kl": 0.0123, "top1": 0.98, "psnr_db": float("inf")},
    {"kl": Bound(max=0.02, reason="4 bits"), "top1": Bound(min=0.9)},
)
IDS = Port("input_ids", "int64", ("batch", "seq"))
MASK = Port("attention_mask", "int64", ("batch", "seq"))


def write(path: Path, content: bytes | str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def make_decoder_plan(made: Path) -> BundlePlan:
    """A plan whose files are written below `made`."""
    write(made / "onnx" / "model.onnx", b"\x08\x0b onnx")
    write(made / "onnx" / "model.onnx.data", bytes(range(256)))
    package = made / "p.mlpackage"
    write(package / "Manifest.json", "{}")
    write(package / "Data" / "com.apple.CoreML" / "model.mlmodel", b"spec")
    write(package / "Data" / "com.apple.CoreML" / "weights" / "weight.bin", bytes(64))
    tokenizer = {
        "tokenizer.json": write(made / "tok" / "tokenizer.json", '{"version": "1.0"}'),
        "tokenizer_config.json": write(made / "tok" / "tokenizer_config.json", "{}"),
    }
    return BundlePlan(
        name="tiny",
        task="text-generation",
        family="llama",
        spec=DecoderSpec(vocab_size=64, hidden_size=32, heads=(4, 4), context=128, cache=CacheSpec((2, 2), 12)),
        context=128,
        source=SourceFacts("org/tiny", "0123456789abcdef", "Apache-2.0", "sha256:" + "ab" * 32),
        languages=("en", "ja"),
        compression=CompressionFacts(
            bits=4,
            group_size=16,
            parameters=1000,
            stored_bytes=562,
            tensors=(
                {
                    "name": "w",
                    "shape": [10, 100],
                    "bits": 4,
                    "group_size": 16,
                    "stored_bytes": 550,
                    "reason": "palettized",
                    "psnr_db": 31.5,
                },
                {"name": "b", "shape": [6], "bits": None, "group_size": None, "stored_bytes": 12, "reason": "small"},
            ),
        ),
        artifacts=(
            ArtifactPlan(
                PORTABLE,
                made / "onnx" / "model.onnx",
                Interface((IDS, MASK), (Port("logits", "float32", ("batch", "seq", 64)),)),
                ("android",),
            ),
            ArtifactPlan(
                FLEXIBLE,
                package,
                Interface(
                    (Port("inputIds", "int32", (1, 1), ranges=((1, 1), (1, 128))),),
                    (Port("logits", "float16", ()),),
                    (Port("keyCache", "float16", (2, 1, 2, 128, 12)),),
                ),
                min_os="iOS 18",
                parity=PASSED,
            ),
        ),
        config={"model_type": "llama", "eos_token_id": 2, "_name_or_path": "/home/author/model"},
        generation_config={},
        tokenizer_files=tokenizer,
        chat_template="{{ messages }}",
        chat=ChatFacts(False, "it writes every message at once"),
        tools={"kogata": "0.1.0", "onnx": "1.23.2"},
        parity_report={"verdict": "passed", "rows": []},
        parity_html=b"<html></html>",
        license_files={"LICENSE": write(made / "LICENSE", "Apache License")},
    )


def make_encoder_plan(made: Path) -> BundlePlan:
    """The same files as an encoder."""
    decoder_plan = make_decoder_plan(made)
    outputs = (
        Port("token_embeddings", "float32", ("batch", "seq", 32)),
        Port("sentence_embedding", "float32", ("batch", 32)),
    )
    lengths = tuple((1, n) for n in (32, 64, 128))
    onnx, coreml = decoder_plan.artifacts
    return replace(
        decoder_plan,
        task="feature-extraction",
        family="bert",
        spec=EncoderSpec(64, 32, 128, "mean", True),
        chat_template=None,
        chat=None,
        artifacts=(
            replace(onnx, interface=Interface((IDS, MASK, replace(IDS, name="token_type_ids")), outputs)),
            replace(
                coreml,
                interface=Interface(
                    tuple(Port(n, "int32", (1, 128), lengths) for n in ("input_ids", "attention_mask")), outputs
                ),
            ),
        ),
    )
