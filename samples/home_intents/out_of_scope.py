"""Requests to decline: topics of other assistants, half sentences, danger, and near misses.

A near miss is made from a request of the home with one thing changed to what the home doesn't have
("turn on the kitchen dishwasher"), cannot do ("open the lamp") or takes for two ("... and lock the
gate"). Such requests teach the model to read every word before it acts.
"""

from __future__ import annotations

import random
import re
import string
from collections.abc import Callable

import free_text
import lexicon
import out_of_scope_en
import out_of_scope_ja
import sentences
import vocabulary as vocab
from semantics import DECLINE, Intent, sample_intent

Realise = Callable[[Intent, random.Random], str]

_TOPICS = {"en": out_of_scope_en, "ja": out_of_scope_ja}
_FIELD = re.compile(r"\{(\w+)\}")
_KINDS = ("topic", "sentence", "near_miss", "two", "impossible", "gibberish", "foreign")
_KIND_WEIGHTS = (48, 12, 20, 5, 4, 7, 4)
_TOPIC_WEIGHTS = {"unsupported": 70, "unclear": 19, "unsafe": 11}
# What each action can't be done to; brightness and volume of lamps read alike, so no lamps there.
_MISFITS = {
    "open": (*vocab.LIGHTS, "fan", "tv", "heater", "radio"),
    "close": (*vocab.LIGHTS, "fan", "tv", "heater", "radio"),
    "set_brightness": ("humidifier", "air_purifier", "coffee_maker"),
    "set_color": vocab.APPLIANCES + vocab.COVERS,
    "set_position": ("humidifier", "coffee_maker", "air_purifier"),
    "set_volume": ("humidifier", "air_purifier", "coffee_maker", "curtains"),
    "lock": ("kitchen", "bedroom", "tv", "curtains"),
}
_ALPHABETS = (
    "asdfghjkl",
    string.ascii_lowercase,
    string.digits,
    "あかさたなはまやらわ",
    "アイウエオ",
    "!?.,#",
    "qwertyuiop ",
)
_EMOJI = "🙂😀😡❤👍🎉🍕🐶🏠💡🔥☔🌞🚗"


def _own(name: str, rng: random.Random, language: str) -> str:
    """Name a device, a room or a door of the home."""
    english = language == "en"
    if name == "device":
        table = vocab.EN_DEVICES if english else vocab.JA_DEVICES
        entry = rng.choice(table[rng.choice(tuple(table))])
        return entry if isinstance(entry, str) else entry[0]
    if name == "room":
        rooms = vocab.EN_ROOMS if english else vocab.JA_ROOMS
        return rng.choice(rooms[rng.choice(vocab.ROOMS)])
    doors = vocab.EN_DOORS if english else vocab.JA_DOORS
    return rng.choice(doors[rng.choice(vocab.DOORS)])


def _field(name: str, rng: random.Random, language: str) -> str:
    """Fill one field of a topic template."""
    topics = _TOPICS[language]
    if name in ("device", "room", "door"):
        return _own(name, rng, language)
    if name == "number":
        return str(rng.choice((rng.randint(0, 12), rng.randint(0, 100), rng.randint(0, 5000))))
    if name == "when":
        return rng.choice(topics.WHENS)
    if name == "word":
        known = (*lexicon.GOODS[language], *lexicon.LABELS[language], *topics.APPLIANCES)
        return free_text.invented(rng, language) if rng.random() < 0.6 else rng.choice(known)
    lists = {
        "person": lexicon.PEOPLE[language],
        "thing": lexicon.GOODS[language],
        "place": topics.PLACES,
        "appliance": topics.APPLIANCES,
        "annex": topics.ANNEXES,
    }
    invented = free_text.invented(rng, language) if rng.random() < 0.25 else ""
    return invented or rng.choice(lists[name])


def _fill(template: str, rng: random.Random, language: str) -> str:
    return " ".join(_FIELD.sub(lambda m: _field(m[1], rng, language), template).split())


def _topic(rng: random.Random, language: str) -> tuple[str, str]:
    """Return a text about a topic, and the reason to decline it."""
    topics = _TOPICS[language]
    reason = rng.choices(tuple(_TOPIC_WEIGHTS), tuple(_TOPIC_WEIGHTS.values()))[0]
    table = {
        "unsupported": topics.UNSUPPORTED,
        "unclear": topics.UNCLEAR,
        "unsafe": topics.UNSAFE,
    }[reason]
    text = _fill(rng.choice(table), rng, language)
    text = rng.choice(topics.FRONTS) + text
    if text[-1] not in "？?":
        text += rng.choice(topics.BACKS)
    if language == "ja" and rng.random() < 0.25:
        text = text.replace("して", rng.choice(("してください", "してくれる？", "してほしい")), 1)
        text = text.replace("教えて", rng.choice(("教えてください", "教えてくれますか")), 1)
    if language == "ja" and rng.random() < 0.3:
        text = text.rstrip("？").replace("は？", "は")
    if language == "en":
        text = text[0].upper() + text[1:] if rng.random() < 0.4 else text
        text += rng.choice(("", "", "?", "."))
    return text, reason


