"""`manifest.json`, which describes a bundle: written and read."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from exporter.bundle.canonical import canonical_json, parse_json
from exporter.bundle.facts import (
    Artifact,
    Bound,
    ChatFacts,
    CompressionFacts,
    Example,
    FitFacts,
    Interface,
    ParityFacts,
    Port,
    SourceFacts,
    TaskFacts,
    Verdict,
)
from exporter.bundle.schema import violations
from exporter.bundle.tree import path_problem, printable
from exporter.errors import Diagnostic, InputError
from exporter.formats import Form, default_form

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    from exporter.graph.model import Task

MANIFEST = "manifest.json"
SCHEMA_VERSION = 1
MAX_BYTES = 64 << 20  # a thousand tensors take some 300 kB


@dataclass(frozen=True)
class Manifest:
    """The facts about a bundle. model: see `model` in the schema. io and parity: by artifact path.

    failures: gates that failed, in words; those of parity that aren't about one artifact, and sizes.
    chat: None for a model without a chat template, and in bundles of older versions. example: None where nothing was
    compared, and for models whose answers aren't texts.
    """

    name: str
    task: Task
    model: Mapping[str, Any]
    source: SourceFacts
    languages: tuple[str, ...]
    context: int | None
    io: Mapping[str, Interface]
    compression: CompressionFacts
    artifacts: tuple[Artifact, ...]
    parity: Mapping[str, ParityFacts]
    tools: Mapping[str, str]
    failures: tuple[str, ...] = ()
    chat: ChatFacts | None = None
    example: Example | None = None

    @property
    def verdict(self) -> Verdict:
        """ "failed" where any gate failed, else "unchecked" where any artifact is."""
        return bundle_verdict([facts.verdict for facts in self.parity.values()], self.failures)

    def to_bytes(self) -> bytes:
        """The file in canonical form. RuntimeError when it violates the schema, which is a bug in kogata."""
        raw = canonical_json(
            {
                "schema_version": SCHEMA_VERSION,
                "name": self.name,
                "task": self.task,
                "model": self.model,
                "source": asdict(self.source),
                "languages": self.languages,
                "context": self.context,
                "io": {path: _interface_json(interface) for path, interface in self.io.items()},
                "compression": _compression_json(self.compression),
                "artifacts": [_artifact_json(artifact) for artifact in self.artifacts],
                "parity": {path: _noted(parity) for path, parity in self.parity.items()},
                "verdict": self.verdict,
                "failures": self.failures,
                "tools": self.tools,
                **({} if self.chat is None else {"chat": asdict(self.chat)}),
                **({} if self.example is None else {"example": asdict(self.example)}),
            }
        )
        found = manifest_problems(parse_json(raw))
        if found:
            raise RuntimeError(f"the manifest would be invalid: {found[0].message}, {found[0].where}")
        return raw


def bundle_verdict(artifacts: Collection[Verdict], failures: Sequence[str]) -> Verdict:
    """One verdict for a bundle, of those of its artifacts and of gates that failed."""
    if failures or "failed" in artifacts:
        return "failed"
    return "unchecked" if "unchecked" in artifacts else "passed"


def read_manifest(path: Path) -> Manifest:
    """The manifest at `path`. InputError with all its problems."""
    data, problems = load_manifest(path)
    InputError.raise_all(problems)
    return manifest_of(data)


def load_manifest(path: Path) -> tuple[Any, list[Diagnostic]]:
    """The JSON at `path` (None where it can't be read) and all its problems."""
    if path.is_symlink():
        return None, [_problem("", "is a symbolic link; a bundle must contain only files")]
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_BYTES + 1)
        if len(raw) > MAX_BYTES:
            raise ValueError(f"larger than {MAX_BYTES >> 20} MiB")
        data = parse_json(raw)
    except OSError as error:
        return None, [_problem("", f"can't be read: {error.strerror or error}")]
    except ValueError as error:
        return None, [_problem("", f"is not JSON: {printable(str(error))[:200]}")]
    return data, manifest_problems(data)


