"""tokenizer.model without tokenizer.json: against the sentencepiece package, and against transformers' conversion."""

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.sentencepiece_models import SETTINGS, processor, trained
from support.shipped_files import ship
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.convert import check
from exporter.checkpoint.tokens.convert.sentencepiece_file import SentencePieceModel, read_sentencepiece
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import InputError, UnsupportedError

HARD = (
    "", "  ", " a", "\tx\n", "lamp " * 60, "ﾊﾞﾋﾟｶﾞ ㌔ ①", "▁a ▁▁▁ b", "1\u0301", "<0x0A>",
    "\x00x \x7f\u200bzero\ufeffwidth",
    "[MASK] [CLS] <mask> <s> </s> x</s>y <eos> <pad> <h1> a<extra_id_3>b <start_of_turn>user\nhi<end_of_turn>",
)  # fmt: skip
CASES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "llama": ("llama", "tokenizer.model", {"tokenizer_class": "LlamaTokenizer"}),
    "llama: prefix only at the start": (
        "llama",
        "tokenizer.model",
        {"tokenizer_class": "LlamaTokenizer", "legacy": False, "add_eos_token": True, "add_bos_token": False},
    ),
    "llama: no prefix": ("llama", "tokenizer.model", {"tokenizer_class": "LlamaTokenizer", "add_prefix_space": False}),
    "llama: padding that the model has no piece for": (
        "llama",
        "tokenizer.model",
        {"tokenizer_class": "LlamaTokenizer", "pad_token": "<pad>", "additional_special_tokens": ["<|im_start|>"]},
    ),
    "gemma": ("gemma", "tokenizer.model", {"tokenizer_class": "GemmaTokenizer"}),
    "t5": ("t5", "spiece.model", {"tokenizer_class": "T5Tokenizer"}),
    "t5: few sentinels": ("t5", "spiece.model", {"tokenizer_class": "T5Tokenizer", "legacy": False, "extra_ids": 9}),
    "mt5: no sentinels": ("t5", "spiece.model", {"tokenizer_class": "MT5Tokenizer", "extra_ids": 0}),
    "xlm-roberta": ("xlm-roberta", "sentencepiece.bpe.model", {"tokenizer_class": "XLMRobertaTokenizer"}),
    "deberta": ("deberta", "spm.model", {"tokenizer_class": "DebertaV2Tokenizer"}),
    "deberta: lower case": (
        "deberta",
        "spm.model",
        {"tokenizer_class": "DebertaV2Tokenizer", "do_lower_case": True},
    ),
}


