"""English numbers, times and days.

Times follow these rules, so that every phrase has exactly one reading:

* a bare 12-hour time is the one between 01:00 and 12:59 ("at nine" = 09:00, "at twelve" = 12:00);
* "am"/"pm" are as on a clock (12 am = 00:xx, 12 pm = 12:xx);
* "morning" = 01:00-11:59, "afternoon" = 12:00-17:59, "evening" = 17:00-23:59 and
  "at night" = 20:00-23:59; "tonight" is this evening; "noon" = 12:00 and "midnight" = 00:00;
* digits with a zero-padded hour, or an hour from 13 on, are a 24-hour clock.
"""

from __future__ import annotations

import random

import vocabulary as vocab
from semantics import Slots, clock, minute_of_day

_ONES = (
    *("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"),
    *("eleven", "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen"),
    "nineteen",
)
_TENS = ("", "", "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")

# Day parts as half-open ranges in minutes since midnight.
_DAYPARTS = {
    "morning": (60, 720),
    "afternoon": (720, 1080),
    "evening": (1020, 1440),
    "night": (1200, 1440),
}
_FIXED_DELAYS = {
    30: ("half an hour", "30 minutes", "thirty minutes"),
    60: ("an hour", "one hour", "1 hour", "60 minutes", "sixty minutes"),
    90: ("an hour and a half", "90 minutes", "one and a half hours"),
    120: ("two hours", "2 hours", "120 minutes"),
    150: ("two and a half hours", "2.5 hours"),
    180: ("three hours", "3 hours"),
}


