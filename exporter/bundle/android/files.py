"""Which files of a bundle an Android app needs, and which of them Android's build would lose."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePosixPath

from exporter.bundle.facts import Artifact
from exporter.bundle.manifest import MANIFEST
from exporter.bundle.writer import SUMS

PREFERRED = "mobile"  # the form of ONNX whose weights lie in the file as the kernels of a phone read them

_TEXTS = ("tokenizer/", "preprocessor/")  # they also lie beside those models whose clients look for them there
_LICENCES = "licenses/"


def chosen(artifacts: Iterable[Artifact]) -> tuple[Artifact, ...]:
    """The ONNX artifact of every component: the one in `PREFERRED` form where there is one, else the first."""
    found: dict[str, Artifact] = {}
    for artifact in artifacts:
        if artifact.kind == "onnx" and (artifact.component not in found or artifact.form.name == PREFERRED):
            found[artifact.component] = artifact
    return tuple(found.values())


def shipped(hashes: Mapping[str, str], artifacts: Sequence[Artifact]) -> list[str]:
    """Those of a bundle's files that an Android app needs, sorted: `artifacts`, the texts they need, licences and sums.

    hashes: those of SHA256SUMS. The tokenizer's and preprocessor's files stay out where the same bytes lie beside the
    model: a tokenizer.json can have 30 MB.
    """
    models = {file for artifact in artifacts for file in artifact.files}
    beside = {(PurePosixPath(file).name, hashes[file]) for file in models if file in hashes}
    texts = {
        file
        for file, digest in hashes.items()
        if file.startswith(_TEXTS) and (PurePosixPath(file).name, digest) not in beside
    }
    licences = {file for file in hashes if file.startswith(_LICENCES)}
    return sorted(models | texts | licences | {MANIFEST, SUMS})


def unusable(paths: Iterable[str]) -> list[str]:
    """Those of `paths` that would not arrive in an app as they are.

    Android's build leaves names out that begin with "." (and folders with "_") or end with "~" or ".scc", and unpacks
    ".gz"; in Google Play's packs, "#" is the beginning of a device group's name.
    """
    return sorted(path for path in paths if any(_lost(part, path) for part in path.split("/")))


def _lost(part: str, path: str) -> bool:
    folder = not path.endswith(part)
    return (
        part.startswith(".")
        or (folder and part.startswith("_"))
        or part.lower().endswith(("~", ".scc", ".gz"))
        or part.lower() in ("cvs", "thumbs.db", "picasa.ini")
        or "#" in part
    )
