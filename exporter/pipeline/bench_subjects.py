"""What `kogata bench` times: the artifacts of a bundle, or a folder that onnxruntime-genai opens."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from exporter.bundle import Artifact, Interface, Manifest, verify_bundle
from exporter.bundle.opened import OpenBundle, open_bundle
from exporter.bundle.tree import printable
from exporter.checkpoint.folder import Folder
from exporter.errors import Diagnostic, InputError, RuntimeMissingError, UnsupportedError
from exporter.formats import FORMS, Form
from exporter.progress import Progress
from exporter.runners import coreml
from exporter.runners.bench import Engine
from exporter.runners.onnx_scan import scan_onnx

Kind = Literal["decoder", "encoder"]
GENAI = "genai_config.json"
MAX_CONTEXT = 512  # tokens of a model that states no length
_TEXT_INPUTS = {"input_ids", "attention_mask", "token_type_ids", "position_ids"}
_CACHE = "past_key_values."
_NAMES = {"past_key_names": "past_key_values.%d.key", "past_value_names": "past_key_values.%d.value"}
_OTHER_PARTS = ("encoder", "embedding", "vision", "speech")


@dataclass(frozen=True)
class Subject:
    """One model file in one engine.

    side: "A" or "B" where two are compared, else "". form: None for a genai folder. model: what the engine opens.
    files: the model and its external data. context: longest text in tokens. batches: whether it takes several texts at
    once. facts: what the worker must know of the model.
    """

    side: str
    form: Form | None
    engine: Engine
    kind: Kind
    model: Path
    files: tuple[Path, ...]
    context: int
    batches: bool = True
    facts: Mapping[str, Any] = field(default_factory=dict)

    @property
    def label(self) -> str:
        """In reports: "A onnx", "B genai folder"."""
        return f"{self.side} {self.form.label if self.form else 'genai folder'}".strip()

    @property
    def bytes(self) -> int:
        """Size of the model: its file or package, and its external data."""
        return sum(file.stat().st_size for file in self.files)


@dataclass(frozen=True)
class Side:
    """A bundle or a genai folder. manifest: None for a folder. left_out: artifacts that don't run here, and why."""

    path: Path
    subjects: tuple[Subject, ...]
    left_out: tuple[Diagnostic, ...] = ()
    manifest: Manifest | None = None


def is_genai_folder(path: Path) -> bool:
    """Whether it is a folder for onnxruntime-genai and not a bundle."""
    return (path / GENAI).is_file() and not (path / "manifest.json").exists()


def bundle_side(path: Path, side: str, asked: str | None, engine: Engine, progress: Progress) -> Side:
    """The artifacts of a bundle, verified first. asked: a format or a form; engine: for ONNX files.

    Raises GateError for changed files, InputError where there is no such artifact, UnsupportedError for models that
    take anything but text and for files without genai_config.json where the engine is genai, RuntimeMissingError where
    nothing runs on this machine.
    """
    if path.is_dir() and not any((path / name).exists() for name in ("manifest.json", "SHA256SUMS")):
        message = f"this is neither a bundle (manifest.json) nor a folder for onnxruntime-genai ({GENAI})"
        raise InputError.of("bench.input", message, where=printable(str(path)), hint="`kogata export` makes a bundle")
    verify_bundle(path, progress).require_ok()
    bundle = open_bundle(path)
    artifacts = [a for a in bundle.manifest.artifacts if a.component == "model" and _wanted(a.form, asked)]
    if not artifacts:
        held = ", ".join(str(a.form) for a in bundle.manifest.artifacts)
        message = f"the bundle has no {asked} artifact" if asked else "the bundle's model has several parts"
        raise InputError.of("bench.artifact", message, where=printable(str(path)), hint=f"it has {held}")
    artifacts.sort(key=lambda a: list(FORMS).index(a.form))
    absent = [a for a in artifacts if a.kind == "coreml" and not coreml.available()]
    left_out = tuple(
        Diagnostic("bench.left-out", "not timed: Core ML runs on macOS only", f"{side} {a.path}".strip(), level="note")
        for a in absent
    )
    subjects = tuple(_subject(bundle, a, side, engine) for a in artifacts if a not in absent)
    if not subjects:
        raise RuntimeMissingError.of(
            "bench.coreml", "Core ML runs on macOS only", where=printable(str(path)), hint="time an ONNX artifact"
        )
    return Side(path, subjects, left_out, bundle.manifest)


def genai_side(path: Path, side: str, engine: Engine) -> Side:
    """A folder for onnxruntime-genai. Raises as `read_genai` does."""
    found = read_genai(path)
    subject = Subject(
        side,
        None,
        engine,
        "decoder",
        path if engine == "genai" else found.model,
        (found.model, *scan_onnx(found.model).data),
        found.context,
        facts={"vocabulary": found.vocabulary, "head_dim": found.head_dim, "shared": found.shared},
    )
    return Side(path, (subject,))


