"""The inputs that a graph is run on: one dictionary a sample, of the shapes that its Core ML program takes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from exporter.errors import Diagnostic, InputError
from exporter.graph.model import GraphInput, GraphSpec
from exporter.parity.graphs import signals, sounds
from exporter.parity.prompts import builtin_prompts
from exporter.texts import Prompt, PromptFile, choose

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

Array = NDArray[Any]

BUILTIN = "built-in"
SAMPLES = {"full": 12, "quick": 4}  # images and sounds: one of each kind
_NUMBERS = {"full": 24, "quick": 8}  # of unknown inputs: eight at each scale
_SMALL = 100_000  # elements of all inputs together; more of them are run as few times as images
_TEXTS = {"full": 16, "quick": 4}
_ARCHIVE_BYTES = 1 << 30  # of a user's file
_MOST = 64  # samples of a user's file that are run


@dataclass(frozen=True)
class Sample:
    """One set of inputs.

    feeds: input → array. length: number of tokens without padding, None for a graph without ids. label: for people.
    """

    label: str
    feeds: Mapping[str, Array]
    length: int | None = None


@dataclass(frozen=True)
class Samples:
    """All samples of one run. source: "built-in" or the file's name. guessed: inputs that nothing is known of."""

    items: tuple[Sample, ...]
    source: str
    guessed: tuple[str, ...] = ()


@dataclass(frozen=True)
class Materials:
    """The sources of inputs. upstream: component → its samples and, for each, its outputs."""

    tokenizer: Tokenizer | None = None
    preprocessor: Mapping[str, Any] | None = None
    upstream: Mapping[str, Sequence[tuple[Sample, Mapping[str, Array]]]] | None = None


def make_samples(spec: GraphSpec, depth: str, prompts: PromptFile | None, materials: Materials) -> Samples:
    """Built-in inputs, or the user's: texts for a graph that reads text, else an `.npz` of arrays by input name.

    Raises InputError for a file that doesn't fit the graph.
    """
    if prompts is not None and not prompts.holds_text:
        if not any(port.source for port in spec.inputs):
            return _from_archive(spec, prompts.path)
        prompts = None  # a decoder's inputs come from its encoder, which the file was for
    reads = any(port.kind == "ids" for port in spec.inputs)
    texts = _texts(prompts, depth) if reads and (prompts is None or prompts.path.suffix in (".txt", ".jsonl")) else ()
    if prompts is not None and not texts:
        hint = "an .npz file with an array [samples, …] for every input"
        raise InputError.of("prompts.kind", "this model doesn't read texts", where=prompts.path.name, hint=hint)
    count = len(texts) or _count(spec, depth)
    if materials.upstream:
        count = min(count, *(len(made) for made in materials.upstream.values()))
    items = tuple(_sample(spec, i, texts[i] if texts else None, materials) for i in range(count))
    return Samples(items, BUILTIN if prompts is None else prompts.path.name, _guessed(spec, materials))


def _count(spec: GraphSpec, depth: str) -> int:
    unknown = any(port.kind == "numbers" and port.source is None for port in spec.inputs)
    small = sum(math.prod(port.shape) for port in spec.inputs) <= _SMALL
    return (_NUMBERS if unknown and small else SAMPLES)[depth]


def _guessed(spec: GraphSpec, materials: Materials) -> tuple[str, ...]:
    """Inputs whose meaning or scale nobody states."""
    unknown = {"numbers", "past"} | (set() if materials.preprocessor else {"image", "features"})
    if materials.tokenizer is None:
        unknown.add("ids")
    return tuple(port.name for port in spec.inputs if port.source is None and port.kind in unknown)


def _texts(prompts: PromptFile | None, depth: str) -> tuple[Prompt, ...]:
    chosen = builtin_prompts("feature-extraction") if prompts is None else prompts.prompts
    return choose(chosen, min(_TEXTS[depth], len(chosen)))


def _sample(spec: GraphSpec, index: int, text: Prompt | None, materials: Materials) -> Sample:
    ids = [port for port in spec.inputs if port.kind == "ids"]
    drawn = {port.name: _tokens(port, index, text, materials.tokenizer) for port in ids}  # each from its own table
    first = next(iter(drawn.values()), None)
    length = None if first is None else len(first)
    feeds = {port.name: _feed(port, index, drawn.get(port.name, first), materials) for port in spec.inputs}
    if text is not None and materials.tokenizer is not None:
        label = text.shown
    elif any(port.kind == "image" for port in spec.inputs):
        label = signals.image_names(index + 1)[-1]
    elif any(port.kind == "features" for port in spec.inputs):
        label = sounds.sound_name(index)
    else:
        label = f"sample {index + 1}"
    return Sample(label, feeds, length)


