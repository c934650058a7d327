"""Any model that optimum has an ONNX configuration for, through its export: traced in torch, no code of the checkpoint.

Source: optimum's exporter, https://huggingface.co/docs/optimum-onnx/onnx/usage_guides/export_a_model.
"""

from __future__ import annotations

import contextlib
import gc
import io
import logging
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import onnx_ir as ir

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.checkpoint import PREPROCESSOR
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.spelling import older_spelling
from exporter.errors import InputError, UnsupportedError, UsageError
from exporter.graph.model import Hub
from exporter.importers.graph_file import read_graph
from exporter.importers.graph_inputs import Sizes
from exporter.importers.model_sizes import ModelSizes, read_sizes
from exporter.importers.onnx_file import GraphFacts, graph_hub
from exporter.importers.towers import split_towers

VERSION = version("optimum-onnx")
_COMPONENTS = ({"model"}, {"encoder_model", "decoder_model"}, {"text_model", "vision_model"})
_WITH_PAST = "-with-past"
_UNNEEDED = ("pooler.", "position_ids")  # endings of names that checkpoints leave out and that decide no output
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip  # what transformers, torch and optimum raise for a model that they can't take


@dataclass(frozen=True)
class Exported:
    """What optimum made: component → its graph. architecture: the transformers class; task: the hub's name of it."""

    graphs: Mapping[str, ir.Model]
    architecture: str
    task: str


def optimum_types() -> frozenset[str]:
    """The `model_type`s that optimum exports to ONNX. Loads transformers, which takes seconds."""
    with quiet():
        import optimum.exporters.onnx.model_configs  # noqa: F401  # registers the model types
        from optimum.exporters.tasks import TasksManager

        known = TasksManager._SUPPORTED_MODEL_TYPE
    return frozenset(name for name, exporters in known.items() if "onnx" in exporters)


def import_through_optimum(
    checkpoint: Checkpoint, given: Mapping[str, tuple[int, ...]], context: int | None, work: Path
) -> tuple[tuple[Hub, ...], tuple[str, ...]]:
    """The model's components as hubs, and inputs whose sizes were guessed.

    given: input, or `component.input` → its shape. context: longest text, in tokens. work: where the export lies
    meanwhile. Raises UnsupportedError with what optimum said where it can't export the model, InputError for a
    checkpoint that transformers can't load.
    """
    sizes = read_sizes(checkpoint, context)
    with tempfile.TemporaryDirectory(dir=work) as folder:
        exported = _export(checkpoint, sizes, Path(folder))
    if context is not None and not any(_reads_text(model.graph) for model in exported.graphs.values()):
        message = f"a {exported.task} model without text has no context"
        raise UsageError.of("options.context", message, where="--context", hint="--shape gives its inputs other sizes")
    hubs: list[Hub] = []
    assumed: list[str] = []
    for name, model in exported.graphs.items():
        facts = GraphFacts(
            family=str(checkpoint.config["model_type"]),
            task=exported.task,
            component=name,
            context=sizes.context if _reads_text(model.graph) else None,
            labels=_labels(checkpoint.config, exported.task),
            vocabulary=sizes.vocabulary,
            sources=_sources(name, model.graph),
        )
        own = Sizes(_own(given, name, model.graph, exported.graphs), sizes.axes(model.graph), guess=True)
        hub, guessed = graph_hub(model, facts, own)
        hubs.append(hub)
        assumed += guessed
    return tuple(hubs), tuple(assumed)


def optimum_task(config: Mapping[str, Any]) -> tuple[str, str]:
    """The transformers class of the checkpoint, and the task that optimum exports it for; nothing is traced.

    Raises as `import_through_optimum` does.
    """
    with quiet():
        architecture = architecture_of(config)
        return architecture, _task(config, architecture).removesuffix(_WITH_PAST)


def is_model_class(name: str) -> bool:
    """Whether transformers has a model class of that name. Loads transformers."""
    import transformers

    found = getattr(transformers, name, None)
    return isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)


