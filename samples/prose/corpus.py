"""What programmers write to each other: docstrings and comments of Python code, as prose.

    python samples/prose/corpus.py            # rewrites heldout.txt and proves the split
    python samples/prose/corpus.py --check    # the same proof, without writing

A document is one source file, or one topic of the built-in help (`pydoc_data/topics.py`). Its
docstrings and comment blocks are cut into paragraphs at blank lines and unwrapped; code, doctests,
tables and what is said a second time are left out. A hash of its name puts a document of the
standard library on one side of the split; PACKAGES are for training only. A paragraph of the
training side that shares RUN consecutive words with a held-out one is dropped, so that nothing
held out can be looked up.
"""

from __future__ import annotations

import argparse
import ast
import hashlib
import importlib.util
import inspect
import io
import platform
import re
import sys
import sysconfig
import tokenize
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

HELDOUT_FILE = Path(__file__).with_name("heldout.txt")
# The interpreter that the committed held-out text comes from; another one has other text.
PYTHON_VERSION = "3.11.7"
HELDOUT_SHARE = 0.06  # of the documents; those beyond HELDOUT_CHARS are used by neither side
HELDOUT_CHARS = 100_000
DEV_SHARE = 0.015  # of the documents; progress is measured on them while training
RUN = 10  # words; a shorter run ("if the object does not have a") is common language
MIN_WORDS = 6
MIN_LETTERS = 0.7  # of the characters that are no spaces
# All under the three-clause BSD licence, all in the environment that constraints.txt pins.
# The name to import, and the one to install.
PACKAGES = {
    "networkx": "networkx",
    "numpy": "numpy",
    "scipy": "scipy",
    "sklearn": "scikit-learn",
    "sympy": "sympy",
}
TOPICS = "pydoc_data/topics.py"

_BULLET = re.compile(r"(?:[-*+•o]|\(?\d{1,3}[.)]|\(?[a-z][.)]|[:@]\w+)\s")
_WORD = re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*")
_RULE = re.compile(r"[-=~#*_^+.\s|]{3,}")
_CODE = re.compile(
    r"\s*(?:>>>|\.\.\.(?:\s|$)|\$ |%|\w+ ?::?=)|.*[;{}\\]$|.*(?:==|\w\(\w*\)\s*:$|->)"
)


@dataclass(frozen=True)
class Document:
    """A source file or help topic (its name, with `/`), and its paragraphs in order."""

    name: str
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class Corpus:
    """The sides of the split; `packages` are for training as well."""

    train: tuple[Document, ...]
    packages: tuple[Document, ...]
    dev: tuple[Document, ...]
    heldout: tuple[Document, ...]


def words(text: str) -> list[str]:
    """Return the words of a text, case folded."""
    return _WORD.findall(text.casefold())


def runs(text: str) -> Iterator[tuple[str, ...]]:
    """Yield every run of RUN consecutive words; a shorter text is one run of its own."""
    found = words(text)
    for start in range(max(1, len(found) - RUN + 1)):
        yield tuple(found[start : start + RUN])