def _tokens(port: GraphInput, index: int, text: Prompt | None, tokenizer: Tokenizer | None) -> NDArray[np.int64]:
    """Token ids of `text`, or random ids without a text; at most as many as the input holds."""
    room = port.shape[-1] if port.shape else 1
    if text is not None and tokenizer is not None and room > 4:
        ids = np.asarray(tokenizer.encode(text.text, max_length=room), np.int64)
        if len(ids) and (port.vocabulary is None or ids.max() < port.vocabulary):
            return ids
    rng = np.random.default_rng([index, 2])
    length = room if index % 2 == 0 else max(1, room * (1 + index % 7) // 8)
    return rng.integers(0, port.vocabulary or 2, length)


def _feed(port: GraphInput, index: int, tokens: NDArray[np.int64] | None, materials: Materials) -> Array:
    dtype, shape = port.dtype.numpy(), port.shape
    if port.source is not None:
        return _from_upstream(port, index, materials).astype(dtype)
    array: Array
    match port.kind:
        case "image" | "numbers" if len(shape) == 4 and dtype == np.uint8:
            array = signals.bytes_image(index, shape)
        case "image":
            array = signals.image(index, shape, materials.preprocessor or {})
        case "features":
            array = signals.features(index, shape, materials.preprocessor or {})
        case "ids":
            padding = materials.tokenizer.pad_id if materials.tokenizer is not None else None
            array = _filled(np.zeros(1, np.int64) if tokens is None else tokens, shape, padding or 0)
        case "mask":
            fits = tokens is not None and len(shape) == 2 and len(tokens) <= shape[-1]
            array = _filled(np.ones_like(tokens), shape, 0) if fits else np.ones(shape)
        case "types":
            array = np.zeros(shape)
        case "positions":
            array = _filled(np.arange(shape[-1] if shape else 1), shape, 0)
        case _ if np.issubdtype(dtype, np.integer):
            array = np.random.default_rng([index, 1]).integers(0, port.vocabulary or 2, shape)
        case _:
            guess = signals.guessed(index // 2, shape) if port.kind == "numbers" and index % 2 == 0 else None
            array = signals.numbers(index, shape) if guess is None else guess
    return array.astype(dtype)


def _filled(values: NDArray[Any], shape: tuple[int, ...], padding: int) -> Array:
    """`values` along the last axis, cut to it or padded behind."""
    room = shape[-1] if shape else 1
    row = np.full(room, padding, values.dtype)
    row[: min(len(values), room)] = values[:room]
    return np.broadcast_to(row, shape) if shape else row.reshape(())


def _from_upstream(port: GraphInput, index: int, materials: Materials) -> Array:
    """The output of another component, or one of its inputs."""
    assert port.source is not None
    component, name = port.source
    sample, outputs = (materials.upstream or {})[component][index]
    array = outputs[name] if name in outputs else sample.feeds[name]
    if array.shape != port.shape:
        message = f"{component} gives {name} of shape {list(array.shape)}; this input takes {list(port.shape)}"
        raise InputError.of("parity.components", message, where=port.name, hint="give both the same sizes with --shape")
    return array


def _from_archive(spec: GraphSpec, path: Path) -> Samples:
    """Arrays `[samples, …]` by input name: each row of them is one sample of batch 1."""
    arrays = _read_archive(path)
    problems = [
        Diagnostic("prompts.npz", f"the file has no array '{port.name}'", path.name)
        for port in spec.inputs
        if port.name not in arrays
    ]
    problems += [
        Diagnostic("prompts.npz", f"the model has no input '{name}'", path.name, f"inputs: {_names(spec)}")
        for name in sorted(set(arrays) - {port.name for port in spec.inputs})
    ]
    InputError.raise_all(problems)
    count = min(len(arrays[port.name]) for port in spec.inputs)
    for port in spec.inputs:
        problems += _misfits(port, arrays[port.name], count, path.name)
    InputError.raise_all(problems)
    items = [
        Sample(
            f"{path.name}, sample {i + 1}",
            {p.name: arrays[p.name][i].reshape(p.shape).astype(p.dtype.numpy()) for p in spec.inputs},
        )
        for i in range(count)
    ]
    return Samples(choose(items, _MOST), path.name)


def _misfits(port: GraphInput, array: Array, count: int, where: str) -> list[Diagnostic]:
    problems = []
    if len(array) != count or not count:
        problems.append(f"'{port.name}' has {len(array)} samples, and another input {count}")
    if math.prod(array.shape[1:]) != math.prod(port.shape):
        found = list(array.shape[1:])
        problems.append(f"a sample of '{port.name}' has shape {found}, the model takes {list(port.shape)}")
    if array.dtype.kind not in "fiub" or (array.dtype.kind == "f" and not np.isfinite(array).all()):
        problems.append(f"'{port.name}' holds values that aren't finite numbers")
    elif port.kind == "ids" and port.vocabulary is not None and ((array < 0) | (array >= port.vocabulary)).any():
        problems.append(f"'{port.name}' holds ids outside of 0 to {port.vocabulary - 1}")
    return [Diagnostic("prompts.npz", problem, where) for problem in problems]


def _names(spec: GraphSpec) -> str:
    return ", ".join(port.name for port in spec.inputs)


def _read_archive(path: Path) -> dict[str, Array]:
    """Reads no pickles, and checks the sizes before it reads any array."""
    import zipfile

    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(entry.file_size for entry in archive.infolist())
        if size > _ARCHIVE_BYTES:
            raise InputError.of("prompts.size", f"larger than {_ARCHIVE_BYTES >> 20} MiB", where=path.name)
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: np.asarray(stored[name]) for name in sorted(stored.files)}
    except (OSError, ValueError, EOFError, KeyError, MemoryError, zipfile.BadZipFile) as error:
        message = (str(error).splitlines() or [type(error).__name__])[0]
        raise InputError.of("prompts.npz", f"not a readable .npz file: {message}", where=path.name) from None
    scalars = [name for name, array in arrays.items() if not array.ndim]
    InputError.raise_all(
        [
            Diagnostic("prompts.npz", f"'{name}' is a single number; it needs a first axis with the samples", path.name)
            for name in scalars
        ]
    )
    return arrays
