"""The prose sample: nothing held out is in the text for training, and the checkpoint does what its card says."""

import importlib
import json
import math
import platform
import re
import sys
import sysconfig
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

SAMPLE = Path(__file__).parents[3] / "samples" / "prose"
HELDOUT = (SAMPLE / "heldout.txt").read_text(encoding="utf-8")
CARD = (SAMPLE / "checkpoint" / "README.md").read_text(encoding="utf-8")
STATED = float(re.search(r"Perplexity per token \| ([\d.]+)", CARD)[1])
MODULES = ("corpus", "tokenization", "evaluate")  # in this order; another sample has modules of these names


def plain_words(text):
    """Words of a text without the sample's own code: maximal runs of ASCII letters, in lower case."""
    return re.findall(r"[a-z]+", text.lower())


@pytest.fixture(scope="module")
def sample():
    """The sample's modules, imported as its scripts import each other, and forgotten again."""
    hidden = {name: sys.modules.pop(name) for name in MODULES if name in sys.modules}
    sys.path.insert(0, str(SAMPLE))
    try:
        yield {name: importlib.import_module(name) for name in MODULES}
    finally:
        sys.path.remove(str(SAMPLE))
        for name in MODULES:
            sys.modules.pop(name, None)
        sys.modules.update(hidden)


@pytest.fixture(scope="module")
def corpus(sample):
    return sample["corpus"]


@pytest.fixture(scope="module")
def loaded(sample):
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield sample["evaluate"].load(SAMPLE / "checkpoint")
    torch.set_num_threads(threads)


def written(folder, **files):
    """Write Python files and return the folder."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text, encoding="utf-8")
    return folder


def test_docstrings_and_comments_become_unwrapped_prose(corpus, tmp_path):
    source = '''"""Reads a file that somebody else
wrote a long time ago.

* One thing that is worth
  knowing about it.
* Another thing that is worth knowing.

    >>> read("a file of that kind")
    the first line of the file
"""
# This comment goes on
# for more than one line.
value = compute(1)  # what stands behind code is mostly about that code
# value = compute(2)


def short():
    """Too short."""
'''
    (document,) = corpus.documents(written(tmp_path, some=source), set())
    assert document.name == "some.py"
    assert document.paragraphs == (
        "Reads a file that somebody else wrote a long time ago.",
        "* One thing that is worth knowing about it.",
        "* Another thing that is worth knowing.",
        "This comment goes on for more than one line.",
    )


def test_a_paragraph_is_kept_once_and_broken_files_give_nothing(corpus, tmp_path):
    text = '"""Says the same thing as the other module does."""\n'
    found = corpus.documents(written(tmp_path, a=text, b=text.upper(), c=text + "def ("), set())
    assert [document.name for document in found] == ["a.py"]


def test_training_loses_whatever_shares_a_run_of_words_with_held_out_text(corpus):
    shared = " ".join(f"{'word'}{chr(97 + index)}" for index in range(corpus.RUN))
    part = " ".join(shared.split()[:-1])  # one word short of a run
    own = "The quick brown fox jumps over the lazy dogs of this training text."
    heldout = [name for name in map("h{}.py".format, range(200)) if corpus.position(name) < corpus.HELDOUT_SHARE]
    train = [name for name in map("t{}.py".format, range(200)) if corpus.position(name) > 0.5]
    data = [corpus.Document(heldout[0], (f"Before it {shared}, and after it.",))]
    data += [corpus.Document(train[0], (f"Somebody copied: {shared.upper()}!", own, f"Some of that, {part}."))]
    packages = [corpus.Document("package/a.py", (shared, own))]
    result = corpus.split(data, packages)
    assert [document.name for document in result.heldout] == [heldout[0]]
    assert [document.paragraphs for document in result.train] == [(own, f"Some of that, {part}.")]
    assert [document.paragraphs for document in result.packages] == [(own,)]
    corpus.verify(result.train + result.packages, corpus.render(result.heldout))
    with pytest.raises(ValueError, match=r"package/a\.py has held-out text: worda wordb"):
        corpus.verify(result.train + tuple(packages), corpus.render(result.heldout))


def test_committed_held_out_text_stays_out_of_training_whatever_the_split_says(corpus):
    train = [name for name in map("t{}.py".format, range(200)) if corpus.position(name) > 0.5]
    paragraph = corpus.read_paragraphs(HELDOUT)[40]
    data = [corpus.Document(train[0], (paragraph,)), corpus.Document(train[1], ("A text of its own, quite short.",))]
    assert [document.name for document in corpus.split(data, [], HELDOUT).train] == [train[1]]


def test_nothing_held_out_is_in_the_library_that_training_reads(corpus):
    """On the modules at the top of the library, by a brute force that shares no code with the sample's proof."""
    library = Path(sysconfig.get_path("stdlib"))
    data = []
    paths = [*sorted(library.glob("*.py"))[::4], library / "ipaddress.py"]  # the last one is held out
    for path in paths:
        text = [part for block in corpus.file_texts(path) for part in corpus.paragraphs(block)]
        data.append(corpus.Document(path.name, tuple(text)))
    everything = [paragraph for document in data for paragraph in document.paragraphs]
    result = corpus.split(data, [], HELDOUT)
    kept = [paragraph for document in result.train for paragraph in document.paragraphs]
    runs = set()
    for paragraph in corpus.read_paragraphs(HELDOUT):
        found = plain_words(paragraph)
        runs |= {tuple(found[at : at + 20]) for at in range(len(found) - 19)}  # any 20 of these hold 10 of the sample's

    def leaks(paragraphs):
        found = map(plain_words, paragraphs)
        return sum(tuple(some[at : at + 20]) in runs for some in found for at in range(len(some) - 19))

    assert len(kept) > 300
    assert leaks(everything) > 100
    assert leaks(kept) == 0


