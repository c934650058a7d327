"""Finds a checkpoint's weights: `model.safetensors`, or shards with `model.safetensors.index.json`."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.problems import Problems
from exporter.checkpoint.safetensors_header import read_header
from exporter.checkpoint.tensors import Shard, TensorStore
from exporter.errors import Diagnostic, InputError, KogataError

SINGLE_FILE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD_NAME = re.compile(r"[\w][\w.+-]*\.safetensors", re.ASCII)  # a file name without folder or control characters
_VARIANT = re.compile(r"model\.[\w-]+\.safetensors", re.ASCII)  # model.fp16.safetensors
_MAX_LISTED = 5  # names in one message

_CONVERT = (
    "if you trust the file, convert it with the model's own class: "
    "`AutoModel.from_pretrained(folder).save_pretrained(folder, safe_serialization=True)`"
)
_OTHER_FORMATS = (
    ((".bin", ".pt", ".pth", ".ckpt", ".pkl"), "pickle", "which can run code when opened and is never read", _CONVERT),
    ((".gguf",), "GGUF", "which is already quantized", "take the original safetensors checkpoint"),
    ((".h5", ".msgpack"), "TensorFlow or Flax", "which is not read", _CONVERT),
    ((".onnx",), "ONNX", "which is not a checkpoint", "pass the .onnx file itself instead of its folder"),
)


def open_weights(folder: Folder) -> tuple[TensorStore, tuple[str, ...]]:
    """The tensors, and the names of the files that they come from (the index included).

    Raises `InputError` with everything that is missing, damaged or contradictory. An index that lists too much or too
    little is not an error by itself, see `index_notes`.
    """
    path = folder.find(SINGLE_FILE)
    if path is not None:
        return TensorStore([Shard(path, SINGLE_FILE, read_header(path, SINGLE_FILE))]), (SINGLE_FILE,)
    index = folder.read_object(INDEX)
    if index is None:
        raise _no_weights(folder.names())
    by_shard = _read_index(index)
    shards, listed = _open_shards(folder, tuple(by_shard)), set[str]().union(*by_shard.values())
    InputError.raise_all(_repeated(shards, listed))
    return TensorStore(shards, listed), (INDEX, *(shard.name for shard in shards))


def index_notes(tensors: TensorStore) -> tuple[Diagnostic, ...]:
    """A note for each way in which the index differs from what the shards hold. transformers goes on as well."""
    hint = "the export doesn't need these tensors; `save_pretrained` writes an index that fits"
    found = []
    if tensors.absent:
        found.append(f"the index lists {_some(tensors.absent)}, which no shard holds")
    if tensors.unlisted:
        found.append(f"the shards hold {_some(tensors.unlisted)}, which the index doesn't list: not read")
    return tuple(Diagnostic("checkpoint.index", message, INDEX, hint, level="note") for message in found)


def _read_index(index: Mapping[str, object]) -> dict[str, set[str]]:
    """Shard name → the tensors that the index puts into it, sorted by shard name."""
    places = index.get("weight_map")
    if not isinstance(places, dict) or not places:
        raise InputError.of("checkpoint.index", f"{INDEX} has no weight_map", where=INDEX)
    by_shard: dict[str, set[str]] = {}
    for tensor, shard in places.items():
        by_shard.setdefault(shard if isinstance(shard, str) else repr(shard), set()).add(tensor)
    InputError.raise_all(
        [
            Diagnostic("checkpoint.path", f"{INDEX} names {shard!r}, which is not a file of the folder", INDEX)
            for shard in sorted(by_shard)
            if not _SHARD_NAME.fullmatch(shard)
        ]
    )
    return dict(sorted(by_shard.items()))


def _open_shards(folder: Folder, names: Sequence[str]) -> list[Shard]:
    problems = Problems()
    shards: list[Shard] = []
    for name in names:
        with problems.collecting():
            path = folder.find(name)
            if path is None:
                raise InputError.of(
                    "checkpoint.shard",
                    f"the shard {name} is missing",
                    where=INDEX,
                    hint="the download is incomplete; download the missing files",
                )
            shards.append(Shard(path, name, read_header(path, name)))
    problems.raise_any()
    return shards


def _repeated(shards: Sequence[Shard], listed: Collection[str]) -> list[Diagnostic]:
    first: dict[str, str] = {}
    repeated: dict[tuple[str, str], list[str]] = {}
    for shard in shards:
        for tensor in (tensor for tensor in shard.header.tensors if tensor.name in listed):
            holder = first.setdefault(tensor.name, shard.name)
            if holder != shard.name:
                repeated.setdefault((holder, shard.name), []).append(tensor.name)
    return [
        Diagnostic("checkpoint.index", f"both {one} and {other} hold {_some(names)}", INDEX)
        for (one, other), names in repeated.items()
    ]


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_MAX_LISTED])
    return listed if len(names) <= _MAX_LISTED else f"{listed} and {len(names) - _MAX_LISTED} more"


def _no_weights(names: Sequence[str]) -> KogataError:
    """The error for a folder without readable weights; it names the weights that the folder holds instead."""
    others = [name for name in names if name.endswith(".safetensors")]
    if others:
        hint = "name a single file model.safetensors; shards need model.safetensors.index.json"
        variants = [name for name in others if _VARIANT.fullmatch(name)]
        if variants:
            hint = f"{variants[0]} is a variant: to export it, rename it to {SINGLE_FILE}"
        elif others[0].startswith("consolidated"):
            hint = "consolidated files have the authors' own tensor names; download model*.safetensors instead"
        return InputError.of("checkpoint.weights", f"no {SINGLE_FILE} and no {INDEX}; found {_some(others)}", hint=hint)
    for endings, format_name, why, hint in _OTHER_FORMATS:
        others = [name for name in names if name.lower().endswith(endings)]
        if others:
            return InputError.of(
                "checkpoint.pickle" if format_name == "pickle" else "checkpoint.weights",
                f"the only weights are {format_name} ({_some(others)}), {why}",
                where=others[0],
                hint=hint,
            )
    return InputError.of(
        "checkpoint.weights",
        f"there are no weights: no {SINGLE_FILE} and no {INDEX}",
        hint="pass a folder that transformers' `save_pretrained` wrote; from the hub only safetensors files are "
        "downloaded, so a repository with only GGUF or .bin files has no weights here",
    )
