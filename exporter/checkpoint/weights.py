"""Finds a checkpoint's weights: `model.safetensors`, or shards with `model.safetensors.index.json`."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.problems import Problems
from exporter.checkpoint.safetensors_header import read_header
from exporter.checkpoint.tensors import Shard, TensorStore
from exporter.errors import Diagnostic, InputError, KogataError

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
_SHARD_NAME = re.compile(r"[\w][\w.+-]*\.safetensors", re.ASCII)  # a plain file name: no folder, no control character
_VARIANT = re.compile(r"model\.[\w-]+\.safetensors", re.ASCII)  # model.fp16.safetensors
_NAMED = 5  # names listed in one message

_CONVERT = (
    "convert it where you trust it, with the model's own class: "
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

    Raises `InputError` with everything that is missing, damaged or contradictory.
    """
    path = folder.find(SINGLE)
    if path is not None:
        return TensorStore([Shard(path, SINGLE, read_header(path, SINGLE))]), (SINGLE,)
    index = folder.read_object(INDEX)
    if index is None:
        raise _no_weights(folder.names())
    by_shard = _read_index(index)
    shards = _open_shards(folder, tuple(by_shard))
    problems = [*_repeated(shards), *(problem for shard in shards for problem in _compare(shard, by_shard))]
    InputError.raise_all(problems)
    return TensorStore(shards), (INDEX, *(shard.name for shard in shards))


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
                    hint="the download is incomplete; fetch the missing files",
                )
            shards.append(Shard(path, name, read_header(path, name)))
    problems.raise_any()
    return shards


def _repeated(shards: Sequence[Shard]) -> list[Diagnostic]:
    first: dict[str, str] = {}
    repeated: dict[tuple[str, str], list[str]] = {}
    for shard in shards:
        for tensor in shard.header.tensors:
            holder = first.setdefault(tensor.name, shard.name)
            if holder != shard.name:
                repeated.setdefault((holder, shard.name), []).append(tensor.name)
    return [
        Diagnostic("checkpoint.index", f"both {one} and {other} hold {_some(names)}", INDEX)
        for (one, other), names in repeated.items()
    ]


def _compare(shard: Shard, by_shard: Mapping[str, set[str]]) -> list[Diagnostic]:
    """What the index says of this shard against what the shard holds."""
    promised, held = by_shard[shard.name], {tensor.name for tensor in shard.header.tensors}
    problems = []
    if missing := sorted(promised - held):
        problems.append(Diagnostic("checkpoint.index", f"{shard.name} lacks {_some(missing)}", INDEX))
    if extra := sorted(held - promised):
        problems.append(
            Diagnostic("checkpoint.index", f"{shard.name} holds {_some(extra)}, which the index doesn't list", INDEX)
        )
    return problems


def _some(names: Sequence[str]) -> str:
    listed = ", ".join(names[:_NAMED])
    return listed if len(names) <= _NAMED else f"{listed} and {len(names) - _NAMED} more"


def _no_weights(names: Sequence[str]) -> KogataError:
    """Says what the folder holds instead of weights that can be read."""
    found = [name for name in names if name.endswith(".safetensors")]
    if found:
        hint = "a single file is named model.safetensors; shards need their index"
        variants = [name for name in found if _VARIANT.fullmatch(name)]
        if variants:
            hint = f"{variants[0]} is a variant: rename it to {SINGLE} if it is the one to export"
        elif found[0].startswith("consolidated"):
            hint = "consolidated files have the makers' own tensor names; fetch the model*.safetensors beside them"
        return InputError.of("checkpoint.weights", f"no {SINGLE} and no {INDEX}; found {_some(found)}", hint=hint)
    for endings, format_name, why, hint in _OTHER_FORMATS:
        found = [name for name in names if name.lower().endswith(endings)]
        if found:
            return InputError.of(
                "checkpoint.pickle" if format_name == "pickle" else "checkpoint.weights",
                f"the only weights are {format_name} ({_some(found)}), {why}",
                where=found[0],
                hint=hint,
            )
    return InputError.of(
        "checkpoint.weights",
        f"there are no weights: no {SINGLE} and no {INDEX}",
        hint="a checkpoint is a folder as transformers' `save_pretrained` writes it; of the hub only safetensors are "
        "fetched, so a repository of GGUF or .bin files alone ends here",
    )