def test_held_out_text_is_what_its_files_say(corpus):
    if platform.python_version() != corpus.PYTHON_VERSION:
        pytest.skip(f"the text is Python {corpus.PYTHON_VERSION}'s")
    library = Path(sysconfig.get_path("stdlib"))
    names = [path.relative_to(library).as_posix() for path in library.rglob("*.py")]
    names = [name for name in names if "-packages" not in name and corpus.position(name) < corpus.HELDOUT_SHARE]
    found = {part for name in names for block in corpus.file_texts(library / name) for part in corpus.paragraphs(block)}
    for topic, text in corpus.topics(library / corpus.TOPICS):
        if corpus.position(f"{corpus.TOPICS}#{topic}") < corpus.HELDOUT_SHARE:
            found |= set(corpus.paragraphs(text))
    assert set(corpus.read_paragraphs(HELDOUT)) <= found


@pytest.mark.slow
def test_the_whole_corpus_proves_its_split(corpus, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["corpus.py", "--check"])
    assert corpus.main() == 0
    assert f"no {corpus.RUN} words in a row" in capsys.readouterr().out


def test_checkpoint_is_a_tied_half_precision_qwen3():
    folder = SAMPLE / "checkpoint"
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["model_type"] == "qwen3"
    assert config["tie_word_embeddings"] is True
    assert (folder / "model.safetensors").stat().st_size < 16e6
    with safe_open(folder / "model.safetensors", "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert "lm_head.weight" not in tensors
    assert {tensor.dtype for tensor in tensors.values()} == {torch.float16}
    assert all(torch.isfinite(tensor).all() for tensor in tensors.values())
    count = sum(tensor.numel() for tensor in tensors.values())
    assert f"{count / 1e6:.2f} M parameters" in CARD


def test_tokenizer_keeps_every_character(loaded, sample):
    _, tokenizer = loaded
    ids = tokenizer(HELDOUT, verbose=False)["input_ids"]
    assert tokenizer.decode(ids) == HELDOUT
    assert max(ids) < len(tokenizer) == sample["tokenization"].VOCAB_SIZE
    assert tokenizer.decode(tokenizer("日本語 👋\t\n  x")["input_ids"]) == "日本語 👋\t\n  x"


@torch.inference_mode()
def test_perplexity_is_what_transformers_computes(loaded, sample):
    model, tokenizer = loaded
    texts = sample["corpus"].read_documents(HELDOUT)[:3]
    loss, count, right = 0.0, 0, 0
    for text in texts:
        ids = [tokenizer.eos_token_id, *tokenizer.encode(text, verbose=False)]
        for at in range(0, len(ids) - 1, 256):
            row = torch.tensor([ids[at : at + 257]])
            output = model(row, labels=row)
            loss += output.loss.item() * (row.shape[1] - 1)
            count += row.shape[1] - 1
            right += int((output.logits[0, :-1].argmax(-1) == row[0, 1:]).sum())
    score = sample["evaluate"].evaluate(model, tokenizer, texts)
    assert (score.tokens, score.right) == (count, right)
    assert score.characters == sum(map(len, texts))
    assert score.loss == pytest.approx(loss, rel=1e-5)  # float32 sums in another order
    assert score.bits_per_character == pytest.approx(loss / math.log(2) / score.characters, rel=1e-5)


def test_readme_and_card_state_the_same_numbers():
    readme = (SAMPLE / "README.md").read_text(encoding="utf-8")
    stated = re.findall(r"^\| (Perplexity|Bits|Most likely|Tokens).* \| ([\d.,]+)", CARD, re.MULTILINE)
    assert len(stated) == 4
    assert re.findall(r"^\| (Perplexity|Bits|Most likely|Tokens).* \| ([\d.,]+)", readme, re.MULTILINE) == stated


def test_perplexity_of_the_first_fifth_is_near_the_stated_one(loaded, sample):
    texts = [text[: len(text) // 5] for text in sample["corpus"].read_documents(HELDOUT)]
    score = sample["evaluate"].evaluate(*loaded, texts)
    assert score.tokens > 5000
    assert score.perplexity == pytest.approx(STATED, rel=0.12)  # where a document begins is harder to predict: 6 %
    mixed = torch.randperm(4000, generator=torch.Generator().manual_seed(1))[:1000] + 96
    tokens = loaded[1].convert_ids_to_tokens(mixed.tolist())
    nonsense = sample["evaluate"].evaluate(*loaded, [loaded[1].convert_tokens_to_string(tokens)])
    assert nonsense.perplexity > 20 * score.perplexity


@pytest.mark.slow
def test_perplexity_of_the_held_out_text_is_the_stated_one(loaded, sample):
    score = sample["evaluate"].evaluate(*loaded, sample["corpus"].read_documents(HELDOUT))
    assert score.perplexity == pytest.approx(STATED, abs=0.01)  # two decimals, float32 on any CPU
    assert f"Tokens | {score.tokens:,} |" in CARD


def test_held_out_text_carries_the_licence_of_its_source():
    text = (SAMPLE / "LICENSE-PSF.txt").read_text(encoding="utf-8")
    assert "PYTHON SOFTWARE FOUNDATION LICENSE VERSION 2" in text
    assert "2023 Python Software Foundation" in text
    assert "LICENSE-PSF.txt" in (SAMPLE / "README.md").read_text(encoding="utf-8")