def _sentence(rng: random.Random, language: str) -> str:
    """Return a question or a statement of words thrown together, grammatical but about anything."""
    words = sentences.WORDS[language]
    template = rng.choice(sentences.TEMPLATES[language])

    def word(match: re.Match[str]) -> str:
        if match[1] in words:
            return rng.choice(words[match[1]])
        return _field(match[1], rng, language)

    text = " ".join(_FIELD.sub(word, template).split())
    return text[0].upper() + text[1:] if rng.random() < 0.4 else text


def _near_miss(rng: random.Random, language: str, realise: Realise) -> tuple[str, str]:
    """Return a request of the home with one thing that the home does not have or can't change."""
    topics = _TOPICS[language]
    while True:
        intent = sample_intent(rng, language)
        slots = dict(intent.slots)
        able = [k for k in ("room", "device", "door", "color", "genre", "scene") if k in slots]
        if intent.action in _MISFITS and rng.random() < 0.4:
            slot = "door" if intent.action == "lock" else "device"
            slots[slot] = rng.choice(_MISFITS[intent.action])
        elif able and slots.get("room") != "all":
            slot = rng.choice(able)
            known = topics.SCENERY.get(slot) or (
                topics.ANNEXES if slot == "room" else topics.APPLIANCES
            )
            foreign = rng.random() < 0.4
            slots[slot] = free_text.invented(rng, language) if foreign else rng.choice(known)
        else:
            continue
        return realise(Intent(intent.action, slots), rng), "unsupported"


def _impossible(rng: random.Random, language: str, realise: Realise) -> tuple[str, str]:
    """Return a request with a value out of range (over 30 °C, over 100 %, ...)."""
    values = {
        "set_temperature": rng.choice((rng.randint(32, 99), rng.randint(0, 8))),
        "set_brightness": rng.randint(101, 999),
        "set_volume": rng.randint(101, 999),
        "set_position": rng.randint(101, 999),
        "set_fan_speed": rng.randint(10, 99),
    }
    while True:
        intent = sample_intent(rng, language)
        if intent.action in values:
            slots = intent.slots | {"value": values[intent.action]}
            return realise(Intent(intent.action, slots), rng), "unsupported"


def _two(rng: random.Random, language: str, realise: Realise) -> tuple[str, str]:
    """Return two requests in one sentence."""
    texts: list[str] = []
    while len(texts) < 2:
        intent = sample_intent(rng, language)
        if intent.action not in ("add_reminder", "add_to_list", "set_timer"):
            texts.append(realise(intent, rng).rstrip(".!?。！？"))
    joint = rng.choice((" and ", " and then ", ", then ", " and also ", ", and "))
    if language == "ja":
        joint = rng.choice(("、それから", "、あと", "、そして", "、それと"))
    return joint.join(texts), "unsupported"


def _gibberish(rng: random.Random, language: str) -> tuple[str, str]:
    """Return text without a meaning: keys hit at random, invented words, signs."""
    kind = rng.random()
    if kind < 0.35:
        letters = rng.choice(_ALPHABETS)
        return "".join(
            rng.choice(letters) for _ in range(rng.randint(1, 24))
        ).strip() or "?", "unclear"
    if kind < 0.45:
        return "".join(rng.choice(_EMOJI) for _ in range(rng.randint(1, 5))), "unclear"
    words = [free_text.invented(rng, language) for _ in range(rng.randint(1, 8))]
    return (" " if language == "en" else "").join(words) + rng.choice(("", "?", "")), "unclear"


def _foreign(rng: random.Random) -> tuple[str, str]:
    """Return a sentence in a language that the model does not speak, or parts of two."""
    words = rng.choice(out_of_scope_en.FOREIGN).split(" ")
    if rng.random() < 0.5:
        words = [w for w in words if rng.random() < 0.8] or words
    if rng.random() < 0.3:
        words.insert(rng.randint(0, len(words)), free_text.latin_word(rng))
    if rng.random() < 0.3:
        words += rng.choice(out_of_scope_en.FOREIGN).split(" ")
    return " ".join(words), "unclear"


def sample_out_of_scope(rng: random.Random, language: str, realise: Realise) -> tuple[str, Intent]:
    """Draw a request to decline: its text and its answer, with the reason."""
    kind = rng.choices(_KINDS, _KIND_WEIGHTS)[0]
    if kind == "topic":
        text, reason = _topic(rng, language)
    elif kind == "sentence":
        text, reason = _sentence(rng, language), "unsupported"
    elif kind == "near_miss":
        text, reason = _near_miss(rng, language, realise)
    elif kind == "two":
        text, reason = _two(rng, language, realise)
    elif kind == "impossible":
        text, reason = _impossible(rng, language, realise)
    elif kind == "gibberish":
        text, reason = _gibberish(rng, language)
    else:
        text, reason = _foreign(rng)
    return text, Intent(DECLINE, {"reason": reason})