def architecture_of(config: Mapping[str, Any]) -> str:
    """The transformers class that the checkpoint was saved from; "AutoModel" where it doesn't say.

    Raises InputError where `architectures` names something else than a model class.
    """
    stated = config.get("architectures")
    if stated is None or stated == []:
        return "AutoModel"
    name = stated[0] if isinstance(stated, list) else None
    if not isinstance(name, str) or not name.isidentifier():
        raise InputError.of("config.invalid", "architectures: not a list of class names", where="config.json")
    if not is_model_class(name):
        import transformers

        message = f"architectures: transformers {transformers.__version__} has no model class {name[:80]}"
        raise UnsupportedError.of("config.unsupported", message, where="config.json", hint="see `kogata doctor`")
    return name


def _export(checkpoint: Checkpoint, sizes: ModelSizes, folder: Path) -> Exported:
    with quiet():
        architecture = architecture_of(checkpoint.config)
        task = _task(checkpoint.config, architecture)
        _trace(checkpoint, architecture, task, sizes, folder)
    gc.collect()  # torch's copy of the weights is no longer needed
    graphs = {path.stem: read_graph(path) for path in sorted(folder.glob("*.onnx"))}
    if set(graphs) == {"model"}:
        graphs = split_towers(graphs["model"]) or graphs
    if set(graphs) not in _COMPONENTS:
        raise UnsupportedError.of(
            "optimum.components",
            f"optimum exports this model as {', '.join(graphs) or 'nothing'}; Kogata packs a model, an encoder with "
            "its decoder, or two towers",
            where=f"config.json: {architecture}",
        )
    order = {"encoder_model": 0, "text_model": 0}
    graphs = dict(sorted(graphs.items(), key=lambda item: order.get(item[0], 1)))
    return Exported(graphs, architecture, task.removesuffix(_WITH_PAST))


def _task(config: Mapping[str, Any], architecture: str) -> str:
    """optimum's name for what the class is for. Raises UnsupportedError where optimum can't export it for that."""
    import optimum.exporters.onnx.model_configs  # noqa: F401  # registers the model types
    import transformers
    from optimum.exporters.tasks import TasksManager

    model_type = str(config["model_type"])
    tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "onnx", library_name="transformers")
    try:
        task = str(TasksManager.infer_task_from_model(getattr(transformers, architecture)))
    except (ValueError, KeyError):
        task = "unknown"
    if config.get("is_encoder_decoder") is True and architecture.endswith("ForConditionalGeneration"):
        task = "automatic-speech-recognition" if task == "automatic-speech-recognition" else "text2text-generation"
    if task == "text-generation" and f"{task}{_WITH_PAST}" in tasks:
        task += _WITH_PAST
    if task not in tasks:
        listed = ", ".join(sorted(name for name in tasks if not name.endswith(_WITH_PAST)))
        message = f"optimum exports {model_type} for {listed}, and {architecture} is for {task}"
        raise UnsupportedError.of("optimum.task", message, where="config.json: architectures")
    return task


def _trace(checkpoint: Checkpoint, architecture: str, task: str, sizes: ModelSizes, folder: Path) -> None:
    """Loads the model in float32 and has it exported to `folder`."""
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.utils import DEFAULT_DUMMY_SHAPES

    model = _load(checkpoint, architecture)
    model.config.use_cache = task.endswith(_WITH_PAST)
    shapes = {name: size for name, size in sizes.dummies.items() if name in DEFAULT_DUMMY_SHAPES}
    try:
        with torch.no_grad():
            onnx_export_from_model(
                model, folder, task=task, do_validation=False, no_post_process=True, device="cpu", **shapes
            )
    except (*_FAILURES, torch.onnx.errors.OnnxExporterError) as error:
        raise UnsupportedError.of(
            "optimum.export",
            f"optimum can't export {architecture}: {type(error).__name__}: {_first_line(error)}",
            where="config.json: model_type",
            hint=f"{_lacking(checkpoint)}{_versions()}; a file that another exporter made can be given as it is: "
            "kogata export model.onnx",
        ) from error


