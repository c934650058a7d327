"""The reader of sentencepiece models: it reads what protobuf writes, and anything else ends in a KogataError."""

import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sentencepiece import sentencepiece_model_pb2 as proto
from support.sentencepiece_models import trained

from exporter.checkpoint.folder import Folder
from exporter.checkpoint.tokens.convert.check import TEXTS
from exporter.checkpoint.tokens.convert.sentencepiece_file import SentencePieceModel, read_sentencepiece
from exporter.checkpoint.tokens.convert.sentencepiece_proto import DamagedModelError, parse_model
from exporter.checkpoint.tokens.tokenizer import load_tokenizer
from exporter.errors import InputError, KogataError, UnsupportedError

FILE = "tokenizer.model"


def read(folder: Path, data: bytes) -> SentencePieceModel:
    (folder / FILE).write_bytes(data)
    return read_sentencepiece(Folder.at(folder), FILE)


def model(pieces: Sequence[tuple[str, float, int]] = (), **trainer: Any) -> Any:
    """A ModelProto as the trainer would write it, with an unknown piece and those given."""
    made = proto.ModelProto()
    for text, score, kind in [("<unk>", 0.0, 2), *pieces]:
        made.pieces.add(piece=text, score=score, type=kind)
    for key, value in trainer.items():
        setattr(made.trainer_spec, key, value)
    return made


PIECES = st.lists(
    st.tuples(
        st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=9),
        st.floats(allow_nan=False, allow_infinity=False, width=32),
        st.sampled_from([1, 3, 4, 6]),
    ),
    max_size=8,
    unique_by=lambda piece: piece[0],
)


@settings(max_examples=150, deadline=None)
@given(pieces=PIECES, bpe=st.booleans(), flags=st.tuples(*[st.booleans()] * 3), charsmap=st.binary(max_size=9))
def test_what_protobuf_writes_is_read(
    tmp_path_factory: pytest.TempPathFactory,
    pieces: list[tuple[str, float, int]],
    bpe: bool,
    flags: tuple[bool, ...],
    charsmap: bytes,
) -> None:
    made = model([piece for piece in pieces if piece[0] != "<unk>"], model_type=2 if bpe else 1, byte_fallback=flags[0])
    spec = made.normalizer_spec
    spec.add_dummy_prefix, spec.remove_extra_whitespaces = flags[1:]
    spec.precompiled_charsmap = charsmap
    # The package's own description has no field 4, self_test_data {samples {input, expected}}.
    data = made.SerializeToString() + b"\x22\x0c\x0a\x0a\x0a\x03a b\x12\x03a b"
    found = read(tmp_path_factory.mktemp("model"), data)
    assert [(p.text, p.score, int(p.kind)) for p in found.pieces] == [(p.piece, p.score, p.type) for p in made.pieces]
    assert found.algorithm == ("bpe" if bpe else "unigram")
    assert (found.byte_fallback, found.prefix, found.collapse) == flags
    assert found.charsmap == charsmap
    assert found.samples == (("a b", ("a", "b")),)
    assert proto.ModelProto.FromString(found.data) == made


def test_absent_fields_have_the_formats_defaults(tmp_path: Path) -> None:
    found = read(tmp_path, model([("a", -1.0, 1)]).SerializeToString())
    assert (found.algorithm, found.byte_fallback, found.prefix, found.collapse) == ("unigram", False, True, True)
    assert [int(piece.kind) for piece in found.pieces] == [2, 1]


@settings(max_examples=300, deadline=None)
@given(data=st.binary(max_size=60))
def test_any_bytes_are_a_message_or_damaged(data: bytes) -> None:
    try:
        message = parse_model(data)
    except DamagedModelError:
        return
    assert sum(len(piece.piece) for piece in message.pieces) <= len(data)


@settings(max_examples=200, deadline=None)
@given(name=st.sampled_from(["llama", "t5", "gemma"]), data=st.data())
def test_a_damaged_model_converts_or_is_a_kogata_error(
    tmp_path_factory: pytest.TempPathFactory, name: str, data: st.DataObject
) -> None:
    whole = bytearray(trained(name))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(whole) - 1))
        whole[place] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(whole))) if data.draw(st.booleans()) else len(whole)
    folder = tmp_path_factory.mktemp("damaged")
    (folder / FILE).write_bytes(whole[:cut])
    kind = {"llama": "LlamaTokenizer", "t5": "T5Tokenizer", "gemma": "GemmaTokenizer"}[name]
    (folder / "tokenizer_config.json").write_text(f'{{"tokenizer_class": "{kind}"}}')
    try:
        tokenizer = load_tokenizer(folder)
    except KogataError:
        return
    assert all(isinstance(tokenizer.decode(tokenizer.encode(text)), str) for text in TEXTS[:5])


