"""Time and peak memory of `kogata export` on random checkpoints of the size of real models.

    python benchmarks/scale.py [SHAPE …] [--bits 4 | --bpw 3.5] [--calibrate none|builtin] [--to onnx|coreml]
        [--layers N] [--folder DIR] [--peer PYTHON] [--keep]

SHAPE is by default qwen2.5-0.5b (`--help` lists all). Weights are sampled from a normal distribution and stored as bf16
in shards of 5 GB; the vocabulary is a byte-level BPE of the model's size. So everything but the numbers is as in the
real checkpoint. The disk needs space for the checkpoint and, at 4 bits, three quarters of its size again.
`--calibrate builtin` fits palettes to text, which takes much longer, and even longer with `--bpw`, because the cost of
each matrix is measured. `--layers` makes a checkpoint with fewer layers of the same width.

Each command runs in its own process. Peak memory is the largest resident set of the process (`ru_maxrss` of wait4).
`--peer PYTHON` also runs onnxruntime-genai's model builder at int4 with that interpreter, to compare the ONNX file.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice, product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from exporter.report import Report, Table, render

SHARD = 5_000_000_000  # bytes; transformers' own limit
ROWS = 1 << 22  # weights drawn at once
MAXRSS_UNIT = 1 if sys.platform == "darwin" else 1024  # bytes on macOS, kilobytes on Linux
BYTES = 256  # symbols of a byte-level BPE


@dataclass(frozen=True)
class Shape:
    """The sizes of a decoder. extra: additional keys of its config.json."""

    model_type: str
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    intermediate: int
    vocabulary: int
    tied: bool
    qkv_bias: bool
    context: int
    extra: tuple[tuple[str, Any], ...] = ()

    @property
    def head_dim(self) -> int:
        return self.hidden // self.heads


SHAPES = {
    "smollm2-135m": Shape("llama", 30, 576, 9, 3, 1536, 49_152, True, False, 8192),
    "qwen2.5-0.5b": Shape("qwen2", 24, 896, 14, 2, 4864, 151_936, True, True, 32_768, (("use_sliding_window", False),)),
    "llama-3.2-1b": Shape("llama", 16, 2048, 32, 8, 8192, 128_256, True, False, 131_072),
    "mistral-7b": Shape("mistral", 32, 4096, 32, 8, 14_336, 32_768, False, False, 32_768, (("sliding_window", None),)),
}


def tensors(shape: Shape) -> Iterator[tuple[str, tuple[int, ...]]]:
    """Names and shapes in the order of a saved transformers model."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    yield "model.embed_tokens.weight", (shape.vocabulary, shape.hidden)
    for i in range(shape.layers):
        layer = f"model.layers.{i}"
        for part, rows in (("q", q), ("k", kv), ("v", kv)):
            yield f"{layer}.self_attn.{part}_proj.weight", (rows, shape.hidden)
            if shape.qkv_bias:
                yield f"{layer}.self_attn.{part}_proj.bias", (rows,)
        yield f"{layer}.self_attn.o_proj.weight", (shape.hidden, q)
        for part in ("gate", "up"):
            yield f"{layer}.mlp.{part}_proj.weight", (shape.intermediate, shape.hidden)
        yield f"{layer}.mlp.down_proj.weight", (shape.hidden, shape.intermediate)
        for norm in ("input_layernorm", "post_attention_layernorm"):
            yield f"{layer}.{norm}.weight", (shape.hidden,)
    yield "model.norm.weight", (shape.hidden,)
    if not shape.tied:
        yield "lm_head.weight", (shape.vocabulary, shape.hidden)


def config(shape: Shape) -> dict[str, Any]:
    """config.json as transformers writes it."""
    names = {"llama": "LlamaForCausalLM", "qwen2": "Qwen2ForCausalLM", "mistral": "MistralForCausalLM"}
    facts: dict[str, Any] = {
        "architectures": [names[shape.model_type]],
        "model_type": shape.model_type,
        "vocab_size": shape.vocabulary,
        "hidden_size": shape.hidden,
        "intermediate_size": shape.intermediate,
        "num_hidden_layers": shape.layers,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "hidden_act": "silu",
        "max_position_embeddings": shape.context,
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": shape.tied,
        "torch_dtype": "bfloat16",
        "bos_token_id": 0,
        "eos_token_id": 1,
    }
    return facts | dict(shape.extra)


