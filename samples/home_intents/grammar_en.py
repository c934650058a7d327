"""English surface forms: turns an intent into one of many ways a person would say it."""

from __future__ import annotations

import random
import re

import clock_en
import free_text
import vocabulary as vocab
from phrases_en import CLOSERS, IMPERATIVES, OPENERS, POLITE, REMINDERS, STATEMENTS, TIMERS, VACUUMS
from semantics import Intent, Slots

# "set the thermostat to 21": the unit goes without saying
_UNIT = re.compile(
    r"(?<=^)(.*(?:temperature|thermostat|heating|heater|\bac\b).* to .*?)(?: degrees| degrees celsius)$"
)
_NAMED_VALUES = {
    "color": vocab.EN_COLORS,
    "genre": vocab.EN_GENRES,
    "scene": vocab.EN_SCENES,
}


def _place(slots: Slots, rng: random.Random) -> tuple[str, str]:
    """Return the room as a noun modifier and as a locative ("in the kitchen"), or two ""."""
    if "room" not in slots:
        return "", ""
    if slots["room"] == "all":
        return "", rng.choice((" in every room", " everywhere", " in the whole house"))
    name = str(slots["room"])
    room = rng.choice(vocab.EN_ROOMS.get(name, (name,)))
    preposition = "on" if room in ("balcony", "porch") else "in"
    return room, f" {preposition} the {room}"


def _device(slots: Slots, rng: random.Random) -> tuple[str, str]:
    """Return the device with its room, and a locative to move to the front (often "")."""
    device = str(slots["device"])
    singular, plural = rng.choice(vocab.EN_DEVICES.get(device, ((device, f"{device}s"),)))
    room, locative = _place(slots, rng)
    if slots.get("room") == "all":
        everywhere = (
            f"all the {plural}",
            f"every {singular} in the house",
            f"the {plural}{locative}",
        )
        return rng.choice(everywhere), ""
    name = plural if rng.random() < 0.35 else singular
    if not room:
        return f"{rng.choice(('the', 'the', 'the', 'my'))} {name}", ""
    style = rng.random()
    if style < 0.55:
        return f"the {room} {name}", ""
    if style < 0.85:
        return f"the {name}{locative}", ""
    return f"the {name}", locative.strip()


def _temperature(value: float, rng: random.Random) -> str:
    unit = rng.choice((" degrees", " degrees", " degrees celsius", "°C", "°"))
    if unit[0] == "°" or rng.random() < 0.5:
        return f"{value:g}{unit}"
    spelled = clock_en.words(int(value), rng)
    if value != int(value):
        spelled += rng.choice((" and a half", " point five"))
    return f"{spelled}{unit}"


def _quantity(intent: Intent, rng: random.Random) -> str:
    """Return the words for the numeric value of the action."""
    value = intent.slots["value"]
    if intent.action == "set_temperature":
        return _temperature(float(value), rng)
    if intent.action == "set_fan_speed" or (intent.action == "set_volume" and rng.random() < 0.6):
        return clock_en.number(int(value), rng)
    return clock_en.percent(int(value), rng)


def _value(intent: Intent, rng: random.Random) -> str:
    """Return the words for the value of the action, whatever its kind ("" if it has none)."""
    slots = intent.slots
    for key, table in _NAMED_VALUES.items():
        if key in slots:
            return rng.choice(table.get(str(slots[key]), (str(slots[key]),)))
    if "item" in slots:
        count = f"{clock_en.number(int(slots['count']), rng)} " if "count" in slots else ""
        return f"{count}{free_text.spoken(str(slots['item']), rng)}"
    if intent.action == "play_music":
        return "music"
    return _quantity(intent, rng) if "value" in slots else ""


def _timer(slots: Slots, rng: random.Random, kind: str) -> str:
    label = free_text.spoken(str(slots.get("label", "")), rng)
    templates = [t for t in TIMERS[kind] if "{m}" not in t or label]
    after = rng.choice((f" for the {label}", f" for {label}", f" called {label}")) if label else ""
    article = "n" if label[:1] in tuple("aeiou") else ""
    text = rng.choice(templates).format(
        d=clock_en.duration(slots, rng), l=after, m=f"{article} {label}"
    )
    if rng.random() < 0.7:
        # "a ten minute timer", "a 10-minute timer"
        link = rng.choice((" ", " ", "-"))
        text = re.sub(r"(\w+) (hour|minute|second)s timer", rf"\1{link}\2 timer", text)
    return text