def write(folder: Path, name: str, file: str = "tokenizer.model", **config: Any) -> Path:
    (folder / file).write_bytes(trained(name))
    (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def model_of(name: str, folder: Path) -> SentencePieceModel:
    (folder / "tokenizer.model").write_bytes(trained(name))
    return read_sentencepiece(Folder.at(folder), "tokenizer.model")


# --- against the sentencepiece package ---

# Words, spaces and odd characters in every order: what random text rarely puts side by side.
MIXED = st.lists(
    st.sampled_from([*"aeht .,▁\n\t19３", "the", "  ", "é", "e\u0301", "明", "ｱ", "ﾞ", "🙂", "<sep>", "<x>y", "<s>"]),
    max_size=20,
).map("".join)
ANY = st.one_of(st.text(max_size=40), MIXED, st.sampled_from(check.TEXTS))


@pytest.mark.parametrize("name", SETTINGS)
def test_the_file_is_read_as_the_package_reads_it(name: str, tmp_path: Path) -> None:
    model, package = model_of(name, tmp_path), processor(name)
    assert [piece.text for piece in model.pieces] == [package.id_to_piece(i) for i in range(len(package))]
    assert [piece.score for piece in model.pieces] == [package.get_score(i) for i in range(len(package))]
    assert model.unknown_id == package.unk_id()


@pytest.mark.parametrize("name", ["llama", "no prefix", "gemma", "internlm2"])
def test_llama_like_conversions_encode_and_decode_as_the_package_does(name: str, tmp_path: Path) -> None:
    """Any ordinary text: it holds no special token, which a tokenizer.json finds in text, and no `▁`."""
    kind = "GemmaTokenizer" if name == "gemma" else "InternLM2Tokenizer"
    ours, package = load_tokenizer(write(tmp_path, name, tokenizer_class=kind)), processor(name)

    controls = [package.id_to_piece(i) for i in range(len(package)) if package.is_control(i) or package.is_unknown(i)]

    @settings(max_examples=200, deadline=None)
    @given(text=ANY.filter(lambda text: not any(special in text for special in ("▁", *controls))))
    def agree(text: str) -> None:
        ids = package.encode(text)
        assert ours.encode(text, special_tokens=False) == ids
        assert ours.decode(ids, skip_special_tokens=False) == package.decode(ids) == text

    agree()


def test_byte_fallback_of_a_unigram_model_is_kept(tmp_path: Path) -> None:
    """umT5's kind: transformers' own converter for T5 makes unknown tokens of what sentencepiece writes in bytes."""
    write(tmp_path, "unigram bytes", "spiece.model", tokenizer_class="T5Tokenizer", extra_ids=0)
    ours, package = load_tokenizer(tmp_path), processor("unigram bytes")
    for text in (*check.TEXTS, "𐎀𐎁 ꙮ"):
        assert ours.encode(text) == [*package.encode(text), package.eos_id()]


# --- against transformers ---


@pytest.mark.parametrize("case", CASES)
def test_conversions_agree_with_transformers(case: str, tmp_path: Path) -> None:
    name, file, config = CASES[case]
    write(tmp_path, name, file, **config)
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert ours.tokens == reference.special_tokens_map
    assert ours.vocab_size == len(reference)
    for text in (*check.TEXTS, *HARD):
        ids = reference(text)["input_ids"]
        assert ours.encode(text) == ids
        assert ours.encode(text, special_tokens=False) == reference(text, add_special_tokens=False)["input_ids"]
        # transformers takes DeBERTa's [MASK] for an ordinary token until it has saved and loaded it once.
        for skip in (True, False) if "[MASK]" not in text or name != "deberta" else (False,):
            assert ours.decode(ids, skip_special_tokens=skip) == reference.decode(ids, skip_special_tokens=skip)


@pytest.mark.parametrize("case", CASES)
def test_what_a_bundle_ships_needs_none_of_the_older_files(case: str, folder: Path, tmp_path: Path) -> None:
    """tokenizer.json alone, the file with our class rules over it, and transformers with it: the same ids."""
    (folder / "tokenizer.json").unlink()
    write(folder, *CASES[case][:2], **CASES[case][2])
    ours = load_tokenizer(folder)
    place = ship(folder, tmp_path / "shipped")
    bundled, reference = load_tokenizer(place), AutoTokenizer.from_pretrained(place)
    bare = Backend.from_file(str(place / "tokenizer.json"))
    assert bundled.tokens == reference.special_tokens_map == ours.tokens
    for text in (*check.TEXTS, *HARD):
        ids = ours.encode(text)
        assert bundled.encode(text) == reference(text)["input_ids"] == list(bare.encode(text).ids) == ids
        assert bundled.decode(ids) == reference.decode(ids, skip_special_tokens=True)
        assert bundled.decode(ids, skip_special_tokens=False) == ours.decode(ids, skip_special_tokens=False)


def test_added_tokens_of_the_old_file_follow_the_vocabulary(tmp_path: Path) -> None:
    size = len(processor("llama"))
    write(tmp_path, "llama", tokenizer_class="LlamaTokenizer", pad_token="<pad>")
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<tool>": size + 1, "<pad>": size, "word": size + 2}))
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    assert [ours.token_to_id(text) for text in ("<pad>", "<tool>", "word")] == [size, size + 1, size + 2]
    for text in ("a <tool> b", "a word<pad>", "words of wordiness"):
        assert ours.encode(text) == reference(text)["input_ids"]


def test_a_stated_token_takes_the_place_of_an_unused_piece(tmp_path: Path) -> None:
    """InternLM2's way to make room for chat tokens."""
    index = processor("internlm2").piece_to_id("[UNUSED_TOKEN_3]")
    flags = {"lstrip": False, "rstrip": False, "normalized": False, "single_word": False, "special": True}
    decoder = {str(index): {"content": "<|im_end|>", **flags}}
    write(tmp_path, "internlm2", tokenizer_class="InternLM2Tokenizer", added_tokens_decoder=decoder)
    ours = load_tokenizer(tmp_path)
    assert ours.token_to_id("<|im_end|>") == index
    assert ours.encode("a<|im_end|>")[-1] == index
    assert ours.encode("a") == [ours.token_to_id("<s>"), *processor("internlm2").encode("a")]


# --- refusals ---


def test_a_gap_behind_the_vocabulary_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "llama", tokenizer_class="LlamaTokenizer")
    size = len(processor("llama"))
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<tool>": size + 7}))
    with pytest.raises(UnsupportedError, match=f"'<tool>' is {size + 7}, and would be {size}"):
        load_tokenizer(tmp_path)