@dataclass(frozen=True)
class GenaiFolder:
    """What a genai_config.json says. shared: whether the graph may write to the cache that it reads."""

    model: Path
    context: int
    vocabulary: int
    head_dim: int
    shared: bool


def read_genai(path: Path) -> GenaiFolder:
    """Reads the genai_config.json in the folder `path`.

    Raises InputError where it is damaged, names a file outside of the folder or loads a library of machine code;
    UnsupportedError for anything but a text decoder of one ONNX file on the CPU.
    """
    folder = Folder.at(path)
    config = folder.read_object(GENAI, small_integers=True) or {}
    where = printable(str(path / GENAI))
    if "custom_ops_library" in _keys(config):
        raise InputError.of("bench.custom-ops", "it loads a library of machine code (custom_ops_library)", where=where)
    model, search = _object(config, "model"), _object(config, "search")
    decoder = _object(model, "decoder")
    parts = [part for part in _OTHER_PARTS if part in model] + ["pipeline"] * ("pipeline" in decoder)
    providers = _object(decoder, "session_options").get("provider_options") or []
    names = {**_object(decoder, "inputs")}
    problems = []
    if parts:
        problems.append(f"bench times text decoders of one ONNX file; this one has also: {', '.join(parts)}")
    if providers:
        problems.append("bench runs models on the CPU; this one asks for another provider")
    if any(names.get(key, name) != name for key, name in _NAMES.items()):
        problems.append(f"its cache has other names than {_NAMES['past_key_names']}")
    UnsupportedError.raise_all([Diagnostic("bench.genai", problem, where) for problem in problems])
    sizes = [_size(model, "context_length"), _size(model, "vocab_size"), _size(decoder, "head_size")]
    file = decoder.get("filename", "model.onnx")
    onnx = folder.find(file) if isinstance(file, str) else None
    if onnx is None or 0 in sizes:
        message = "it doesn't state the decoder's file, sizes and context, or there is no such file"
        raise InputError.of("bench.genai", message, where=where)
    return GenaiFolder(onnx, sizes[0], sizes[1], sizes[2], search.get("past_present_share_buffer") is True)


def _subject(bundle: OpenBundle, artifact: Artifact, side: str, engine: Engine) -> Subject:
    manifest, model = bundle.manifest, bundle.folder / artifact.path
    kind: Kind = "decoder" if manifest.task == "text-generation" else "encoder"
    tokenizer = bundle.tokenizer
    inputs = [port for port in manifest.io[artifact.path].inputs if not port.name.startswith(_CACHE)]
    if tokenizer is None or (artifact.kind == "onnx" and not {port.name for port in inputs} <= _TEXT_INPUTS):
        message = f"`kogata bench` times decoders and encoders of text; this model is for {manifest.task}"
        raise UnsupportedError.of("bench.task", message, where=printable(str(bundle.folder)))
    facts: dict[str, Any] = {
        "vocabulary": manifest.model.get("vocab_size") or tokenizer.vocab_size,
        "head_dim": manifest.model.get("head_dim", 0),
        "shared": False,
        "pad_id": tokenizer.pad_id or 0,
        "form": str(artifact.form),
    }
    context = manifest.context or MAX_CONTEXT
    if artifact.kind == "coreml":
        files = tuple(bundle.folder / name for name in artifact.files)
        return Subject(side, artifact.form, "coreml", kind, model, files, context, False, facts)
    beside = kind == "decoder" and (model.parent / GENAI).is_file()
    if engine == "genai" and not beside:
        reason = "onnxruntime-genai runs decoders only" if kind == "encoder" else f"it has no {GENAI}"
        hint = "--engine onnxruntime" if kind == "decoder" else "compare it with another encoder"
        raise UnsupportedError.of("bench.engine", reason, where=printable(str(model.parent)), hint=hint)
    if beside:
        facts["shared"] = read_genai(model.parent).shared
    opened = model.parent if engine == "genai" else model
    many = _any_batch(manifest.io[artifact.path])
    return Subject(side, artifact.form, engine, kind, opened, (model, *scan_onnx(model).data), context, many, facts)


def _wanted(form: Form, asked: str | None) -> bool:
    return asked is None or asked in (form.format, str(form))


def _any_batch(interface: Interface) -> bool:
    firsts = [axis for port in interface.inputs if port.name == "input_ids" for axis in port.shape[:1]]
    return not any(isinstance(axis, int) for axis in firsts)


def _keys(value: Any) -> Iterator[str]:
    """All keys of all objects in a JSON value."""
    left = [value]
    while left:
        inner = left.pop()
        if isinstance(inner, dict):
            yield from inner
            left += inner.values()
        elif isinstance(inner, list):
            left += inner


def _object(held: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = held.get(key)
    return value if isinstance(value, dict) else {}


def _size(held: Mapping[str, Any], key: str) -> int:
    """A positive number, else 0."""
    value = held.get(key)
    return value if type(value) is int and value > 0 else 0
