"""Quality and bytes of ONNX files with integer weights: Kogata's, and those of onnxruntime-genai's model builder.

    python benchmarks/onnx_weights.py [prose home-intents] [--peer PYTHON] [--tokens 8192] [--bpw 4.5 5]

KL is that of the files themselves, in nats: each is run in onnxruntime on held-out text of the sample, and compared
with the uncompressed graph in float32. So it includes the rounding of activations to int8, which all these files use.
Bytes are those of the .onnx file and its data; a download is a ZIP archive (deflate) or zstd -19 of them.

`--peer` is a Python interpreter that can run the builder:

    python -m venv peer && peer/bin/pip install onnxruntime-genai==0.18.0 "transformers>=5.3" torch onnx-ir

rounded     each block's scale leaves the smallest squared error
fitted      levels and scales fitted to the built-in calibration texts, as exports do
mixed       4 and 8 bits and block sizes chosen by --bpw
palettes    4-bit palettes, their entries rounded to int8: `--onnx-weights int8`
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import tempfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

os.environ["ORT_DISABLE_TELEMETRY"] = "1"

import numpy as np
from compression_parts.subjects import hub_of
from compression_parts.texts import DECODERS, token_windows
from numpy.typing import NDArray
from transformers import AutoTokenizer

from exporter.calibration.session import Session
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.compress import Choice, CompressOptions
from exporter.compress.gridding import GridOptions
from exporter.graph.model import DecoderSpec, Hub
from exporter.graph.passes.apply_palettes import apply_palettes
from exporter.graph.spill import Spill
from exporter.importers.routes import open_model
from exporter.lower.onnx.mobile import MobileOptions, lower_mobile
from exporter.pipeline.bits import planned
from exporter.pipeline.fit import fitted_compression, open_session
from exporter.pipeline.grids import fitted_grids
from exporter.pipeline.options import OutputOptions
from exporter.pipeline.parts import candidates
from exporter.pipeline.sensitivity import TextSensitivity
from exporter.pipeline.settings import Budget, Widths, settle
from exporter.progress import NoProgress
from exporter.runners.ort import OnnxSession, OnnxSource

Logits = NDArray[np.float32]
QUIET = NoProgress()
BLOCKS_TRIED = (32, 64, 128)
PEERS = {"builder int4": [], "builder int4, k_quant": ["--extra_options", "algo_config=k_quant"]}


@dataclass(frozen=True)
class Subject:
    """A sample with its calibration texts. references: of each window, float32 `[tokens, vocabulary]`."""

    checkpoint: Path
    hub: Hub
    session: Session
    windows: Sequence[Sequence[int]]
    references: Sequence[Logits]

    @classmethod
    def of(cls, name: str, tokens: int) -> Subject:
        checkpoint, text = DECODERS[name]
        hub, tokenizer = hub_of(checkpoint), AutoTokenizer.from_pretrained(checkpoint)
        session = open_session(hub, load_tokenizer(open_model(str(checkpoint))), "builtin", QUIET)
        assert isinstance(session, Session)
        windows = token_windows(text, tokenizer, 128, tokens)
        graph = OnnxSession(OnnxSource(model=hub.model), 1)
        return cls(checkpoint, hub, session, windows, [logits(graph, hub, window) for window in windows])

    def kl(self, file: Path) -> float:
        decoder = OnnxSession(OnnxSource(path=file), 1)
        total, count = 0.0, 0
        for window, wanted in zip(self.windows, self.references, strict=True):
            p, q = log_softmax(wanted), log_softmax(logits(decoder, self.hub, window))
            total += float((np.exp(p) * (p - q)).sum())
            count += len(window)
        return total / count


def logits(session: OnnxSession, hub: Hub, window: Sequence[int]) -> Logits:
    """All logits of one text, float32 `[tokens, vocabulary]`."""
    assert isinstance(hub.spec, DecoderSpec)
    cache, ids = hub.spec.cache, np.array([window], np.int64)
    feeds = {"input_ids": ids, "attention_mask": np.ones_like(ids), "position_ids": np.arange(ids.size)[None]}
    for layer, heads in enumerate(cache.kv_heads):
        for kind in ("key", "value"):
            feeds[f"past_key_values.{layer}.{kind}"] = np.zeros((1, heads, 0, cache.head_dim), np.float32)
    known = {name: feed for name, feed in feeds.items() if name in session.inputs}
    return np.asarray(session.run(known, ["logits"])["logits"], np.float32).reshape(ids.size, -1)


def log_softmax(values: Logits) -> NDArray[np.float64]:
    shifted = values.astype(np.float64) - values.max(axis=1, keepdims=True)
    return shifted - np.log(np.exp(shifted).sum(axis=1, keepdims=True))


def files(subject: Subject, bpw: Sequence[float], work: Path, peer: str | None) -> Iterator[tuple[str, Path]]:
    """What is compared: name, and the .onnx file."""
    hub, tensors, spill = subject.hub, candidates(subject.hub), Spill(work)

    def grids(name: str, choices: GridOptions, session: Session | None) -> tuple[str, Path]:
        found = fitted_grids(session, tensors, choices, QUIET, spill)
        return name, lower_mobile(hub, work / name, MobileOptions("int4", found.grids)).path

    for name, extra in PEERS.items() if peer else ():
        yield name, built(peer or "", subject.checkpoint, work / name, extra)
    for block in BLOCKS_TRIED:
        uniform = GridOptions(Choice(4, block=block))
        yield grids(f"int4, block {block}, rounded", uniform, None)
        yield grids(f"int4, block {block}, fitted", uniform, subject.session)
    sensitivity = TextSensitivity(subject.session, spill)
    for value in bpw:
        widths = Widths(budget=Budget("bpw", value, f"{value:g}"))
        settings = settle(OutputOptions(formats=("onnx",), onnx_weights="int4"), widths)
        mixed = planned((hub,), settings, sensitivity, lambda _: 0, QUIET)
        yield grids(f"mixed, --bpw {value:g}", GridOptions(Choice(4, block=32), mixed.choices), subject.session)
    palettes = fitted_compression(subject.session, tensors, CompressOptions(4, 16), QUIET, spill)
    compressed = apply_palettes(hub, palettes.compression.palettes)
    yield "int8, 4-bit palettes", lower_mobile(compressed, work / "palettes", MobileOptions("int8")).path


def built(peer: str, checkpoint: Path, folder: Path, extra: Sequence[str]) -> Path:
    """The file of onnxruntime-genai's model builder."""
    command = [peer, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(folder)]
    command += ["-p", "int4", "-e", "cpu", "-c", f"{folder}.cache", *extra]
    environment = {**os.environ, "HF_HUB_OFFLINE": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        raise SystemExit(f"error: the model builder failed:\n{done.stderr[-2000:]}")
    return folder / "model.onnx"


def sizes(file: Path) -> tuple[int, int, int | None]:
    """Bytes of the file with its data; compressed by deflate; by zstd, None where there is no zstd."""
    held = [path for path in (file, file.with_name(f"{file.name}.data")) if path.exists()]
    contents = [path.read_bytes() for path in held]
    packed = None
    if shutil.which("zstd"):
        packed = sum(len(subprocess.check_output(["zstd", "-19", "-c", "-q", str(path)])) for path in held)
    return sum(map(len, contents)), sum(len(zlib.compress(data, 9)) for data in contents), packed


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("samples", nargs="*", default=list(DECODERS), help=f"of {', '.join(DECODERS)}")
    parser.add_argument("--peer", help="Python interpreter with onnxruntime-genai and a transformers for its builder")
    parser.add_argument("--tokens", type=int, default=8192, help="of held-out text")
    parser.add_argument("--bpw", type=float, nargs="*", default=[4.5], help="budgets of mixed bits")
    arguments = parser.parse_args()
    for name in arguments.samples:
        subject = Subject.of(name, arguments.tokens)
        parameters = sum(tensor.parameters for tensor in candidates(subject.hub))
        print(f"\n| {name} | KL | bits per weight of the file | file | deflate | zstd |\n|---|---|---|---|---|---|")
        with tempfile.TemporaryDirectory() as work:
            for label, file in files(subject, arguments.bpw, Path(work), arguments.peer):
                plain, *packed = sizes(file)
                kilobytes = [f"{size / 1000:,.0f} kB" if size else "–" for size in (plain, *packed)]
                row = (label, f"{subject.kl(file):.5f}", f"{8 * plain / parameters:.2f}", *kilobytes)
                print(f"| {' | '.join(row)} |", flush=True)


if __name__ == "__main__":
    main()