def test_a_stated_token_in_the_place_of_a_word_is_a_contradiction(tmp_path: Path) -> None:
    decoder = {"300": {"content": "<|im_end|>", "special": True}}
    write(tmp_path, "llama", tokenizer_class="LlamaTokenizer", added_tokens_decoder=decoder)
    with pytest.raises(InputError, match="token 300"):
        load_tokenizer(tmp_path)


def test_an_unknown_class_is_refused_and_the_known_ones_are_named(tmp_path: Path) -> None:
    with pytest.raises(UnsupportedError, match="'OtherTokenizer' is not known") as error:
        load_tokenizer(write(tmp_path, "llama", tokenizer_class="OtherTokenizer"))
    assert "LlamaTokenizer" in error.value.diagnostics[0].hint
    with pytest.raises(UnsupportedError, match="no file names the tokenizer's class"):
        load_tokenizer(write(tmp_path, "llama"))


def test_the_class_of_another_vocabulary_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"a BertTokenizer needs vocab\.txt"):
        load_tokenizer(write(tmp_path, "llama", tokenizer_class="BertTokenizer"))
    with pytest.raises(InputError, match=r"no piece '\[CLS\]'"):
        load_tokenizer(write(tmp_path, "llama", tokenizer_class="DebertaV2Tokenizer"))


def test_a_converted_tokenizer_that_differs_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The check sees a conversion that cuts text elsewhere: here, one whose merges are in the wrong order."""
    from exporter.checkpoint.tokens.convert import sentencepiece_backend as backend

    right = backend.merges
    monkeypatch.setattr(backend, "merges", lambda pieces: right(pieces)[::-1])
    with pytest.raises(UnsupportedError, match="cuts text the same way"):
        load_tokenizer(write(tmp_path, "llama", tokenizer_class="LlamaTokenizer"))


def test_the_trainers_samples_are_compared_too(tmp_path: Path) -> None:
    def with_sample(text: str, pieces: list[str]) -> bytes:
        fields = [text.encode(), " ".join(pieces).encode()]
        sample = b"".join(bytes([10 + 8 * i, len(field)]) + field for i, field in enumerate(fields))
        return trained("llama") + bytes([34, len(sample) + 2, 10, len(sample)]) + sample

    write(tmp_path, "llama", tokenizer_class="LlamaTokenizer")
    pieces = processor("llama").encode("the License, 木", out_type=str)
    (tmp_path / "tokenizer.model").write_bytes(with_sample("the License, 木", pieces))
    load_tokenizer(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(with_sample("the License, 木", pieces[:-1]))
    with pytest.raises(UnsupportedError, match="contradicts its own samples"):
        load_tokenizer(tmp_path)


def test_one_conversion_serves_an_opened_checkpoint(folder: Path) -> None:
    from exporter.checkpoint import open_checkpoint

    (folder / "tokenizer.json").unlink()
    checkpoint = open_checkpoint(write(folder, "llama", tokenizer_class="LlamaTokenizer"))
    assert checkpoint.conversion is checkpoint.conversion
    assert checkpoint.conversion is not None
    assert checkpoint.conversion.source == ("tokenizer.model",)
    assert "30 texts" in checkpoint.conversion.checked
    one: Tokenizer = load_tokenizer(checkpoint)
    assert one.encode("Hello") == load_tokenizer(folder).encode("Hello")
