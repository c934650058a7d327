"""What a request can mean: the action schema, its canonical JSON, and the train/test split.

A request's meaning is an :class:`Intent`, an action with slots. Its canonical compact JSON is the
label the model has to write, and that same string is the *semantic tuple* that the split hashes, so
"this combination never occurs in training" has one exact definition for both languages.
"""

from __future__ import annotations

import hashlib
import json
import random
import re
from collections.abc import Callable
from dataclasses import dataclass

import free_text
import lexicon
import vocabulary as vocab

LANGUAGES = ("en", "ja")
SPLITS = ("train", "dev", "test")

# The keys of an answer always appear in this order, whatever the word order of the request.
SLOT_ORDER = (
    "room",
    "device",
    "door",
    "scene",
    "genre",
    "mode",
    "color",
    "value",
    "task",
    "item",
    "count",
    "label",
    "hours",
    "minutes",
    "seconds",
    "day",
    "time",
    "delay_minutes",
    "reason",
)
DECLINE = "decline"
# Why a request is declined: the home can't do it; what is meant stays open (or isn't readable, or
# is in another language); or someone could get hurt.
REASONS = ("unsupported", "unclear", "unsafe")

Slot = str | int | float
Slots = dict[str, Slot]

# Of 100 hash buckets, the first go to the test set and the next to the development set.
_TEST_BUCKETS = 10
_DEV_BUCKETS = 3


FREE_TEXT_SLOTS = {"task", "item", "label"}
_UNSEEN = re.compile(
    "|".join(rf"\b{word}\b" for word in lexicon.UNSEEN["en"]) + "|" + "|".join(lexicon.UNSEEN["ja"])
)


def has_unseen_word(text: str) -> bool:
    """Whether a text has a word that is reserved for the test set."""
    return _UNSEEN.search(text.lower()) is not None


@dataclass(frozen=True)
class Intent:
    """One meaning: an action and its slots (only those that the request mentions)."""

    action: str
    slots: Slots

    def to_json(self) -> str:
        """Return the canonical compact JSON, which is also the semantic tuple."""
        ordered = {key: self.slots[key] for key in SLOT_ORDER if key in self.slots}
        answer = {"action": self.action, **ordered}
        return json.dumps(answer, ensure_ascii=False, separators=(",", ":"))

    def split(self) -> str:
        """Return the split this meaning belongs to, a pure function of the semantic tuple.

        Words that training must not contain decide first. The shortest meanings ("stop the music",
        "turn on the lamp") always belong to training: nothing shorter could teach them.
        """
        if has_unseen_word(self.to_json()):
            return "test"
        if len(self.slots) < 2 and not self.slots.keys() & FREE_TEXT_SLOTS:
            return "train"
        digest = hashlib.sha256(self.to_json().encode("utf-8")).digest()
        bucket = int.from_bytes(digest[:8], "big") % 100
        if bucket < _TEST_BUCKETS:
            return "test"
        return "dev" if bucket < _TEST_BUCKETS + _DEV_BUCKETS else "train"


def clock(minute_of_day: int) -> str:
    """Format a minute of the day as the 24-hour "HH:MM" of the labels."""
    return f"{minute_of_day // 60:02d}:{minute_of_day % 60:02d}"


def minute_of_day(time: str) -> int:
    """Read an "HH:MM" of a label back into minutes since midnight."""
    return int(time[:2]) * 60 + int(time[3:])


def _random_time(rng: random.Random) -> str:
    """Draw a time; people mostly say whole, half and quarter hours."""
    hour = rng.randrange(24)
    minute = rng.choice(
        (0, 0, 0, 30, 30, 15, 45, 5 * rng.randrange(12), 5 * rng.randrange(12), rng.randrange(60))
    )
    return clock(hour * 60 + minute)


def _schedule(rng: random.Random) -> Slots:
    """Draw the optional schedule of a device action."""
    kind = rng.choices(("now", "time", "day_time", "day", "delay"), (42, 18, 20, 6, 14))[0]
    slots: Slots = {}
    if kind in ("day", "day_time"):
        slots["day"] = rng.choice(vocab.DAYS)
    if kind in ("time", "day_time"):
        slots["time"] = _random_time(rng)
    if kind == "delay":
        slots["delay_minutes"] = rng.choice(vocab.DELAYS)
    return slots


def _alarm_time(rng: random.Random) -> Slots:
    """Draw the schedule of an alarm, which always has a time."""
    day: Slots = {"day": rng.choice(vocab.DAYS)} if rng.random() < 0.7 else {}
    return {**day, "time": _random_time(rng)}


def _room(rng: random.Random, probability: float = 0.85, allow_all: bool = False) -> Slots:
    """Draw an optional room, or "all" where an action can address the whole house."""
    if rng.random() >= probability:
        return {}
    if allow_all and rng.random() < 0.08:
        return {"room": "all"}
    return {"room": rng.choice(vocab.ROOMS)}


def _percent(rng: random.Random) -> int:
    """Draw a percentage from 1 to 100, round ones more often."""
    return rng.choice((10 * rng.randint(1, 10), 5 * rng.randint(1, 20), rng.randint(1, 100)))