def words(number: int, rng: random.Random | None = None) -> str:
    """Spell a number from 0 to 100; the hyphen of "thirty-five" is optional."""
    if number < 20:
        return _ONES[number]
    if number == 100:
        return "a hundred" if rng is None or rng.random() < 0.5 else "one hundred"
    if number % 10 == 0:
        return _TENS[number // 10]
    hyphen = "-" if rng is None or rng.random() < 0.5 else " "
    return f"{_TENS[number // 10]}{hyphen}{_ONES[number % 10]}"


def number(value: int, rng: random.Random) -> str:
    """Write a number as digits or as words."""
    return str(value) if value > 100 or rng.random() < 0.5 else words(value, rng)


def percent(value: int, rng: random.Random) -> str:
    """Write a percentage in one of the usual ways."""
    unit = rng.choice(("%", " percent", " percent", " per cent"))
    return f"{value}%" if unit == "%" else f"{number(value, rng)}{unit}"


def duration(slots: Slots, rng: random.Random) -> str:
    """Write a timer's hours, minutes and seconds."""
    if slots.get("hours") == 1 and slots.get("minutes") == 30 and rng.random() < 0.5:
        return "an hour and a half"
    only_minutes = not slots.keys() & {"hours", "seconds"}
    if only_minutes and slots["minutes"] == 30 and rng.random() < 0.3:
        return "half an hour"
    parts = []
    for key, short in (("hours", "h"), ("minutes", "min"), ("seconds", "sec")):
        if key not in slots:
            continue
        value = int(slots[key])
        unit = key if value != 1 else key[:-1]
        if rng.random() < 0.12:
            parts.append(f"{value} {short}")
        else:
            parts.append(f"{number(value, rng)} {unit}")
    return rng.choice((" and ", " ")).join(parts)


def _delay(minutes: int, rng: random.Random) -> str:
    if minutes in _FIXED_DELAYS:
        phrase = rng.choice(_FIXED_DELAYS[minutes])
    else:
        phrase = f"{number(minutes, rng)} {'minute' if minutes == 1 else 'minutes'}"
    return rng.choice(("in {}", "in {}", "{} from now")).format(phrase)


def _twelve_hour(time: int, rng: random.Random) -> tuple[str, bool]:
    """Write a time on the 12-hour clock; also say whether it is a "to twelve" form."""
    hour, minute = time // 60 % 12 or 12, time % 60
    spell = rng.random() < 0.55
    this = words(hour) if spell else str(hour)
    following = words(hour % 12 + 1) if spell else str(hour % 12 + 1)
    forms: list[tuple[str, bool]] = []
    if minute == 0:
        forms += [(this, False), (this, False), (f"{this} o'clock", False)]
    else:
        tail = f"oh {words(minute)}" if minute < 10 else words(minute, rng)
        forms.append((f"{words(hour)} {tail}", False))
    forms.append((f"{hour}:{minute:02d}", False))
    if minute in (15, 30):
        forms.append((f"{'quarter' if minute == 15 else 'half'} past {this}", False))
    elif minute == 45:
        forms.append((f"{rng.choice(('quarter', 'a quarter'))} to {following}", hour == 11))
    elif minute % 5 == 0 and minute:
        gap = minute if minute < 30 else 60 - minute
        amount = words(gap) if spell else str(gap)
        past = minute < 30
        forms.append((f"{amount} {'past' if past else 'to'} {this if past else following}", False))
        forms[-1] = (forms[-1][0], not past and hour == 11)
    return rng.choice(forms)


def _marked_time(time: int, rng: random.Random) -> str:
    """Write a time on its own, with everything needed to read it unambiguously."""
    if time in (0, 720) and rng.random() < 0.5:
        return "noon" if time else "midnight"
    hour = time // 60
    if rng.random() < 0.15 and (hour < 10 or hour >= 13):
        return clock(time)
    phrase, to_twelve = _twelve_hour(time, rng)
    options = ["bare"] * 3 if 60 <= time < 780 else []
    options += [part for part, (start, end) in _DAYPARTS.items() if start <= time < end]
    if not to_twelve and "o'clock" not in phrase:
        # "ten to twelve pm" would not be clear, so those forms go without am/pm.
        options += ["ampm"] * 2
    if not options:
        return clock(time)
    option = rng.choice(options)
    if option == "bare":
        return phrase
    if option == "ampm":
        suffix = rng.choice((" am", " am", " a.m.", "am")) if hour < 12 else None
        suffix = suffix or rng.choice((" pm", " pm", " p.m.", "pm"))
        return f"{phrase}{suffix if phrase[-1].isdigit() else ' ' + suffix.strip()}"
    return f"{phrase} at night" if option == "night" else f"{phrase} in the {option}"


def _day_with_part(day: str, part: str) -> str | None:
    """Return a day that names the part of the day ("tomorrow morning"), if there is one."""
    if day == "today":
        return "tonight" if part in ("evening", "night") else f"this {part}"
    if day == "every_day":
        return f"every {part}"
    if day == "tomorrow":
        return f"tomorrow {part}"
    return f"on {day} {part}" if day in vocab.WEEKDAY_NAMES else None


def _day_and_time(day: str, time: int, rng: random.Random) -> tuple[str, str]:
    """Return the day and the time phrase (without "at")."""
    parts = [part for part, (start, end) in _DAYPARTS.items() if start <= time < end]
    if parts and rng.random() < 0.4:
        merged = _day_with_part(day, rng.choice(parts))
        if merged is not None:
            return merged, _twelve_hour(time, rng)[0]
    return rng.choice(vocab.EN_DAYS[day]), _marked_time(time, rng)


def schedule(slots: Slots, rng: random.Random, preposition: str = "at") -> list[str]:
    """Return the schedule as zero, one or two adverbials, in a natural order.

    With the preposition "for" ("set an alarm for friday at nine") the first one gets it.
    """
    if "delay_minutes" in slots:
        return [_delay(int(slots["delay_minutes"]), rng)]
    if "time" not in slots:
        return [rng.choice(vocab.EN_DAYS[str(slots["day"])])] if "day" in slots else []
    time = minute_of_day(str(slots["time"]))
    if "day" not in slots:
        return [f"{preposition} {_marked_time(time, rng)}"]
    day_phrase, time_phrase = _day_and_time(str(slots["day"]), time, rng)
    if day_phrase == "daily" or rng.random() < 0.5:
        return [f"{preposition} {time_phrase}", day_phrase]
    if preposition == "for":
        day_phrase = f"for {day_phrase.removeprefix('on ')}"
    return [day_phrase, f"at {time_phrase}"]
