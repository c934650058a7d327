"""Hub graphs and shipped ONNX files in onnxruntime, on the CPU provider."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from exporter.errors import InputError, UnsupportedError
from exporter.runners.base import Embeddings, answer_of, logits_of
from exporter.runners.bounded import LOOPS, Bounded
from exporter.runners.onnx_scan import scan_onnx

Array = NDArray[Any]

_BYTES_LIMIT = 1_500_000_000  # protobuf ends at 2 GiB; names, nodes and small tensors want some room
_DTYPES = {"tensor(int64)": np.int64, "tensor(int32)": np.int32, "tensor(float16)": np.float16}


@dataclass(frozen=True)
class OnnxSource:
    """A graph to run: `model` in memory, or the file at `path`. Exactly one of the two is given.

    optimize: whether onnxruntime may fuse ops, which changes the arithmetic of some graphs.
    """

    model: ir.Model | None = None
    path: Path | None = None
    optimize: bool = True


class OnnxSession:
    """An onnxruntime session that computes the same numbers each time: fixed threads, no spinning.

    Raises InputError where onnxruntime refuses the graph.
    """

    def __init__(self, source: OnnxSource, threads: int, *, optimize: bool = True) -> None:
        import onnxruntime

        self.name = f"onnxruntime {onnxruntime.__version__}, CPU"
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # fatal only: what goes wrong is raised, and printed once
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        if not (optimize and source.optimize):
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        self._loop = _first_loop(source)
        try:
            self._session = _open(source, options)
        except _onnxruntime_errors() as error:
            where = source.path.name if source.path else "hub graph"
            raise InputError.of("parity.onnx-load", f"onnxruntime refuses the graph: {error}", where=where) from error
        self.inputs = {i.name: i for i in self._session.get_inputs()}
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, Array], outputs: Sequence[str] | None = None) -> dict[str, Array]:
        """Feeds by input name → results by output name."""
        names = list(outputs) if outputs is not None else self.outputs
        try:
            made = self._bounded(names, feeds) if self._loop else self._session.run(names, dict(feeds))
            return dict(zip(names, made, strict=True))
        except _onnxruntime_errors() as error:
            raise InputError.of("parity.onnx-run", f"onnxruntime failed to run the graph: {error}") from error

    def _bounded(self, names: Sequence[str], feeds: Mapping[str, Array]) -> Any:
        """Raises InputError for a loop that doesn't end."""
        import onnxruntime

        options = onnxruntime.RunOptions()
        with Bounded(options) as bounds:
            try:
                return self._session.run(names, dict(feeds), options)
            except _onnxruntime_errors() as error:
                if not bounds.reason:
                    raise
                raise InputError.of(
                    "parity.onnx-loop",
                    f"the graph was stopped: {bounds.reason}",
                    where=self._loop,
                    hint="the loop may be endless for these inputs: state real ones with --prompts FILE.npz",
                ) from error


class OnnxDecoder:
    """A decoder with `past_key_values.*` inputs and `present.*` outputs."""

    def __init__(self, source: OnnxSource, threads: int) -> None:
        self.onnx = OnnxSession(source, threads)
        self.name = self.onnx.name
        self.cache_inputs = empty_cache(self.onnx)

    @property
    def takes_batches(self) -> bool:
        """Whether the graph has the inputs for a batch with padding at the start."""
        return {"attention_mask", "position_ids"} <= self.onnx.inputs.keys() and any_batch(self.onnx)

    def session(self) -> OnnxDecoderSession:
        """A session with an empty cache."""
        return OnnxDecoderSession(self.onnx, dict(self.cache_inputs))

    def feed_batch(self, texts: Sequence[NDArray[np.int64]]) -> list[NDArray[np.float32]]:
        """All texts in one batch, padded at the start to the longest, as transformers' `generate` sends them."""
        length = max(len(ids) for ids in texts)
        starts = np.array([[length - len(ids)] for ids in texts])
        columns = np.arange(length)[None]
        feeds: dict[str, Array] = {
            "input_ids": np.stack([np.pad(ids, (length - len(ids), 0)) for ids in texts]),
            "attention_mask": (columns >= starts).astype(np.int64),
            "position_ids": np.where(columns >= starts, columns - starts, 1),
        }
        cache = {name: np.repeat(array, len(texts), axis=0) for name, array in self.cache_inputs.items()}
        logits = self.onnx.run({**declared(self.onnx, feeds), **cache}, ["logits"])["logits"]
        return [np.asarray(row[length - len(ids) :], np.float32) for row, ids in zip(logits, texts, strict=True)]