def manifest_problems(data: Any) -> list[Diagnostic]:
    """All problems of `data` as a manifest; without problems, a `Manifest` can be made of it."""
    version = data.get("schema_version") if isinstance(data, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        message = f"has schema version {version}, this kogata reads {SCHEMA_VERSION}"
        return [_problem("schema_version", message, "update kogata")]
    found = [_problem(printable(where), printable(message)) for where, message in violations(data)]
    return found or _inconsistencies(data)


def made_by_kogata(path: Path) -> bool:
    """Whether `path` is a manifest written by kogata, even an incomplete one or one of another version."""
    data, _ = load_manifest(path) if path.is_file() and not path.is_symlink() else (None, [])
    tools = data.get("tools") if isinstance(data, dict) else None
    return isinstance(data, dict) and "schema_version" in data and isinstance(tools, dict) and "kogata" in tools


def _inconsistencies(data: dict[str, Any]) -> list[Diagnostic]:
    """Rules that a schema can't state: safe paths, correct sums, one verdict for each artifact."""
    problems = []
    paths = [artifact["path"] for artifact in data["artifacts"]]
    if len(set(paths)) != len(paths):
        problems.append(_problem("artifacts", "two artifacts have the same path"))
    problems += [
        _problem(section, "must have exactly one entry for each artifact's path")
        for section in ("io", "parity")
        if set(data[section]) != set(paths)
    ]
    for index, artifact in enumerate(data["artifacts"]):
        problems += _artifact_problems(artifact, f"artifacts[{index}]")
    # Older manifests have neither key; the verdict can then be read from `parity`.
    derived = bundle_verdict([p["verdict"] for p in data["parity"].values()], data.get("failures", ()))
    if data.get("verdict", derived) != derived:
        problems.append(_problem("verdict", f"should be '{derived}', as parity and failures say"))
    for path, parity in data["parity"].items():
        strange = set(parity["thresholds"]) - set(parity["metrics"])
        if strange:
            problems.append(_problem(f"parity.{printable(path)}", f"a threshold without a metric: {min(strange)}"))
    return problems


def _artifact_problems(artifact: dict[str, Any], where: str) -> list[Diagnostic]:
    files = [file["path"] for file in artifact["files"]]
    reasons = {reason for path in (artifact["path"], *files) if (reason := path_problem(path))}
    problems = [_problem(where, f"a path {reason}") for reason in sorted(reasons)]
    if files != sorted(set(files)):
        problems.append(_problem(f"{where}.files", "must be sorted, with each file once"))
    if sum(file["bytes"] for file in artifact["files"]) != artifact["bytes"]:
        problems.append(_problem(f"{where}.bytes", "is not the sum of the files' sizes"))
    if not any(path == artifact["path"] or path.startswith(f"{artifact['path']}/") for path in files):
        problems.append(_problem(f"{where}.path", "is neither one of the files nor their folder"))
    return problems


def _problem(where: str, message: str, hint: str = "") -> Diagnostic:
    return Diagnostic("bundle.manifest", message, f"{MANIFEST}: {where}" if where else MANIFEST, hint)


def _interface_json(interface: Interface) -> dict[str, Any]:
    return {key: [_port_json(port) for port in getattr(interface, key)] for key in ("inputs", "outputs", "states")}


def _port_json(port: Port) -> dict[str, Any]:
    optional = {"enumerated": port.enumerated, "ranges": port.ranges}
    always = {"name": port.name, "dtype": port.dtype, "shape": port.shape}
    return always | {key: value for key, value in optional.items() if value}


def _compression_json(facts: CompressionFacts) -> dict[str, Any]:
    return {
        "bits": facts.bits,
        "group_size": facts.group_size,
        "bpw": facts.bpw,
        "parameters": facts.parameters,
        "stored_bytes": facts.stored_bytes,
        "tensors": facts.tensors,
        **({} if facts.mixed is None else {"mixed": facts.mixed}),
        **({"calibration": [asdict(fit) for fit in facts.calibration]} if facts.calibration else {}),
    }


def _artifact_json(artifact: Artifact) -> dict[str, Any]:
    return {
        "kind": artifact.kind,
        "form": artifact.form.name,
        "component": artifact.component,
        "path": artifact.path,
        "files": [{"path": path, "bytes": size} for path, size in sorted(artifact.files.items())],
        "target": sorted(artifact.target),
        "min_os": artifact.min_os,
        **({} if artifact.runtime is None else {"runtime": artifact.runtime}),
        **({} if artifact.load_memory is None else {"load_memory": artifact.load_memory}),
        "bytes": artifact.bytes,
    }


def _noted(parity: ParityFacts) -> dict[str, Any]:
    return _parity_json(parity) | ({"note": parity.note} if parity.note else {})


def _parity_json(parity: ParityFacts) -> dict[str, Any]:
    bounds = {
        name: {key: value for key, value in asdict(bound).items() if value not in (None, "")}
        for name, bound in parity.thresholds.items()
    }
    facts = {"verdict": parity.verdict, "runner": parity.runner, "metrics": parity.metrics, "thresholds": bounds}
    return facts | ({"tasks": [asdict(task) for task in parity.tasks]} if parity.tasks else {})


def manifest_of(data: dict[str, Any]) -> Manifest:
    """From JSON that meets the schema. `int()`: in JSON, 3.0 is an integer."""
    compression = data["compression"]
    return Manifest(
        name=data["name"],
        task=data["task"],
        model=data["model"],
        source=SourceFacts(**_known(SourceFacts, data["source"])),
        languages=tuple(data["languages"]),
        context=None if data["context"] is None else int(data["context"]),
        io={
            path: Interface(*(tuple(_port(p) for p in io[key]) for key in ("inputs", "outputs", "states")))
            for path, io in data["io"].items()
        },
        compression=CompressionFacts(
            **_known(CompressionFacts, compression)
            | {
                "tensors": tuple(compression["tensors"]),
                "calibration": tuple(FitFacts(**_known(FitFacts, f)) for f in compression.get("calibration", ())),
            }
        ),
        artifacts=tuple(_artifact(artifact) for artifact in data["artifacts"]),
        parity={path: replace(_parity(parity), note=parity.get("note", "")) for path, parity in data["parity"].items()},
        tools=data["tools"],
        failures=tuple(data.get("failures", ())),
        chat=ChatFacts(**_known(ChatFacts, data["chat"])) if "chat" in data else None,
        example=Example(**_known(Example, data["example"])) if "example" in data else None,
    )


def _known(kind: type[DataclassInstance], data: dict[str, Any]) -> dict[str, Any]:
    """The fields of `kind` that are in `data`: later versions may have more."""
    return {own.name: data[own.name] for own in fields(kind) if own.name in data}


def _artifact(data: dict[str, Any]) -> Artifact:
    files = {file["path"]: int(file["bytes"]) for file in data["files"]}
    component = data.get("component", "model")
    form = Form(data["kind"], data.get("form", default_form(data["kind"]).name))
    known = Artifact(form, data["path"], files, tuple(data["target"]), data["min_os"], component)
    return replace(known, runtime=data.get("runtime"), load_memory=data.get("load_memory"))


def _port(data: dict[str, Any]) -> Port:
    enumerated = tuple(tuple(shape) for shape in data.get("enumerated", ()))
    ranges = tuple((low, high) for low, high, *_ in data.get("ranges", ()))
    return Port(data["name"], data["dtype"], tuple(data["shape"]), enumerated, ranges)


def _parity(data: dict[str, Any]) -> ParityFacts:
    bounds = {name: Bound(**_known(Bound, bound)) for name, bound in data["thresholds"].items()}
    tasks = tuple(TaskFacts(**_known(TaskFacts, task)) for task in data.get("tasks", ()))
    return ParityFacts(data["verdict"], data["runner"], data["metrics"], bounds, tasks)
