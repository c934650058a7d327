"""Exports a model through optimum: the only module of the importers that loads transformers, torch and optimum.

Source: optimum's exporter, https://huggingface.co/docs/optimum-onnx/onnx/usage_guides/export_a_model.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import warnings
from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from exporter.checkpoint import Checkpoint
from exporter.checkpoint.checkpoint import PREPROCESSOR
from exporter.checkpoint.folder import Folder
from exporter.checkpoint.spelling import older_spelling
from exporter.errors import InputError, UnsupportedError
from exporter.importers.model_sizes import ModelSizes

VERSION = version("optimum-onnx")
WITH_PAST = "-with-past"  # ending of optimum's name for a task whose graph has a KV cache
_NEEDLESS_TENSORS = ("pooler.", "position_ids")  # parts of names; checkpoints may lack them, no output depends on them
_EMBEDS = "feature-extraction"
# As in sentence-transformers. UMT5 has no export.
_ENCODERS = {"t5": "T5EncoderModel", "mt5": "MT5EncoderModel", "longt5": "LongT5EncoderModel"}
# what transformers, torch and optimum raise for a model that they can't load or trace
_FAILURES = (
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, NotImplementedError, OSError,
    RuntimeError, TypeError, ValueError,
)  # fmt: skip


def optimum_types() -> frozenset[str]:
    """The `model_type`s that optimum can export to ONNX. Loads transformers, which takes seconds."""
    with quiet():
        import optimum.exporters.onnx.model_configs  # noqa: F401  # registers the model types
        from optimum.exporters.tasks import TasksManager

        known = TasksManager._SUPPORTED_MODEL_TYPE
    return frozenset(name for name, exporters in known.items() if "onnx" in exporters)


def optimum_task(checkpoint: Checkpoint) -> tuple[str, str]:
    """The transformers class of the checkpoint, and the task that optimum exports it for. Nothing is traced.

    Raises UnsupportedError or InputError if the class isn't known or optimum can't export it.
    """
    with quiet():
        architecture, task = class_and_task(checkpoint)
        return architecture, task.removesuffix(WITH_PAST)


def class_and_task(checkpoint: Checkpoint) -> tuple[str, str]:
    """The transformers class to export and optimum's name of its task. Raises as `architecture_of` and `export_task`.

    sentence-transformers runs the model without its head, whatever class it was saved from.
    """
    modules = checkpoint.sentence
    if modules is None or modules.cross_encoder:
        architecture = architecture_of(checkpoint.config)
        return architecture, export_task(checkpoint.config, architecture)
    encoder = _ENCODERS.get(str(checkpoint.config["model_type"]))  # of an encoder-decoder, the encoder alone
    return (encoder, _EMBEDS) if encoder else ("AutoModel", export_task(checkpoint.config, "AutoModel"))


def is_model_type(name: str) -> bool:
    """Whether transformers has a configuration of that `model_type`. Loads transformers."""
    from transformers.models.auto.configuration_auto import CONFIG_MAPPING_NAMES

    return name in CONFIG_MAPPING_NAMES


def is_model_class(name: str) -> bool:
    """Whether transformers has a model class of that name. Loads transformers."""
    import transformers

    found = getattr(transformers, name, None)
    return isinstance(found, type) and issubclass(found, transformers.PreTrainedModel)


def architecture_of(config: Mapping[str, Any]) -> str:
    """The transformers class that the checkpoint was saved from; "AutoModel" if none is stated.

    Raises InputError if `architectures` isn't a list of names, UnsupportedError if transformers has no such class.
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
        hint = "`kogata doctor` shows the installed versions"
        raise UnsupportedError.of("config.unsupported", message, where="config.json", hint=hint)
    return name


def export_task(config: Mapping[str, Any], architecture: str) -> str:
    """optimum's name of the class's task. Raises UnsupportedError if optimum can't export the model for this task."""
    import optimum.exporters.onnx.model_configs  # noqa: F401  # registers the model types
    import transformers
    from optimum.exporters.tasks import TasksManager

    hint = "if another exporter can make an ONNX file of it: kogata export model.onnx"
    if architecture in _speaking_classes():
        message = f"{architecture} makes sound from text; Kogata doesn't support text to speech"
        raise UnsupportedError.of("optimum.task", message, where="config.json: architectures", hint=hint)
    model_type = str(config["model_type"])
    tasks = TasksManager.get_supported_tasks_for_model_type(model_type, "onnx", library_name="transformers")
    try:
        task = str(TasksManager.infer_task_from_model(getattr(transformers, architecture)))
    except (ValueError, KeyError):
        task = "unknown"
    if config.get("is_encoder_decoder") is True and architecture.endswith("ForConditionalGeneration"):
        task = "automatic-speech-recognition" if task == "automatic-speech-recognition" else "text2text-generation"
    if task == "text-generation" and f"{task}{WITH_PAST}" in tasks:
        task += WITH_PAST
    if task not in tasks:
        listed = ", ".join(sorted(name for name in tasks if not name.endswith(WITH_PAST)))
        if task == "unknown":  # such as T5EncoderModel, half of a model
            message = f"optimum exports no {architecture}; of {model_type}, it exports the classes for {listed}"
        else:
            message = f"optimum can export {model_type} for {listed}, but {architecture} is for {task}"
        raise UnsupportedError.of("optimum.task", message, where="config.json: architectures", hint=hint)
    return task