class OnnxDecoderSession:
    """One text; the cache travels from `present.*` to `past_key_values.*`."""

    def __init__(self, onnx: OnnxSession, cache: dict[str, Array]) -> None:
        self._onnx = onnx
        self._cache = cache
        self._past = 0

    def feed(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """`[q]` token ids → logits `[q, vocab]`."""
        results = self._onnx.run({**decoder_feeds(self._onnx, ids, self._past), **self._cache})
        self._past += len(ids)
        self._cache = {name: results[name.replace("past_key_values", "present", 1)] for name in self._cache}
        return logits_of(results, len(ids))


class OnnxEncoder:
    """An encoder with `token_embeddings` (or `last_hidden_state`) and perhaps `sentence_embedding`, or with logits."""

    def __init__(self, source: OnnxSource, threads: int) -> None:
        self.onnx = OnnxSession(source, threads)
        self.name = self.onnx.name

    @property
    def takes_batches(self) -> bool:
        """Whether the graph has the inputs for a padded batch."""
        return "attention_mask" in self.onnx.inputs and any_batch(self.onnx)

    def encode(self, ids: NDArray[np.int64], types: NDArray[np.int64] | None = None) -> Embeddings:
        """`[n]` token ids, special tokens included, and token types."""
        return self.encode_batch([ids], [] if types is None else [types])[0]

    def encode_batch(
        self, texts: Sequence[NDArray[np.int64]], types: Sequence[NDArray[np.int64]] = ()
    ) -> list[Embeddings]:
        """All texts in one batch, padded at the end to the longest; results without the padding."""
        results = self.onnx.run(encoder_feeds(self.onnx, texts, types))
        names = [name for name in ("token_embeddings", "last_hidden_state") if name in results] or self.onnx.outputs[:1]
        rows = ({name: array[i : i + 1] for name, array in results.items()} for i in range(len(texts)))
        return [answer_of(row, len(ids), tokens=names[0]) for row, ids in zip(rows, texts, strict=True)]


def any_batch(onnx: OnnxSession) -> bool:
    """Whether the graph takes batches of any size."""
    return "input_ids" in onnx.inputs and not isinstance(onnx.inputs["input_ids"].shape[0], int)


def decoder_feeds(onnx: OnnxSession, ids: NDArray[np.int64], past: int) -> dict[str, Array]:
    """The inputs of one step without the cache: only those that the graph declares, in its integer types."""
    total = past + len(ids)
    feeds: dict[str, Array] = {
        "input_ids": ids[None],
        "attention_mask": np.ones((1, total), np.int64),
        "position_ids": np.arange(past, total)[None],
    }
    return declared(onnx, feeds)


def empty_cache(onnx: OnnxSession) -> dict[str, Array]:
    """`past_key_values.*` `[1, kv_heads, 0, head_dim]`, by input name."""
    cache: dict[str, Array] = {}
    for name, value in onnx.inputs.items():
        if name.startswith("past_key_values."):
            if len(value.shape) != 4 or not all(isinstance(value.shape[axis], int) for axis in (1, 3)):
                message = f"has shape {value.shape}, expected [batch, kv_heads, past, head_dim]"
                raise InputError.of("parity.onnx-cache", message, where=name)
            cache[name] = np.zeros((1, value.shape[1], 0, value.shape[3]), _DTYPES.get(value.type, np.float32))
    if not cache or any(name.replace("past_key_values", "present", 1) not in onnx.outputs for name in cache):
        raise InputError.of(
            "parity.onnx-cache",
            "the decoder's inputs past_key_values.* and outputs present.* don't make a complete cache",
        )
    return cache


def encoder_feeds(
    onnx: OnnxSession, texts: Sequence[NDArray[np.int64]], types: Sequence[NDArray[np.int64]] = ()
) -> dict[str, Array]:
    """A padded batch. Padding is token 0 with mask 0, which must not matter."""
    length = max(len(ids) for ids in texts)
    ids, kinds = (
        np.stack([np.pad(row, (0, length - len(row))) for row in rows])
        for rows in (texts, types or [np.zeros_like(text) for text in texts])
    )
    mask = np.stack([np.arange(length) < len(text) for text in texts]).astype(np.int64)
    return declared(onnx, {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds})


def declared(onnx: OnnxSession, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """The feeds that the graph has inputs for, in the inputs' types."""
    return {
        name: array.astype(_DTYPES.get(onnx.inputs[name].type, np.float32))
        for name, array in feeds.items()
        if name in onnx.inputs
    }


def _open(source: OnnxSource, options: Any) -> Any:
    import onnxruntime

    providers = ["CPUExecutionProvider"]
    if source.path is not None:
        return onnxruntime.InferenceSession(str(source.path), options, providers=providers)
    if source.model is None:
        raise ValueError("an OnnxSource needs a model or a path")
    size = sum(v.const_value.nbytes for v in source.model.graph.initializers.values() if v.const_value is not None)
    if size <= _BYTES_LIMIT:
        return onnxruntime.InferenceSession(ir.to_proto(source.model).SerializeToString(), options, providers=providers)
    with tempfile.TemporaryDirectory(prefix="kogata-parity-") as folder:
        path = Path(folder) / "hub.onnx"
        ir.save(source.model, path, external_data="hub.onnx.data")
        return onnxruntime.InferenceSession(str(path), options, providers=providers)


def require_loadable(path: Path) -> None:
    """Opens a written ONNX file once. Raises UnsupportedError where onnxruntime refuses it.

    First without optimization, which decodes no weights; onnxruntime has no kernel for the shape of UINT4 indices, so
    that palettes of 4 bits need it.
    """
    try:
        OnnxSession(OnnxSource(path=path), 1, optimize=False)
        return
    except InputError:
        pass
    try:
        OnnxSession(OnnxSource(path=path), 1)
    except InputError as error:
        raise UnsupportedError.of(
            "onnx.not-loadable",
            f"the ONNX file was not kept: {error.diagnostics[0].message}",
            where=path.name,
            hint="export with --to coreml; if onnxruntime runs the source file, this is a bug in Kogata",
        ) from error


def _first_loop(source: OnnxSource) -> str:
    """The name of a loop in the graph, or its op; "" if there is none. A file is checked, too: see `scan_onnx`."""
    if source.path is not None:
        return scan_onnx(source.path).loop
    if source.model is None:
        return ""
    graphs: list[ir.Graph | ir.Function] = [source.model.graph, *source.model.functions.values()]
    nodes = (node for graph in graphs for node in ir.traversal.RecursiveGraphIterator(graph))
    return next((node.name or node.op_type for node in nodes if node.op_type in LOOPS), "")


def _onnxruntime_errors() -> tuple[type[Exception], ...]:
    """The exceptions of onnxruntime: its classes share no base but Exception."""
    from onnxruntime.capi import onnxruntime_pybind11_state as state

    found = [kind for kind in vars(state).values() if isinstance(kind, type) and issubclass(kind, Exception)]
    return (*found, ValueError, RuntimeError)
