"""The byte-level BPE tokenizer of the sample model, and its chat template.

The pre-tokenizer is the widely used pattern of recent byte-level models (words with the preceding
space or mark, single digits, runs of punctuation), so that existing runtimes can load the file.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

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
# Japanese has no spaces, so BPE would glue whole phrases together. Cutting the training text at
# kanji numerals and where the script changes keeps words and numbers as units of their own.
_NUMERAL = "[〇零一二三四五六七八九十百半点]"
_KANJI = "\u4e00-\u9fff々"
_JAPANESE_UNITS = re.compile(
    f"{_NUMERAL}|[{_KANJI}]+?(?={_NUMERAL}|[^{_KANJI}]|$)"
    f"|[\u3040-\u309f]+|[\u30a0-\u30ff]+|[^\u3040-\u30ff{_KANJI}]+"
)


def _training_units(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        yield from _JAPANESE_UNITS.findall(text)


def train_tokenizer(texts: Iterable[str]) -> PreTrainedTokenizerFast:
    """Train the tokenizer and wrap it for transformers, with the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_PATTERN), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCAB_SIZE,
        min_frequency=2,
        special_tokens=[PAD, USER, ASSISTANT, END],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(_training_units(texts), trainer)
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