def write_checkpoint(folder: Path, shape: Shape) -> None:
    """config.json, tokenizer and weights; the same arguments give the same bytes."""
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps(config(shape), indent=2), encoding="utf-8")
    write_tokenizer(folder, shape.vocabulary)
    shards: list[list[tuple[str, tuple[int, ...]]]] = [[]]
    size = 0
    for name, dims in tensors(shape):
        nbytes = 2 * int(np.prod(dims))
        if size + nbytes > SHARD and shards[-1]:
            shards.append([])
            size = 0
        shards[-1].append((name, dims))
        size += nbytes
    rng = np.random.default_rng(0)
    places = {}
    for i, held in enumerate(shards):
        file = "model.safetensors" if len(shards) == 1 else f"model-{i + 1:05d}-of-{len(shards):05d}.safetensors"
        places |= {name: file for name, _ in held}
        write_shard(folder / file, held, rng)
    if len(shards) > 1:
        index = {"metadata": {}, "weight_map": dict(sorted(places.items()))}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")


def write_shard(path: Path, held: Sequence[tuple[str, tuple[int, ...]]], rng: np.random.Generator) -> None:
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    end = 0
    for name, dims in held:
        begin, end = end, end + 2 * int(np.prod(dims))
        header[name] = {"dtype": "BF16", "shape": list(dims), "data_offsets": [begin, end]}
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for name, dims in held:
            count = int(np.prod(dims))
            for first in range(0, count, ROWS):
                file.write(draw(name, dims, min(ROWS, count - first), rng).tobytes())


def draw(name: str, dims: tuple[int, ...], count: int, rng: np.random.Generator) -> NDArray[np.uint16]:
    """Random bf16 weights (truncated float32): matrices with standard deviation 0.02, norms around 1."""
    noise = rng.standard_normal(count, np.float32) * np.float32(0.02)
    if len(dims) == 1 and "norm" in name:
        noise += 1
    return (noise.view(np.uint32) >> np.uint32(16)).astype(np.uint16)


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """A byte-level BPE with exactly `vocabulary` tokens: two special ones, the bytes, then pairs of earlier tokens."""
    from tokenizers import pre_tokenizers

    symbols = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<s>", "</s>"]
    pairs = list(islice(product(symbols, symbols), vocabulary - BYTES - len(specials)))
    longer = product((a + b for a, b in pairs), symbols)  # tokens of three bytes, if two give too few
    pairs += islice(longer, vocabulary - BYTES - len(specials) - len(pairs))
    tokens = [*specials, *symbols, *(a + b for a, b in pairs)]
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    tokenizer = {
        "version": "1.0",
        "added_tokens": [{"id": i, "content": content, **special} for i, content in enumerate(specials)],
        "pre_tokenizer": byte_level,
        "decoder": byte_level,
        "model": {"type": "BPE", "vocab": {t: i for i, t in enumerate(tokens)}, "merges": [list(p) for p in pairs]},
    }
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer, ensure_ascii=False), encoding="utf-8")
    facts = {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}
    (folder / "tokenizer_config.json").write_text(json.dumps(facts, indent=2), encoding="utf-8")


@dataclass(frozen=True)
class Cost:
    """The cost of a process: wall-clock and processor seconds, peak resident bytes, bytes written."""

    wall: float
    cpu: float
    peak: int
    written: int