def _lacking(checkpoint: Checkpoint) -> str:
    """optimum asks some models' preprocessors for the sizes to trace with."""
    there = Folder.at(checkpoint.root).find(PREPROCESSOR) is not None or bool(checkpoint.tokenizer_files)
    return "" if there else f"the folder has no {PREPROCESSOR}, which some models need; "


def _load(checkpoint: Checkpoint, architecture: str) -> Any:
    import torch
    import transformers
    from safetensors import SafetensorError

    model_class = getattr(transformers, architecture)
    try:
        restated, config = older_spelling(checkpoint.config), None
        if restated != checkpoint.config:
            known = getattr(model_class, "config_class", None)
            known = known or type(transformers.AutoConfig.from_pretrained(str(checkpoint.root), local_files_only=True))
            config = known.from_dict(restated)
        model, info = model_class.from_pretrained(
            str(checkpoint.root),
            config=config,
            torch_dtype=torch.float32,
            attn_implementation="eager",
            local_files_only=True,
            trust_remote_code=False,
            use_safetensors=True,
            output_loading_info=True,
        )
    except (*_FAILURES, SafetensorError) as error:
        raise InputError.of(
            "optimum.load",
            f"transformers can't load the checkpoint: {type(error).__name__}: {_first_line(error)}",
            where=f"config.json: {architecture}",
            hint=_versions(),
        ) from error
    missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in _UNNEEDED))
    if missing or info["mismatched_keys"]:
        names = missing or [str(key) for key in info["mismatched_keys"]]
        message = f"{len(names)} tensors that the model needs are missing or misshapen: {', '.join(names[:5])}"
        raise InputError.of("tensor.missing", message, where=names[0], hint="the checkpoint is incomplete")
    return model.eval()


def _own(
    given: Mapping[str, tuple[int, ...]], component: str, graph: ir.Graph, graphs: Mapping[str, ir.Model]
) -> dict[str, tuple[int, ...]]:
    """The user's shapes for this component: `component.input`, or `input` where it has one of that name.

    A name that no component has is handed to the first, which refuses it.
    """
    everywhere = {str(value.name) for model in graphs.values() for value in model.graph.inputs}
    here = {str(value.name) for value in graph.inputs}
    own: dict[str, tuple[int, ...]] = {}
    for name, shape in given.items():
        prefix, _, rest = name.partition(".")
        if prefix == component:
            own[rest] = shape
        elif name in here or (name not in everywhere and prefix not in graphs and component == next(iter(graphs))):
            own.setdefault(name, shape)
    return own


def _sources(component: str, graph: ir.Graph) -> dict[str, tuple[str, str]]:
    """What a decoder takes from its encoder: what that computes, and which of it is padding."""
    if component != "decoder_model":
        return {}
    known = {"encoder_hidden_states": "last_hidden_state", "encoder_attention_mask": "attention_mask"}
    names = [str(value.name) for value in graph.inputs]
    return {name: ("encoder_model", known[name]) for name in names if name in known}


def _reads_text(graph: ir.Graph) -> bool:
    return any(str(value.name).endswith("input_ids") for value in graph.inputs)


def _labels(config: Mapping[str, Any], task: str) -> tuple[str, ...]:
    """The names of a classifier's classes in order; empty where they have none but transformers' LABEL_0, LABEL_1, …"""
    stated = config.get("id2label")
    if not task.endswith("classification") or task.startswith("zero-shot") or not isinstance(stated, dict):
        return ()
    labels = [stated.get(str(i)) for i in range(len(stated))]
    named = tuple(label for label in labels if isinstance(label, str) and label)
    placeholders = all(label == f"LABEL_{i}" for i, label in enumerate(named))
    return () if placeholders or len(named) != len(labels) else named


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch", "optimum-onnx"))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps what torch, transformers and optimum remark on their way from the user: what goes wrong is raised."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    import transformers

    verbosity, bars = transformers.logging.get_verbosity(), transformers.logging.is_progress_bar_enabled()
    disabled = logging.root.manager.disable
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    logging.disable(logging.ERROR)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(disabled)
        transformers.logging.set_verbosity(verbosity)
        if bars:
            transformers.logging.enable_progress_bar()