BAD: list[tuple[bytes, str]] = [
    (b"", "no pieces"),
    (b"\x0a", "damaged or cut"),  # a length is missing
    (b"\x0a\xff\xff\xff\xff\x0f", "damaged or cut"),  # a length beyond the end
    (b"\x0a" + b"\xff" * 11, "damaged or cut"),  # a number longer than ten bytes
    (b"\x0b", "damaged or cut"),  # a group that doesn't end
    (b"\x00", "damaged or cut"),  # field number 0
    (b"\x08\x01", "no pieces"),  # a number where a piece belongs
    (b"\x0a\x02\x18\x01", "0 characters"),
    (model([("a", 0.0, 1), ("a", 1.0, 1)]).SerializeToString(), "two pieces"),
    (model([("b", 0.0, 2)]).SerializeToString(), "2 unknown pieces"),
    (model([("x" * 600, 0.0, 1)]).SerializeToString(), "600 characters"),
    (model([("a\0", 0.0, 1)]).SerializeToString(), "NUL"),
    (model([("a", float("nan"), 1)]).SerializeToString(), "score"),
    (model([("a", float("inf"), 1)]).SerializeToString(), "score"),
    (b"\x0a\x05\x0a\x03\xff\xfe\xfd", "UTF-8"),
    (b"\x0a\x05\x0a\x01a\x18\x09", "type 9"),
    (b"version https://git-lfs.github.com/spec/v1\n", "Git LFS"),
    (b"PK\x03\x04 a zip file", "not a sentencepiece model"),
]


@pytest.mark.parametrize(("data", "says"), BAD)
def test_files_that_are_no_model_say_why(data: bytes, says: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=says):
        read(tmp_path, data)


def test_models_that_a_tokenizer_json_cannot_express_are_unsupported(tmp_path: Path) -> None:
    cases = [
        (model(model_type=3), "neither unigram nor BPE"),
        (model(treat_whitespace_as_suffix=True), "spaces behind words"),
        (model([("a", 0.0, 5)]), "unused"),
    ]
    spaced = model()
    spaced.normalizer_spec.escape_whitespaces = False
    denormalizing = model()
    denormalizing.denormalizer_spec.precompiled_charsmap = b"x"
    for made, says in [*cases, (denormalizing, "denormalizer"), (spaced, "escape_whitespaces")]:
        with pytest.raises(UnsupportedError, match=says):
            read(tmp_path, made.SerializeToString())


def test_a_bomb_of_pieces_or_bytes_is_not_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = "exporter.checkpoint.tokens.convert.sentencepiece_file"
    monkeypatch.setattr(f"{module}._MAX_PIECES", 1000)  # a million takes seconds
    with pytest.raises(InputError, match="more than 1000 pieces"):
        read(tmp_path, b"\x0a\x03\x0a\x01a" * 1100)
    with monkeypatch.context() as patch:
        patch.setattr(f"{module}.parse_model", None)  # refused before protobuf makes a message of each piece
        with pytest.raises(InputError, match="more than 1000 pieces"):
            read(tmp_path, b"\x0a\x00" * 4100)
    with (tmp_path / FILE).open("wb") as file:
        file.truncate(10 << 30)  # sparse: takes no disk
    with pytest.raises(InputError, match="has more than"):
        read_sentencepiece(Folder.at(tmp_path), FILE)


def test_a_damaged_character_map_is_an_input_error(tmp_path: Path) -> None:
    """Its trie leads out of itself; the tokenizers library would panic over it."""
    (tmp_path / "tokenizer_config.json").write_text('{"tokenizer_class": "T5Tokenizer", "extra_ids": 0}')
    made = model([("</s>", 0.0, 3), ("▁", -1.0, 1)])
    for trie in (
        struct.pack("<I", 8) + b"\xff" * 8 + b"a\0",
        struct.pack("<I", 4096) + b"\x01" * 9,
        b"\x01",
        b"\0" * 4,
    ):
        made.normalizer_spec.precompiled_charsmap = trie
        (tmp_path / FILE).write_bytes(made.SerializeToString())
        with pytest.raises(InputError):
            load_tokenizer(tmp_path)