def measure(command: Sequence[str], output: Path) -> Cost:
    """Runs `command`, which writes `output`. Exits with the command's output if it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "NO_PROGRESS": "1"}
    with tempfile.TemporaryFile() as log:
        begin = time.perf_counter()
        process = subprocess.Popen(command, stdout=log, stderr=subprocess.STDOUT, env=environment)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - begin
        process.returncode = os.waitstatus_to_exitcode(status)  # otherwise Popen would wait for it again
        if process.returncode:
            log.seek(0)
            words = log.read().decode(errors="replace")[-4000:]
            sys.exit(f"error: {' '.join(command)} ended with {process.returncode}\n{words}")
    written = sum(path.stat().st_size for path in output.rglob("*") if path.is_file())
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * MAXRSS_UNIT, written)


def commands(arguments: argparse.Namespace, checkpoint: Path, output: Path) -> dict[str, list[str]]:
    """Label → command that writes `output`."""
    export = [sys.executable, "-m", "exporter", "export", str(checkpoint), "-o", str(output), "--parity", "none"]
    formats = [option for kind in arguments.to for option in ("--to", kind)]
    width = ["--bits", str(arguments.bits)] if arguments.bpw is None else ["--bpw", str(arguments.bpw)]
    asked = [*width, "--calibrate", arguments.calibrate, *formats]
    found = {f"kogata export {' '.join(asked)}": [*export, "--name", "benchmark", *asked]}
    if arguments.peer:
        builder = [arguments.peer, "-m", "onnxruntime_genai.models.builder", "-i", str(checkpoint), "-o", str(output)]
        found["onnxruntime-genai builder int4"] = [*builder, "-p", "int4", "-e", "cpu", "-c", f"{output}.cache"]
    return found


def run(name: str, arguments: argparse.Namespace, work: Path) -> list[tuple[str, ...]]:
    """One row for each command on the shape `name`."""
    shape = SHAPES[name]
    if arguments.as_llama:
        shape = replace(shape, model_type="llama", qkv_bias=False, extra=())
    if arguments.layers:
        shape, name = replace(shape, layers=arguments.layers), f"{name}-{arguments.layers}-layers"
    checkpoint, output = work / f"{shape.model_type}-{name}", work / "output"
    if not checkpoint.exists():
        partial = work / f"partial-{name}"
        shutil.rmtree(partial, ignore_errors=True)
        write_checkpoint(partial, shape)
        partial.rename(checkpoint)
    parameters = sum(int(np.prod(dims)) for _, dims in tensors(shape))
    rows = []
    for label, command in commands(arguments, checkpoint, output).items():
        cost = measure(command, output)
        shutil.rmtree(output)
        shutil.rmtree(f"{output}.cache", ignore_errors=True)
        sizes = f"{cost.peak / 1e9:.2f}", f"{cost.written / 1e9:.2f}"
        rows.append((name, f"{parameters / 1e9:.2f}", label, f"{cost.wall:.1f}", f"{cost.cpu:.1f}", *sizes))
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", choices=[[], *SHAPES], help=", ".join(SHAPES))
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--bpw", type=float, help="mixed bits instead of --bits")
    parser.add_argument("--calibrate", choices=("none", "builtin"), default="none")
    parser.add_argument("--to", action="append", choices=("onnx", "coreml"), default=[])
    parser.add_argument("--layers", type=int, help="number of layers instead of the shape's")
    parser.add_argument("--as-llama", action="store_true", help="the same matrices in a Llama, without biases")
    parser.add_argument("--folder", type=Path, help="folder for checkpoints; with --keep they can be used again")
    parser.add_argument("--keep", action="store_true", help="leave the checkpoints in --folder")
    parser.add_argument("--peer", help="Python interpreter with onnxruntime-genai and transformers")
    arguments = parser.parse_args()
    if arguments.folder is not None:
        arguments.folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="kogata-scale-", dir=arguments.folder) as temporary:
        work = arguments.folder if arguments.keep and arguments.folder else Path(temporary)
        rows = [row for name in arguments.shapes or ["qwen2.5-0.5b"] for row in run(name, arguments, work)]
    columns = ("shape", "10⁹ parameters", "command", "wall s", "cpu s", "peak GB", "written GB")
    title = f"{os.cpu_count()} processors, load {os.getloadavg()[0]:.1f}"
    print(render(Report("benchmark", 0, {}, (), (Table(title, columns, rows),)), "text"), end="")


if __name__ == "__main__":
    main()
