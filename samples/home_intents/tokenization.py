"""The byte-level BPE tokenizer of the sample model, and its chat template.

The pre-tokenizer is the widely used pattern of recent byte-level models (words with the preceding
space or mark, single digits, runs of punctuation), so that existing runtimes can load the file.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

VOCAB_SIZE = 2_048
MAX_LENGTH = 256
PAD, USER, ASSISTANT, END = "<|pad|>", "<|user|>", "<|assistant|>", "<|end|>"

CHAT_TEMPLATE = (
    "{%- for message in messages -%}"
    "{{- '<|' + message['role'] + '|>' + message['content'] + '<|end|>' -}}"
    "{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{- '<|assistant|>' -}}{%- endif -%}"
)

_PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# The tokenizer learns from units that it must not glue together: words without the space in front,
# and Japanese (which has no spaces) cut at kanji numerals and where the script changes. So a word
# falls into the same pieces in a request (" milk") and in the answer that copies it ("milk").
_NUMERAL = "[〇零一二三四五六七八九十百半点]"
_KANJI = "\u4e00-\u9fff々"
_UNITS = re.compile(
    f"{_NUMERAL}|[{_KANJI}]+?(?={_NUMERAL}|[^{_KANJI}]|$)"
    f"|[\u3040-\u309f]+|[\u30a0-\u30ff]+"
    f"|_?[^\\W\\d_\u3040-\u30ff{_KANJI}]+|\\d| +|(?:(?! )[\\W_])+"
)
_SPACE = "Ġ"  # how byte-level BPE writes a space
# The last merges join a space to a whole frequent word: prompts get shorter, pieces stay the same.
_SPACED_WORDS = 400


def _training_units(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _UNITS.findall(text)


def _spaced_words(tokenizer: Tokenizer, texts: Sequence[str]) -> list[str]:
    """Return the words that are one token each and most often follow a space."""
    counts = Counter(word for text in texts for word in re.findall(r"(?<= )[a-zA-Z]+", text))
    known = tokenizer.get_vocab()
    ordered = sorted(counts, key=lambda word: (-counts[word], word))
    return [word for word in ordered if word in known and len(word) > 1][:_SPACED_WORDS]


def _join_spaces(tokenizer: Tokenizer, words: Sequence[str]) -> Tokenizer:
    """Add one merge of a space with each of the words, after all other merges."""
    content = json.loads(tokenizer.to_str())
    vocabulary, merges = content["model"]["vocab"], content["model"]["merges"]
    pairs = isinstance(merges[0], list)
    for word in words:
        vocabulary[_SPACE + word] = len(vocabulary)
        merges.append([_SPACE, word] if pairs else f"{_SPACE} {word}")
    return Tokenizer.from_str(json.dumps(content, ensure_ascii=False))


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer and wrap it for transformers, with the chat template."""
    texts = list(texts)
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE - _SPACED_WORDS,
        min_frequency=2,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_units(texts), trainer)
    tokenizer = _join_spaces(tokenizer, _spaced_words(tokenizer, texts))
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token=PAD,
        eos_token=END,
        additional_special_tokens=[USER, ASSISTANT],
        chat_template=CHAT_TEMPLATE,
        model_max_length=MAX_LENGTH,
        padding_side="left",
        model_input_names=["input_ids", "attention_mask"],
        clean_up_tokenization_spaces=False,
    )


def prompt_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Return the ids of a user request up to where the answer starts."""
    messages = [{"role": "user", "content": text}]
    return tokenizer.apply_chat_template(messages, add_generation_prompt=True)
