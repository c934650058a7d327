"""Reads licence, languages and base model from the model card's front matter, else from a licence file."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.problems import Problems
from exporter.errors import KogataError

CARD = "README.md"
_MAX_CARD_BYTES = 16 << 20  # embedding models list thousands of benchmark results in the front matter
_MAX_BLOCK_BYTES = 64 << 10
_KEYS = ("license", "license_name", "license_link", "language", "base_model")
_LICENSE_FILES = ("LICENSE", "LICENSE.txt", "LICENSE.md", "LICENCE", "LICENCE.txt", "COPYING")
_MAX_LICENSE_BYTES = 1 << 20
_PASSED_ON = re.compile(r"(license|licence|notice|use_policy|copying)(\..*)?", re.IGNORECASE)

# The hub writes licence ids in lower case; these are SPDX's spellings (https://spdx.org/licenses).
_SPDX = {
    name.lower(): name
    for name in (
        "AFL-3.0", "AGPL-3.0", "Apache-2.0", "Artistic-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSD-3-Clause-Clear",
        "BSL-1.0", "CC-BY-2.0", "CC-BY-3.0", "CC-BY-4.0", "CC-BY-NC-2.0", "CC-BY-NC-3.0", "CC-BY-NC-4.0",
        "CC-BY-NC-ND-4.0", "CC-BY-NC-SA-4.0", "CC-BY-ND-4.0", "CC-BY-SA-3.0", "CC-BY-SA-4.0", "CC0-1.0",
        "CDLA-Permissive-2.0", "EPL-2.0", "EUPL-1.2", "GPL-2.0", "GPL-3.0", "ISC", "LGPL-2.1", "LGPL-3.0", "MIT",
        "MPL-2.0", "MS-PL", "NCSA", "ODbL-1.0", "OFL-1.1", "OSL-3.0", "PostgreSQL", "Unlicense", "WTFPL", "Zlib",
    )
}  # fmt: skip
# Pattern in a licence's text → id; the first match counts.
_TEXTS = (
    (re.compile(r"SPDX-License-Identifier:\s*([\w.+-]+)"), r"\1"),
    (re.compile(r"Apache License\s+Version 2\.0", re.I), "Apache-2.0"),
    (re.compile(r"LLAMA (\d(?:\.\d)?) COMMUNITY LICENSE", re.I), r"llama\1"),
    (re.compile(r"Gemma Terms of Use", re.I), "gemma"),
    (re.compile(r"Attribution-NonCommercial 4\.0 International", re.I), "CC-BY-NC-4.0"),
    (re.compile(r"Attribution 4\.0 International", re.I), "CC-BY-4.0"),
    (re.compile(r"CC0 1\.0 Universal", re.I), "CC0-1.0"),
    (re.compile(r"Redistribution and use in source and binary forms[\s\S]*Neither the name", re.I), "BSD-3-Clause"),
    (re.compile(r"Redistribution and use in source and binary forms", re.I), "BSD-2-Clause"),
    (re.compile(r"MIT License|Permission is hereby granted, free of charge, to any person", re.I), "MIT"),
)


@dataclass(frozen=True)
class Licence:
    """license: SPDX id where there is one, else the name that the authors use ("llama3.2"); None when unknown.

    link: address of the licence's text, from the model card. languages: as the model card lists them ("en", "ja").
    base_models: the hub ids that the card says the model was made from.
    """

    license: str | None = None
    link: str | None = None
    languages: tuple[str, ...] = ()
    base_models: tuple[str, ...] = ()


def read_licence(folder: Folder) -> Licence:
    """The licence that the folder's files state. A model card that can't be read is ignored: it must not stop an
    export, and the licence is then reported as unknown.
    """
    facts = _front_matter(_text(folder, CARD, _MAX_CARD_BYTES))
    license_id = _first(facts.get("license"))
    name = _first(facts.get("license_name"))
    if license_id is not None:
        # "other" is the hub's word for "see license_name".
        license_id = name if license_id.lower() == "other" and name else _SPDX.get(license_id.lower(), license_id)
    return Licence(
        license=license_id or _from_text(folder),
        link=_first(facts.get("license_link")),
        languages=_strings(facts.get("language")),
        base_models=_strings(facts.get("base_model")),
    )


def license_files(folder: Folder) -> dict[str, Path]:
    """Licence and notice texts, which licences such as Apache-2.0 and Llama's ask to be passed on, by name.

    Raises InputError with every one that isn't a regular file in the folder: a link could bring any file of this
    machine into the bundle. Folders of such a name are left out.
    """
    problems, found = Problems(), {}
    for name in folder.names():
        if _PASSED_ON.fullmatch(name) and not (folder.root / name).is_dir():
            with problems.collecting():
                path = folder.find(name)
                if path is not None:
                    found[name] = path
    problems.raise_any()
    return found


def _text(folder: Folder, name: str, limit: int) -> str:
    try:
        return folder.read_text(name, limit) or ""
    except KogataError:
        return ""


def _front_matter(card: str) -> dict[str, Any]:
    """The values of `_KEYS`, each parsed separately: the rest (megabytes of results, perhaps malformed) isn't parsed.

    YAML's BaseLoader makes only strings, lists and maps: it makes no objects, and Norwegian ("no") stays a string.
    """
    import yaml  # type: ignore[import-untyped]

    lines = card.removeprefix("\ufeff").splitlines()
    if not lines or lines[0].rstrip() != "---":
        return {}
    facts: dict[str, Any] = {}
    for key, block in _blocks(lines[1:]):
        try:
            value = yaml.load(block, Loader=yaml.BaseLoader)
        except (yaml.YAMLError, RecursionError, ValueError):
            continue
        if isinstance(value, dict):
            facts.setdefault(key, value.get(key))
    return facts


def _blocks(lines: Sequence[str]) -> list[tuple[str, str]]:
    """The top-level entries of the front matter with a key in `_KEYS`: (key, its lines)."""
    blocks: list[tuple[str, list[str]]] = []
    for line in lines:
        if line.rstrip() == "---":
            break
        key = re.match(r"([A-Za-z_][\w-]*)\s*:", line)
        if key:
            blocks.append((key[1], [line]))
        elif blocks:
            blocks[-1][1].append(line)
    else:
        return []  # the front matter has no end, so the text is something else
    wanted = [(key, "\n".join(block)) for key, block in blocks if key in _KEYS]
    return [(key, block) for key, block in wanted if len(block) <= _MAX_BLOCK_BYTES]


def _strings(value: Any) -> tuple[str, ...]:
    """The texts in `value` that a report can show: single lines of at most 500 characters."""
    values = value if isinstance(value, list) else [value]
    texts = [text.strip() for text in values if isinstance(text, str)]
    empty = ("", "~", "null")  # YAML's spellings of null, which BaseLoader keeps as text
    return tuple(dict.fromkeys(t for t in texts if t not in empty and t.isprintable() and len(t) <= 500))


def _first(value: Any) -> str | None:
    return next(iter(_strings(value)), None)


def _from_text(folder: Folder) -> str | None:
    for name in _LICENSE_FILES:
        text = _text(folder, name, _MAX_LICENSE_BYTES)[:8192]  # a licence names itself on its first page
        for pattern, license_id in _TEXTS:
            if match := pattern.search(text):
                return match.expand(license_id)
    return None
