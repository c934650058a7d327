"""Texts and conversations whose token ids an app must reproduce."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from exporter.errors import InputError
from exporter.parity.device.vectors import ChatVector, IdsVector, Turn

if TYPE_CHECKING:
    from exporter.checkpoint.tokens.tokenizer import Tokenizer

MAX_IDS = 512  # tokens of one vector: a template with a long default system text would fill the file
_SPECIAL = 8  # special tokens that are put into texts; the named ones (beginning, end, padding, …) come first
_FRAMES = ("{0}", "dim the {0} lamp", "x{0}y", " {0}  {0} ")  # around a special token, one after the other

# Where tokenizers written anew go wrong: spaces, line ends, joiners, combining marks, scripts, control characters.
TEXTS = (
    "", " ", "   ", "\n", "\r\n\t ", " leading", "trailing ", "  two  spaces   three ", "\tTab and\ttab",
    "line\nline\n\nline\r\nline", "a\u00a0b\u2003c\u3000d\u2028e",
    "Hello, World! It's 9:30 — don't be late, o'clock 's 've.", "I'LL WE'VE SHE'D he'll they're",
    "ALL CAPS, CamelCase, snake_case, kebab-case", "supercalifragilisticexpialidocious antidisestablishmentarianism",
    "1234567890 3.14 1,000,000 ½ ² ① ٣٤ ४५ ⅷ", "$5.00 €20 ¥300 50% #1 @me a+b=c <tag> {x} [y] \\ ^~`|",
    "https://example.com/a?b=c&d=%20#e me@example.org", "def f(x):\n    return {'a': [x ** 2]}\n",
    "Größe, naïve façade, İstanbul ısı, ǅ, ﬁ ﬀ, æ œ", "straße ẞ Ω Å K", "e\u0301 a\u030a o\u0308 q\u0323\u0307",
    "a\u0301\u0302\u0303\u0304\u0305 Z̷a̷l̷g̷o̷", "Ｆｕｌｌ　ｗｉｄｔｈ １２３ ｶﾀｶﾅ ﾊﾞ",
    "明日の朝7時に起こして。部屋の電気を３０％に", "むかしむかし、あるところに「おじいさん」と",
    "か\u3099 は\u309a が ぱ",
    "今天天气很好，我们去公园散步吧。", "繁體中文與简体字𠮷𩸽", "안녕하세요, 세계! 오늘",
    "\u1112\u1161\u11ab\u1100\u1173\u11af",
    "مرحبا بالعالم، كيف حالك؟", "مُحَمَّدٌ ـــ لا", "שלום עולם, מה שלומך?", "שָׁלוֹם", "नमस्ते दुनिया क्षत्रिय",
    "বাংলা ভাষা", "தமிழ் மொழி", "ไทยสวัสดีชาวโลก", "ລາວ ខ្មែរ မြန်မာ", "Съешь же ещё этих мягких булок Ё й",
    "Ελληνικά, Ὀδυσσεύς ς σ", "ქართული Հայերեն አማርኛ", "Tiếng Việt: đường phố", "Dvě łódź şehir ő",
    "🙂🚀👍🏽🇯🇵", "👩‍👩‍👧‍👦 👩🏾‍🚀 🏳️‍🌈 ❤️ 1️⃣ ☎︎", "🇯🇵🇺🇸🇩 🏴󠁧󠁢󠁳󠁣󠁴󠁿",
    "\u200bzero\ufeff width\u00ad\u200djoin\u2060er", "\u202eright to left\u202c \u200e\u200f",
    "ctrl \x00 \x01 \x1b[31m \x1f \x7f \x85", "\ufffd \ufffe \U0010ffff \ue000", "𝒜𝔅 𐍈 𝟘",
    "\u2581 \u2581word Ġword Ċ ##ing</w> <0x0A>", "[MASK] [CLS]", "<s>text</s>", "<|endoftext|><pad> <unk>",
    "!!!!!!!! ........ -------- ======", "lamp " * 24, "a" * 90,
)  # fmt: skip

_SYSTEM = Turn("system", "You are a helpful assistant. Answer briefly.")
_ASKED = (Turn("user", "Dim the lamp\nplease"), Turn("assistant", "Done 🙂"), Turn("user", "明日は？"))
CONVERSATIONS: tuple[tuple[Turn, ...], ...] = (
    (Turn("user", "Hello"),),
    (_SYSTEM, Turn("user", "What is the capital of France?")),
    _ASKED,
    (_SYSTEM, *_ASKED),
    (Turn("user", "  two  spaces around  "),),
    (Turn("user", "line\n\nline\n"), Turn("assistant", " Yes. "), Turn("user", "\nand then?")),
    (Turn("system", " 日本語で答えてください。 "), Turn("user", "🇯🇵 e\u0301 \"quoted\" <b> & {{ x }} 'it'")),
    (*_ASKED, Turn("assistant", "{\"time\": \"7:00\"}"), Turn("user", "Danke!"), Turn("assistant", "Bitte."),
     Turn("user", "1+1=?")),
)  # fmt: skip


def token_vectors(tokenizer: Tokenizer) -> tuple[IdsVector, ...]:
    """Texts with their ids, special tokens included. A text is left out where the model has no row for one of its
    tokens, or where the tokenizer refuses it.
    """
    texts = dict.fromkeys([*TEXTS, *_with_special(tokenizer.special_texts[:_SPECIAL])])
    found = []
    for text in texts:
        try:
            ids = tokenizer.encode(text)
        except InputError:
            continue
        if len(ids) <= MAX_IDS:
            found.append((text, ids))
    return tuple(IdsVector(f"tokenizer-{i}", text, tuple(ids)) for i, (text, ids) in enumerate(found))


def chat_vectors(tokenizer: Tokenizer) -> tuple[ChatVector, ...]:
    """Conversations with their ids, the generation prompt included; only those that the template renders."""
    if tokenizer.chat_template is None:
        return ()
    found = []
    for messages in CONVERSATIONS:
        try:
            ids = tokenizer.encode_chat([{"role": turn.role, "content": turn.content} for turn in messages])
        except InputError:
            continue
        if len(ids) <= MAX_IDS:
            found.append((messages, ids))
    return tuple(ChatVector(f"chat-{i}", messages, tuple(ids)) for i, (messages, ids) in enumerate(found))


def _with_special(tokens: Sequence[str]) -> Iterator[str]:
    for index, token in enumerate(tokens):
        yield _FRAMES[index % len(_FRAMES)].format(token)