def _vacuum(slots: Slots, rng: random.Random, kind: str) -> str:
    room, locative = _place(slots, rng)
    direct = f" the {room}" if room else rng.choice((" every room", " the whole house"))
    if "room" not in slots:
        templates = [t for t in VACUUMS[kind] if "{i}" in t] or ["i want the vacuum to run{m}"]
    else:
        templates = list(VACUUMS[kind])
    mode = ""
    if "mode" in slots:
        name = rng.choice(vocab.EN_MODES[str(slots["mode"])])
        mode = rng.choice((f" in {name} mode", f" on {name}", f" using {name} mode"))
    if slots.get("mode") == "mop" and rng.random() < 0.4:
        return f"mop{direct}"
    return rng.choice(templates).format(r=direct, i=locative, m=mode)


def _core(intent: Intent, rng: random.Random, kind: str) -> tuple[str, str]:
    """Return the clause without its schedule, and a locative to put in front (often "")."""
    slots = intent.slots
    if intent.action == "set_timer":
        return _timer(slots, rng, kind), ""
    if intent.action == "start_vacuum":
        return _vacuum(slots, rng, kind), ""
    thing, front = "", ""
    if "device" in slots:
        thing, front = _device(slots, rng)
    elif "door" in slots:
        door = str(slots["door"])
        thing = f"the {rng.choice(vocab.EN_DOORS.get(door, (door,)))}"
    room, locative = _place(slots, rng) if "device" not in slots else ("", "")
    if locative and slots["room"] != "all" and rng.random() < 0.1:
        room, locative, front = "", "", locative.strip()
    templates = (IMPERATIVES if kind == "imperative" else STATEMENTS)[intent.action]
    text = rng.choice(templates).format(
        t=thing,
        v=_value(intent, rng),
        r=locative,
        h=f" the {room}" if room else f" the place{locative}",
        w=free_text.spoken(str(slots.get("item", "")), rng),
        **{"at": "{at}", "for": "{for}"},
    )
    if intent.action == "set_temperature" and rng.random() < 0.3:
        text = _UNIT.sub(r"\1", text)
    if front and rng.random() < 0.5:
        return f"{text} {front}", ""
    return text, front


def _clause(intent: Intent, rng: random.Random, kind: str) -> tuple[str, str]:
    """Return the clause with its schedule, and what goes in front of the whole request."""
    if intent.action == "add_reminder":
        adverbials = " ".join(clock_en.schedule(intent.slots, rng))
        text = rng.choice(REMINDERS[kind]).format(v=free_text.spoken(str(intent.slots["task"]), rng), s=adverbials)
        return " ".join(text.split()), ""
    text, front = _core(intent, rng, kind)
    if "{at}" in text or "{for}" in text:
        preposition = "for" if "{for}" in text else "at"
        adverbials = clock_en.schedule(intent.slots, rng, preposition)
        return text.replace(f"{{{preposition}}}", " ".join(adverbials)), ""
    adverbials = clock_en.schedule(intent.slots, rng)
    if front or not adverbials or rng.random() < 0.6:
        return " ".join((text, *adverbials)), front
    if len(adverbials) == 2 and rng.random() < 0.4:
        return f"{text} {adverbials[1]}", adverbials[0]
    return text, " ".join(adverbials)


def _casing(text: str, rng: random.Random) -> str:
    style = rng.random()
    if style < 0.62:
        return text
    if style < 0.95:
        return text[0].upper() + text[1:].replace(" i ", " I ").replace(" i'", " I'")
    return text.upper()


def realise(intent: Intent, rng: random.Random) -> str:
    """Say the intent in English, with its own word order, politeness, casing and punctuation."""
    slots_copy = bool(intent.slots.keys() & {"task", "item", "label"})
    kind = "statement" if rng.random() < 0.2 else "imperative"
    text, front = _clause(intent, rng, kind)
    if kind == "imperative" and rng.random() < 0.5:
        text = rng.choice(POLITE).format(text)
    if rng.random() < 0.12 and intent.action != "add_reminder":
        # Not in a reminder, whose own words are copied into the answer.
        text = text.replace(" the ", rng.choice((" uh the ", ", uh, the ", " um the ")), 1)
    if rng.random() < 0.1 and not slots_copy:
        text = re.sub(r"\bthe (?!day after)", "", text)
    if front:
        text = f"{front}{rng.choice((', ', ' '))}{text}"
    if rng.random() < 0.2:
        text = rng.choice(OPENERS) + text
    if rng.random() < 0.1 and "please" not in text:
        text += rng.choice(CLOSERS)
    question = any(word in text for word in ("could you", "can you", "would you"))
    ending = rng.choice(("?", "?", "") if question else (".", "", "", "!"))
    if text.endswith("."):
        ending = ""
    return _casing(text, rng) + ending