def _comments(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each block of full-line comments with the same indentation."""
    block: list[str] = []
    start = column = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT or token.line[: token.start[1]].strip():
            continue
        line, indent = token.start
        if block and (line != last + 1 or indent != column):
            yield start, "\n".join(block)
            block = []
        if not block:
            start, column = line, indent
        last = line
        block.append(token.string.lstrip("#!:").removeprefix(" "))
    if block:
        yield start, "\n".join(block)


def _docstrings(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of each docstring."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text:
                yield node.body[0].lineno, text


def _is_prose(block: str) -> bool:
    """Tell prose from code, tables, examples and bare names."""
    solid = "".join(block.split())
    if len(words(block)) < MIN_WORDS or not block.isprintable():
        return False
    return sum(map(str.isalpha, solid)) >= MIN_LETTERS * len(solid)


def _unwrap(lines: list[str]) -> list[str]:
    """Join the lines of a paragraph; a list item or another indentation starts a new one."""
    parts: list[str] = []
    indent = 0
    for line in lines:
        text = line.strip()
        here = len(line) - len(line.lstrip())
        if parts and here >= indent and not _BULLET.match(text):
            parts[-1] += f" {text}"
        else:
            parts.append(text)
        indent = here
    return [" ".join(part.split()) for part in parts]


def paragraphs(text: str) -> Iterator[str]:
    """Yield the prose of a docstring or comment, one unwrapped paragraph or list item at a time."""
    for block in re.split(r"\n\s*\n", inspect.cleandoc(text).expandtabs()):
        lines = [line.rstrip() for line in block.splitlines() if not _RULE.fullmatch(line)]
        if sum(bool(_CODE.match(line)) for line in lines) * 4 > len(lines):
            continue
        yield from (part for part in _unwrap(lines) if _is_prose(part))


def file_texts(path: Path) -> list[str]:
    """Return the docstrings and comments of a file in their order; none if it does not parse."""
    try:
        with tokenize.open(path) as file:
            source = file.read()
        # A test suite has files that are broken on purpose.
        found = [*_docstrings(ast.parse(source)), *_comments(source)]
    except (SyntaxError, UnicodeDecodeError, tokenize.TokenError, ValueError):
        return []
    return [text for _, text in sorted(found, key=lambda item: item[0])]


def topics(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (name, text) of each topic of the built-in help."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Dict):
            yield from sorted(ast.literal_eval(node).items())


def _sources(folder: Path) -> Iterator[tuple[str, list[str]]]:
    """Yield (name, texts) of every document below a folder, in the order of the names."""
    files = sorted((path.relative_to(folder).as_posix(), path) for path in folder.rglob("*.py"))
    for name, path in files:
        if "site-packages" in name or "dist-packages" in name:
            continue
        if name == TOPICS:
            yield from ((f"{TOPICS}#{topic}", [text]) for topic, text in topics(path))
        else:
            yield name, file_texts(path)


def documents(folder: Path, seen: set[tuple[str, ...]]) -> list[Document]:
    """Read all documents below a folder; a paragraph whose words are in `seen` is left out."""
    result = []
    for name, texts in _sources(folder):
        kept = []
        for text in texts:
            for paragraph in paragraphs(text):
                key = tuple(words(paragraph))
                if key not in seen:
                    seen.add(key)
                    kept.append(paragraph)
        if kept:
            result.append(Document(name, tuple(kept)))
    return result


def position(name: str) -> float:
    """Return the place of a document in the split, from 0 to 1, by a hash of its name."""
    digest = hashlib.sha256(f"prose:{name}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def _without(data: Iterable[Document], forbidden: set[tuple[str, ...]]) -> tuple[Document, ...]:
    """Drop every paragraph with a run of words that is forbidden."""
    result = []
    for document in data:
        kept = tuple(p for p in document.paragraphs if forbidden.isdisjoint(runs(p)))
        if kept:
            result.append(Document(document.name, kept))
    return tuple(result)


def all_runs(texts: Iterable[str]) -> set[tuple[str, ...]]:
    """Return the runs of words of all texts."""
    return {run for text in texts for run in runs(text)}


def split(data: list[Document], packages: list[Document], heldout_text: str = "") -> Corpus:
    """Split the library by the names; `heldout_text` is kept out of training as well."""
    ordered = sorted(data, key=lambda document: position(document.name))
    heldout, size, at = [], 0, 0
    while position(ordered[at].name) < HELDOUT_SHARE:
        if size < HELDOUT_CHARS:
            heldout.append(ordered[at])
            size += sum(map(len, ordered[at].paragraphs))
        at += 1
    texts = [p for document in heldout for p in document.paragraphs]
    texts += read_paragraphs(heldout_text)
    rest = _without(sorted(ordered[at:], key=lambda document: document.name), all_runs(texts))
    limit = HELDOUT_SHARE + DEV_SHARE
    dev = tuple(document for document in rest if position(document.name) < limit)
    train = tuple(document for document in rest if position(document.name) >= limit)
    texts += [p for document in dev for p in document.paragraphs]
    forbidden = all_runs(texts)
    train, packages_kept = _without(train, forbidden), _without(packages, forbidden)
    return Corpus(train, packages_kept, dev, tuple(sorted(heldout, key=lambda d: d.name)))


def render(data: Iterable[Document]) -> str:
    """Return documents as text: a blank line between paragraphs, two between documents."""
    return "\n\n\n".join("\n\n".join(document.paragraphs) for document in data) + "\n"


def read_documents(text: str) -> list[str]:
    """Return the documents of a rendered text."""
    return [document.strip("\n") for document in text.split("\n\n\n") if document.strip()]


def read_paragraphs(text: str) -> list[str]:
    """Return the paragraphs of a rendered text."""
    return [part for document in read_documents(text) for part in document.split("\n\n") if part]


def verify(train: Iterable[Document], heldout_text: str) -> None:
    """Raise ValueError if a run of words of the held-out text occurs in training."""
    forbidden = all_runs(read_paragraphs(heldout_text))
    for document in train:
        for paragraph in document.paragraphs:
            for run in runs(paragraph):
                if run in forbidden:
                    raise ValueError(f"{document.name} has held-out text: {' '.join(run)}")


def load_corpus() -> Corpus:
    """Read this interpreter's library and PACKAGES; the committed held-out text stays out."""
    seen: set[tuple[str, ...]] = set()
    library = documents(Path(sysconfig.get_path("stdlib")), seen)
    packages = []
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        if spec is None or not spec.submodule_search_locations:
            raise ValueError(f"the package {name} is not installed")
        found = documents(Path(spec.submodule_search_locations[0]), seen)
        packages += [Document(f"{name}/{part.name}", part.paragraphs) for part in found]
    committed = HELDOUT_FILE.read_text(encoding="utf-8") if HELDOUT_FILE.exists() else ""
    return split(library, packages, committed)


def describe(corpus: Corpus) -> str:
    """Return the sizes of the three sides."""
    lines = []
    for side in ("train", "packages", "dev", "heldout"):
        data: tuple[Document, ...] = getattr(corpus, side)
        count = sum(len(document.paragraphs) for document in data)
        size = len(render(data))
        lines.append(f"{side}: {len(data)} documents, {count} paragraphs, {size} characters")
    return "\n".join(lines)


def main() -> int:
    """Command line entry point."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--check", action="store_true", help="prove the split, write nothing")
    args = parser.parse_args()
    corpus = load_corpus()
    print(describe(corpus))
    text = render(corpus.heldout)
    version = platform.python_version()
    if not args.check:
        HELDOUT_FILE.write_text(text, encoding="utf-8", newline="\n")
    elif version == PYTHON_VERSION and text != HELDOUT_FILE.read_text(encoding="utf-8"):
        raise ValueError(f"{HELDOUT_FILE.name} is not what Python {version} gives")
    verify(corpus.train + corpus.packages, HELDOUT_FILE.read_text(encoding="utf-8"))
    print(f"Python {version}: no {RUN} words in a row of {HELDOUT_FILE.name} are in training text")
    return 0


if __name__ == "__main__":
    sys.exit(main())
