"""Completes a folder of artifacts to a bundle: adds all other files, then the hashes of all files."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

from exporter.bundle import onnx_files
from exporter.bundle.canonical import canonical_json, render_sums
from exporter.bundle.card import CARD, model_card
from exporter.bundle.contents import ArtifactPlan, BundlePlan, bundle_name
from exporter.bundle.encoders import encoder_facts
from exporter.bundle.facts import Artifact
from exporter.bundle.graphs import graph_facts
from exporter.bundle.manifest import MANIFEST, Manifest
from exporter.bundle.sbom import BOM, sbom
from exporter.bundle.sentence_files import MODULES as SENTENCE_MODULES
from exporter.bundle.sentence_files import SETTINGS as SENTENCE_SETTINGS
from exporter.bundle.tree import path_problem, printable, scan, sha256, sha256_all
from exporter.errors import InputError
from exporter.formats import FORMS, LAST, MOBILE, Form, artifact_path
from exporter.machine import umask

if TYPE_CHECKING:
    from exporter.graph.model import DecoderSpec, EncoderSpec, GraphSpec

SUMS = "SHA256SUMS"
BITS_PLAN = "plan.json"
DEVICE_VECTORS = "parity/device.json"
TOKENIZER_CONFIG = "tokenizer_config.json"
CHAT_TEMPLATE = "chat_template.jinja"
_FOLDERS = tuple(f"{folder}/" for facts in FORMS.values() for folder in (facts.folder, facts.beside) if folder)


def finish_bundle(
    plan: BundlePlan, folder: Path, failures: Callable[[Manifest], Sequence[str]] = lambda _: ()
) -> Manifest:
    """Complete `folder`, which may have the plan's artifacts already, to a bundle.

    failures: the gates that failed, in words; it gets the manifest, which has the artifacts' sizes.
    Equal plans and artifacts give equal bytes. InputError when a file can't be read or isn't allowed.
    """
    name = bundle_name(plan.name)
    if not plan.artifacts or len({(a.form, a.component) for a in plan.artifacts}) != len(plan.artifacts):
        raise ValueError("a bundle needs at least one artifact, and at most one of each form and component")
    for artifact in plan.artifacts:
        whole = artifact.path if artifact.form.format == "coreml" else artifact.path.parent
        _copy_tree(whole, folder / _place(artifact, plan))
    _write_texts(plan, folder)
    _settle(folder)
    manifest = _manifest(plan, name, folder)
    manifest = replace(manifest, failures=tuple(failures(manifest)))
    (folder / MANIFEST).write_bytes(manifest.to_bytes())
    beside = "tokenizer" if plan.tokenizer_files else "preprocessor"
    card = model_card(manifest, card_features(folder), plan.preprocessor, beside)
    (folder / CARD).write_bytes(card)
    hashes = sha256_all(folder)
    bom = folder / BOM
    bom.write_bytes(sbom(manifest, hashes))
    (folder / SUMS).write_bytes(render_sums({**hashes, BOM: sha256(bom)}))
    return manifest


def card_features(folder: Path) -> set[str]:
    """What the card must know of the files in a bundle: see `model_card`."""
    facts = {"genai": "onnx/genai_config.json", "chat": f"tokenizer/{CHAT_TEMPLATE}", "vectors": DEVICE_VECTORS}
    facts["sentence"] = f"onnx/{SENTENCE_MODULES}"
    return {name for name, file in facts.items() if (folder / file).exists()}


def _path(artifact: ArtifactPlan, plan: BundlePlan) -> str:
    """Where an app finds the artifact."""
    forms = {planned.form for planned in plan.artifacts}
    return artifact_path(artifact.form, bundle_name(plan.name), artifact.component, forms)


def _place(artifact: ArtifactPlan, plan: BundlePlan) -> PurePosixPath:
    """The artifact's package, or the folder of its file."""
    path = PurePosixPath(_path(artifact, plan))
    return path if artifact.form.format == "coreml" else path.parent