def _speaking_classes() -> frozenset[str]:
    """The classes that make sound from text. optimum takes VitsModel for one that extracts features, which is where
    transformers lists it first; its graphs of the others need code between them that Kogata doesn't have.
    """
    from transformers.models.auto import modeling_auto

    waves = modeling_auto.MODEL_FOR_TEXT_TO_WAVEFORM_MAPPING_NAMES.values()
    return frozenset((*waves, *modeling_auto.MODEL_FOR_TEXT_TO_SPECTROGRAM_MAPPING_NAMES.values()))


def trace(checkpoint: Checkpoint, architecture: str, task: str, sizes: ModelSizes, folder: Path) -> None:
    """Loads the model in float32 and exports it to `folder` through optimum. Raises UnsupportedError if that fails."""
    import torch
    from optimum.exporters.onnx import onnx_export_from_model
    from optimum.utils import DEFAULT_DUMMY_SHAPES

    model = _load(checkpoint, architecture)
    model.config.use_cache = task.endswith(WITH_PAST)
    shapes = {name: size for name, size in sizes.dummies.items() if name in DEFAULT_DUMMY_SHAPES}
    try:
        with torch.no_grad():
            if architecture in _ENCODERS.values():
                _trace_encoder(model, folder / "model.onnx", shapes)
                return
            onnx_export_from_model(
                model, folder, task=task, do_validation=False, no_post_process=True, device="cpu", **shapes
            )
    except (*_FAILURES, torch.onnx.errors.OnnxExporterError) as error:
        raise UnsupportedError.of(
            "optimum.export",
            f"optimum can't export {architecture}: {type(error).__name__}: {_first_line(error)}",
            where="config.json: model_type",
            hint=f"{_missing_padding(error)}{_missing_preprocessor(checkpoint)}{_versions()}; "
            "if another exporter can make an ONNX file of it: kogata export model.onnx",
        ) from error


def _trace_encoder(model: Any, path: Path, shapes: Mapping[str, int]) -> None:
    """The encoder of an encoder-decoder as one graph, which optimum exports only beside its decoder."""
    from optimum.exporters.onnx import export
    from optimum.exporters.onnx.config import TextEncoderOnnxConfig
    from optimum.utils import DEFAULT_DUMMY_SHAPES, NormalizedTextConfig

    axes = {0: "batch_size", 1: "sequence_length"}

    class _Encoder(TextEncoderOnnxConfig):  # type: ignore[misc]
        NORMALIZED_CONFIG_CLASS = NormalizedTextConfig
        inputs = {"input_ids": axes, "attention_mask": axes}  # noqa: RUF012
        outputs = {"last_hidden_state": axes}  # noqa: RUF012

    config = _Encoder(model.config, task=_EMBEDS)
    export(model, config, path, config.DEFAULT_ONNX_OPSET, input_shapes={**DEFAULT_DUMMY_SHAPES, **shapes})


def _missing_padding(error: BaseException) -> str:
    """A hint where the class takes a text's last token that isn't padding, and no padding is named."""
    return "set pad_token_id in config.json; " if "padding token" in str(error) else ""


def _missing_preprocessor(checkpoint: Checkpoint) -> str:
    """A hint if the preprocessor's settings are missing: for some models optimum needs them to choose sizes."""
    there = Folder.at(checkpoint.root).find(PREPROCESSOR) is not None or bool(checkpoint.tokenizer_files)
    return "" if there else f"add {PREPROCESSOR} to the folder, some models need it; "


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
            attn_implementation=_attention(checkpoint.config),
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
    missing = sorted(key for key in info["missing_keys"] if not any(part in key for part in _NEEDLESS_TENSORS))
    if missing or info["mismatched_keys"]:
        names = missing or [str(key) for key in info["mismatched_keys"]]
        message = f"{len(names)} tensors of the model are missing or have a wrong shape: {', '.join(names[:5])}"
        raise InputError.of("tensor.missing", message, where=names[0], hint="the checkpoint is incomplete")
    return model.eval()


def _attention(config: Mapping[str, Any]) -> str:
    """The implementation to trace. Eager attention is plain matrix products, which every runtime has, and equals
    transformers' default; the exception is Falcon with alibi, where eager attention adds the alibi bias to a mask that
    already holds it (transformers 4.57). Parity compares with the default, and so finds further exceptions.
    """
    return "sdpa" if config.get("model_type") == "falcon" and config.get("alibi") else "eager"


def _versions() -> str:
    return ", ".join(f"{name} {version(name)}" for name in ("transformers", "torch", "optimum-onnx"))


def _first_line(error: BaseException) -> str:
    return (str(error).splitlines() or [""])[0][:300]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the warnings, logs and progress bars of torch, transformers and optimum. Errors are raised as usual."""
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
