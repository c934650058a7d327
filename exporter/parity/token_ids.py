"""The row "tokenizer": token ids against those of transformers' own AutoTokenizer.

Every other row feeds the same ids to both sides, so that wrong ids would go unnoticed.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from exporter.checkpoint.tokens.chat import BoundError
from exporter.errors import InputError
from exporter.formats import Form
from exporter.parity.findings import failure
from exporter.parity.prompts import every_prompt
from exporter.parity.results import Check, ParityReport, PromptScore, Row
from exporter.parity.thresholds import TOKENIZER
from exporter.runners.reference_tokenizer import ReferenceTokenizer
from exporter.texts import Prompt

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.encoded import EncodedText
    from exporter.checkpoint.tokens.tokenizer import Tokenizer
    from exporter.runners.reference_tokenizer import ReferenceTokens

_NAME = "tokenizer"
_COMPARES = "transformers' tokenizer against the shipped one"
_NO_ROW = "tokenizer.surplus"  # the model has no row for a token of the text, which nobody can run then
_WORST = 3  # texts shown
_SHOWN = 8  # ids shown from the first that differs
_MAX_SPECIAL = 40  # special tokens that are put into texts: T5 has 100, Llama 3 has 256, all of one kind

# What tokenizers are known to disagree on: spaces, line ends, marks, scripts, text that looks like a special token.
_TEXTS = (
    "", " ", "   ", "\n", " leading", "trailing ", "  two  spaces   three ", "\tTab and\ttab",
    "line\nline\n\nline\r\nline",
    "Hello, World! It's 9:30 — don't be late, o'clock 's 've.", "ALL CAPS, CamelCase, snake_case, kebab-case",
    "1234567890 3.14 1,000,000 ½ ² ①", "Größe, naïve façade, İstanbul, ǅ, ﬁ, a\u0301 é ÅÅ", "straße ẞ Ω Ω",
    "明日の朝7時に起こして。部屋の電気を３０％に", "今天天气很好，我们去公园散步吧。", "안녕하세요, 세계! 오늘",
    "مرحبا بالعالم، كيف حالك؟", "שלום עולם, מה שלומך?", "नमस्ते दुनिया", "สวัสดีชาวโลก", "Съешь же ещё этих мягких булок",
    "🙂🚀👩‍👩‍👧👍🏽🇯🇵", "\u200bzero\ufeff width\u00a0no-break\u2028line", "ctrl \x00 \x1f \x7f",
    "\u2581 \u2581word Ġword ##ing</w>",
    "[MASK] [CLS]", "<mask>", "<s>text</s>", "<pad> <unk>", "<|endoftext|>", "<0x0A>", "<extra_id_0>",
    "def f(x):\n    return {'a': [x ** 2]}",
    "lamp " * 40, "a" * 120,
)  # fmt: skip
_FRAMES = ("{0}", "dim the {0} lamp", "x{0}y", " {0}  {0} ", "{1}\n{0}\n")  # around a special token
_PAIRS = (("dim the lamp", "lampe dimmen"), ("", "second"), ("first ", " second"), ("質問", "答え🙂"))
_CHATS = (
    ({"role": "user", "content": "Hello"},),
    ({"role": "system", "content": "Be brief."}, {"role": "user", "content": " two  spaces "}),
    (
        {"role": "user", "content": "Dim the lamp\nplease"},
        {"role": "assistant", "content": "Done 🙂"},
        {"role": "user", "content": "明日は？"},
    ),
)

Ids = list[int] | str  # of a text; or why it was refused


@dataclass
class _Compared:
    """Texts compared so far, and those that differ: index and beginning of a text, number of wrong ids."""

    texts: int = 0
    marks: int = 0
    wrong: list[PromptScore] = field(default_factory=list)
    note: str = ""

    def add(self, shown: str, references: Sequence[Ids], ours: Ids) -> bool:
        """Whether our ids are those of one of the references; an error stands for the ids of a refused text."""
        index, self.texts = self.texts, self.texts + 1
        if any(theirs == ours or (isinstance(theirs, str) and isinstance(ours, str)) for theirs in references):
            return True
        theirs = references[-1]
        pairs = zip(theirs, ours, strict=False) if not isinstance(theirs, str) and not isinstance(ours, str) else ()
        equal = [a == b for a, b in pairs]
        first = equal.index(False) if False in equal else len(equal)
        count = max(0 if isinstance(side, str) else len(side) for side in (theirs, ours)) - sum(equal)
        if not self.wrong:
            ends = [side if isinstance(side, str) else str(side[first:][:_SHOWN]) for side in (theirs, ours)]
            self.note = f"in {shown!r} from token {first}: {ends[0]} in transformers, {ends[1]} here"
        self.wrong.append(PromptScore(index, shown, "ids_differ", float(max(count, 1))))
        return False

    def add_marks(self, shown: str, references: Sequence[ReferenceTokens], own: EncodedText) -> None:
        """Compares types and marks of special tokens where a reference states them."""
        for theirs in references:
            types = theirs.types is None or list(theirs.types) == own.types.tolist()
            special = theirs.special is None or list(theirs.special) == own.special.tolist()
            if types and special:
                return
        self.marks += 1
        self.note = self.note or f"token types or special tokens differ in {shown!r}"


def with_tokenizer(report: ParityReport, row: Row) -> ParityReport:
    """The report with the row and, if it failed, a finding that says where ids differ."""
    found = (failure(row, detail=row.note),) if row.verdict == "failed" else ()
    return replace(report, rows=(*report.rows, row), findings=(*report.findings, *found))


def tokenizer_row(tokenizer: Tokenizer, folder: Path, artifacts: Sequence[Form], *, pairs: bool = True) -> Row:
    """Compares `tokenizer` with what transformers makes of `folder`, the checkpoint.

    pairs: whether the model takes two texts (for Code Llama's class, a second text is what follows a gap).
    The row is "unchecked", with the reason as its note, where transformers can't load the tokenizer or give it text.
    """
    runner, begun = _own_name(), time.perf_counter()
    try:
        reference = ReferenceTokenizer(folder)
        reference.encode("a")
    except InputError as error:
        reason = error.diagnostics[0].message
        return Row(_NAME, _COMPARES, tuple(artifacts), ("transformers", runner), {"texts": 0.0}, (), note=reason)
    compared = _Compared()
    for prompt in _prompts(tokenizer):
        if pairs or prompt.second is None:
            _text(compared, tokenizer, reference, prompt)
    if tokenizer.chat_template is not None:
        for messages in (*_CHATS, *(prompt.messages for prompt in every_prompt() if prompt.messages)):
            if not _chat(compared, tokenizer, reference, Prompt("", messages)):
                break  # each further one would take as long
    special = _special(compared, tokenizer, reference)
    metrics = {
        "ids_differ": float(len(compared.wrong)), "marks_differ": float(compared.marks),
        "special_differ": float(special), "texts": float(compared.texts),
    }  # fmt: skip
    return Row(
        _NAME,
        _COMPARES,
        tuple(artifacts),
        (reference.name, runner),
        metrics,
        tuple(Check(limit, metrics[limit.metric]) for limit in TOKENIZER),
        worst=tuple(sorted(compared.wrong, key=lambda score: -score.value)[:_WORST]),
        note=compared.note,
        seconds=time.perf_counter() - begun,
    )


def _own_name() -> str:
    from tokenizers import __version__

    return f"kogata, tokenizers {__version__}"


def _prompts(tokenizer: Tokenizer) -> Iterator[Prompt]:
    for text in _TEXTS:
        yield Prompt(text)
    for first, second in _PAIRS:
        yield Prompt(first, second=second)
    for prompt in every_prompt():
        if not prompt.messages:
            yield prompt
    for token in tokenizer.special_texts[:_MAX_SPECIAL]:
        for frame in _FRAMES:
            yield Prompt(frame.format(token, token.lower()))


def _text(compared: _Compared, tokenizer: Tokenizer, reference: ReferenceTokenizer, prompt: Prompt) -> None:
    own: EncodedText | None = None
    try:
        own = tokenizer.encode_text(prompt.text, prompt.second)
        ours: Ids = own.ids.tolist()
    except InputError as error:
        if error.diagnostics[0].code == _NO_ROW:
            return
        ours = error.diagnostics[0].message
    try:
        references = reference.encode(prompt.text, prompt.second)
    except InputError as error:
        compared.add(prompt.shown, (error.diagnostics[0].message,), ours)
        return
    if compared.add(prompt.shown, [list(theirs.ids) for theirs in references], ours) and own is not None:
        compared.add_marks(prompt.shown, [theirs for theirs in references if list(theirs.ids) == ours], own)


def _chat(compared: _Compared, tokenizer: Tokenizer, reference: ReferenceTokenizer, prompt: Prompt) -> bool:
    """Compares a conversation. False where the template asked for more time or memory than it may have."""
    assert tokenizer.chat_template is not None
    try:
        ours: Ids = tokenizer.encode_chat(prompt.messages)
    except BoundError:
        return False
    except InputError as error:
        if error.diagnostics[0].code == _NO_ROW:
            return True
        ours = error.diagnostics[0].message
    bounded = True
    try:
        theirs: list[Ids] = list(map(list, reference.encode_chat(prompt.messages, tokenizer.chat_template)))
    except InputError as error:
        bounded = not isinstance(error, BoundError)
        theirs = [error.diagnostics[0].message]
    compared.add(prompt.shown, theirs, ours)
    return bounded


def _special(compared: _Compared, tokenizer: Tokenizer, reference: ReferenceTokenizer) -> int:
    """How many named special tokens have another id."""
    wrong = [key for key, index in reference.named.items() if index != tokenizer.named.get(key)]
    if wrong and not compared.note:
        key = wrong[0]
        compared.note = f"{key} is {reference.named[key]} in transformers, {tokenizer.named.get(key)} here"
    return len(wrong)