def _write_texts(plan: BundlePlan, folder: Path) -> None:
    """Write tokenizer, preprocessor, reports and licences; also beside those models whose clients need them there."""
    beside = folder / ("tokenizer" if plan.tokenizer_files else "preprocessor")
    for file, held in plan.tokenizer_files.items():
        _place_file(held, beside, file)
    if plan.chat_template is not None and CHAT_TEMPLATE not in plan.tokenizer_files:
        _write(folder / "tokenizer" / CHAT_TEMPLATE, plan.chat_template.encode("utf-8"))
    for file, path in plan.license_files.items():
        _place_file(path, folder / "licenses", file)
    if plan.parity_report is not None:
        _write(folder / "parity" / "report.json", canonical_json(plan.parity_report))
    if plan.parity_html is not None:
        _write(folder / "parity" / "report.html", plan.parity_html)
    if plan.device_vectors is not None:
        _write(folder / DEVICE_VECTORS, plan.device_vectors)
    if plan.bits_plan is not None:
        _write(folder / BITS_PLAN, plan.bits_plan)
    for file, config in _configs(plan).items():  # swift-transformers' tokenizer loader looks for them too
        _write(beside / file, canonical_json(config))
    drawn = plan.task == "text-generation" and not isinstance(plan.spec, tuple)
    for place, form in sorted({_place(a, plan): a.form for a in plan.artifacts if FORMS[a.form].client_files}.items()):
        if beside.exists():
            shutil.copytree(beside, folder / place, copy_function=shutil.copyfile, dirs_exist_ok=True)
        for file, content in plan.client_files.items():
            _write(folder / place / file, content)
        _settle_tokenizer(folder / place, plan.chat_template)
        if drawn and onnx_files.end_tokens(plan.config, plan.generation_config):
            _write(folder / place / "genai_config.json", canonical_json(_genai_config(plan, form, folder / place)))


def _settle_tokenizer(folder: Path, template: str | None) -> None:
    """tokenizer_config.json beside a model, for those clients that read nothing else of a tokenizer's settings."""
    path, sentence = folder / TOKENIZER_CONFIG, folder / SENTENCE_SETTINGS
    if (folder / "tokenizer.json").exists():
        stated = json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
        longest = json.loads(sentence.read_bytes()).get("max_seq_length") if sentence.exists() else None
        settings = onnx_files.tokenizer_config(stated or {}, template, longest)
        if settings != stated:
            _write(path, canonical_json(settings))


def _configs(plan: BundlePlan) -> dict[str, dict[str, Any]]:
    configs = {"config.json": onnx_files.model_config(plan.config)} if plan.config else {}
    if plan.preprocessor:
        configs["preprocessor_config.json"] = dict(plan.preprocessor)
    if plan.task == "text-generation" or (plan.config and plan.generation_config):
        configs["generation_config.json"] = onnx_files.generation_config(plan.config, plan.generation_config)
    return configs


def _genai_config(plan: BundlePlan, form: Form, folder: Path) -> dict[str, Any]:
    from exporter.graph.model import DecoderSpec

    if not isinstance(plan.spec, DecoderSpec) or plan.context is None:
        raise ValueError("a text-generation bundle needs a DecoderSpec and a context")
    mobile = form == MOBILE
    name = f"{LAST}.onnx" if mobile and (folder / f"{LAST}.onnx").exists() else "model.onnx"
    file = onnx_files.GenaiFile(name, shares_cache=mobile)
    return onnx_files.genai_config(plan.spec, plan.family, plan.context, plan.config, plan.generation_config, file)


def _weights(path: str, files: Mapping[str, int]) -> int:
    """Bytes of the graph at `path` and of its data. files: path → bytes."""
    return sum(size for file, size in files.items() if file in (path, f"{path}.data"))