def _switch(rng: random.Random, language: str) -> Slots:
    del language
    return {
        **_room(rng, allow_all=True),
        "device": rng.choice(vocab.LIGHTS + vocab.APPLIANCES + vocab.SWITCHED_SOUND),
        **_schedule(rng),
    }


def _brightness(rng: random.Random, language: str) -> Slots:
    del language
    return {
        **_room(rng, allow_all=True),
        "device": rng.choice(vocab.LIGHTS),
        "value": _percent(rng),
        **_schedule(rng),
    }


def _color(rng: random.Random, language: str) -> Slots:
    del language
    return {
        **_room(rng, allow_all=True),
        "device": rng.choice(vocab.LIGHTS),
        "color": rng.choice(vocab.COLORS),
        **_schedule(rng),
    }


def _temperature(rng: random.Random, language: str) -> Slots:
    del language
    doubled = rng.randint(20, 60)
    if rng.random() < 0.6:
        doubled -= doubled % 2
    value = doubled // 2 if doubled % 2 == 0 else doubled / 2
    return {**_room(rng), "value": value, **_schedule(rng)}


def _cover(rng: random.Random, language: str) -> Slots:
    del language
    return {**_room(rng, allow_all=True), "device": rng.choice(vocab.COVERS), **_schedule(rng)}


def _position(rng: random.Random, language: str) -> Slots:
    return {**_cover(rng, language), "value": _percent(rng)}


def _fan(rng: random.Random, language: str) -> Slots:
    del language
    return {**_room(rng), "value": rng.randint(1, 9), **_schedule(rng)}


def _alarm(rng: random.Random, language: str) -> Slots:
    del language
    return _alarm_time(rng)


def _timer(rng: random.Random, language: str) -> Slots:
    slots: Slots = {}
    kind = rng.choices(("h", "m", "s", "hm", "ms"), (15, 45, 10, 20, 10))[0]
    if "h" in kind:
        slots["hours"] = rng.randint(1, 12)
    if "m" in kind:
        slots["minutes"] = rng.randint(1, 59) if len(kind) == 2 else rng.randint(1, 99)
    if "s" in kind:
        slots["seconds"] = 5 * rng.randint(1, 11) if kind == "ms" else rng.randint(5, 90)
    if rng.random() < 0.6:
        slots["label"] = free_text.label(rng, language)
    return slots


def _music(rng: random.Random, language: str) -> Slots:
    del language
    genre: Slots = {"genre": rng.choice(vocab.GENRES)} if rng.random() < 0.9 else {}
    return {**_room(rng, allow_all=True), **genre, **_schedule(rng)}


def _stop_music(rng: random.Random, language: str) -> Slots:
    del language
    return {**_room(rng, allow_all=True), **_schedule(rng)}


def _volume(rng: random.Random, language: str) -> Slots:
    del language
    return {
        **_room(rng),
        "device": rng.choice(vocab.SOUND_DEVICES),
        "value": _percent(rng),
        **_schedule(rng),
    }


def _door(rng: random.Random, language: str) -> Slots:
    del language
    return {"door": rng.choice(vocab.DOORS), **_schedule(rng)}


def _vacuum(rng: random.Random, language: str) -> Slots:
    del language
    mode: Slots = {"mode": rng.choice(vocab.VACUUM_MODES)} if rng.random() < 0.4 else {}
    return {**_room(rng, allow_all=True), **mode, **_schedule(rng)}


def _scene(rng: random.Random, language: str) -> Slots:
    del language
    return {**_room(rng, 0.5), "scene": rng.choice(vocab.SCENES), **_schedule(rng)}


def _reminder(rng: random.Random, language: str) -> Slots:
    schedule = _schedule(rng)
    return {"task": free_text.reminder_task(rng, language), **schedule}


def _list_item(rng: random.Random, language: str) -> Slots:
    count: Slots = {"count": rng.randint(2, 24)} if rng.random() < 0.7 else {}
    return {"item": free_text.item(rng, language), **count}


_SAMPLERS: dict[str, tuple[float, Callable[[random.Random, str], Slots]]] = {
    "turn_on": (1.4, _switch),
    "turn_off": (1.4, _switch),
    "set_brightness": (1.4, _brightness),
    "set_color": (1.0, _color),
    "set_temperature": (1.2, _temperature),
    "set_fan_speed": (0.8, _fan),
    "open": (0.8, _cover),
    "close": (0.8, _cover),
    "set_position": (0.9, _position),
    "set_alarm": (1.3, _alarm),
    "cancel_alarm": (0.7, _alarm),
    "set_timer": (1.6, _timer),
    "play_music": (1.0, _music),
    "stop_music": (0.6, _stop_music),
    "set_volume": (1.0, _volume),
    "lock": (0.7, _door),
    "unlock": (0.7, _door),
    "start_vacuum": (0.9, _vacuum),
    "set_scene": (0.9, _scene),
    "add_reminder": (3.0, _reminder),
    "add_to_list": (2.2, _list_item),
}

ACTIONS = tuple(_SAMPLERS)  # without "decline"
_WEIGHTS = tuple(weight for weight, _ in _SAMPLERS.values())


def sample_intent(rng: random.Random, language: str) -> Intent:
    """Draw one meaning; free-text slots (task, item, label) are in the language of the request."""
    action = rng.choices(ACTIONS, _WEIGHTS)[0]
    return Intent(action, _SAMPLERS[action][1](rng, language))