def _manifest(plan: BundlePlan, name: str, folder: Path) -> Manifest:
    files = scan(folder).files
    artifacts, io, parity = [], {}, {}
    components = {artifact.component for artifact in plan.artifacts}
    for planned in sorted(plan.artifacts, key=lambda a: a.form.format):  # components stay in the order they run in
        place, path = _place(planned, plan), _path(planned, plan)
        others = tuple(f"{place}/{component}.onnx" for component in components - {planned.component})
        held = {
            file: size for file, size in files.items() if file.startswith(f"{place}/") and not file.startswith(others)
        }
        if not held or (planned.form.format == "onnx" and path not in held):
            raise ValueError(f"the plan's artifact has no {path}")
        artifact = Artifact(planned.form, path, held, planned.target, planned.min_os, planned.component)
        memory = _weights(path, held) if planned.form == MOBILE else None
        artifacts.append(replace(artifact, runtime=FORMS[planned.form].runtime, load_memory=memory))
        io[path] = planned.interface
        parity[path] = planned.parity
    stray = {file for file in files if file.startswith(_FOLDERS)}.difference(*(a.files for a in artifacts))
    if stray:
        raise ValueError(f"{min(stray)} belongs to no artifact of the plan")
    return Manifest(
        name=name,
        task=plan.task,
        model={"family": plan.family, **_model_facts(plan.spec), **plan.sentence, **plan.scoring},
        source=plan.source,
        languages=plan.languages,
        context=plan.context,
        io=io,
        compression=plan.compression,
        artifacts=tuple(artifacts),
        parity=parity,
        tools=plan.tools,
        chat=plan.chat,
        example=plan.example,
    )


def _model_facts(spec: DecoderSpec | EncoderSpec | tuple[GraphSpec, ...]) -> Mapping[str, Any]:
    from exporter.graph.model import DecoderSpec

    if isinstance(spec, tuple):
        return graph_facts(spec)
    sizes = {"vocab_size": spec.vocab_size, "hidden_size": spec.hidden_size}
    if isinstance(spec, DecoderSpec):
        cache = spec.cache
        return sizes | {
            "heads": max(spec.heads),
            "layers": cache.layers,
            "kv_heads": max(cache.kv_heads),
            "head_dim": cache.head_dim,
            **_switch(spec),
        }
    return {**sizes, **encoder_facts(spec), **_switch(spec)}


def _switch(spec: DecoderSpec | EncoderSpec) -> Mapping[str, int]:
    return {} if spec.rope_switch is None else {"rope_switch": spec.rope_switch}


def _settle(folder: Path) -> None:
    """Refuse what is not allowed in a bundle; give everything the modes of new files and folders under the umask.

    Files that a library moved out of a private temporary folder don't have them.
    """
    InputError.raise_all(scan(folder).problems)
    allowed = ~umask()
    for root, folders, files in os.walk(folder):
        for entry in folders:
            os.chmod(os.path.join(root, entry), 0o777 & allowed)
        for entry in files:
            os.chmod(os.path.join(root, entry), 0o666 & allowed)
    folder.chmod(0o777 & allowed)


def _copy_tree(source: Path, place: Path) -> None:
    """Copy a folder to its place, unless it is there already."""
    if place.exists() and place.samefile(source):
        return
    tree = scan(source)
    InputError.raise_all(tree.problems)
    for path in tree.files:
        target = place / path
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source / path, target)


def _place_file(source: Path | bytes, folder: Path, name: str) -> None:
    if path_problem(name) or len(PurePosixPath(name).parts) != 1:
        raise InputError.of("bundle.path", "is not a plain file name", where=printable(name))
    folder.mkdir(exist_ok=True)
    if isinstance(source, bytes):
        (folder / name).write_bytes(source)
        return
    try:
        opened = source.open("rb")
    except OSError as error:
        raise InputError.of("bundle.source", f"can't be read: {error.strerror or error}", where=name) from None
    with opened, (folder / name).open("wb") as copy:
        shutil.copyfileobj(opened, copy)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
