"""Japanese numbers, times and days.

Times follow these rules, so that every phrase has exactly one reading:

* a bare time is on the 24-hour clock (7時 = 07:00, 19時 = 19:00);
* 午前 / 午後 are as on a clock (午後0時 = 12:00);
* 朝 is 04:00-10:59, 昼 is 12:00-15:59 (昼の1時 = 13:00), 夕方 is 16:00-18:59,
  夜 is 18:00-23:59 and 深夜 is 00:00-03:59; 正午 = 12:00; 今夜 / 今晩 are 夜 of today;
* "7時10分前" is ten minutes before seven.
"""

from __future__ import annotations

import random

import vocabulary as vocab
from semantics import Slots, minute_of_day

_DIGITS = "〇一二三四五六七八九"
_FULL_WIDTH = str.maketrans("0123456789.:", "０１２３４５６７８９．：")

# Day parts: half-open range in minutes, and how many hours the spoken hour leaves out.
_DAYPARTS = {
    "午前": (0, 720, 0),
    "午後": (720, 1440, 12),
    "朝": (240, 660, 0),
    "夕方": (960, 1140, 12),
    "夜": (1080, 1440, 12),
    "深夜": (0, 240, 0),
}
_JOINED_DAYS = {
    ("today", "朝"): ("今朝",),
    ("today", "夜"): ("今夜", "今晩"),
    ("tomorrow", "朝"): ("明日の朝", "あしたの朝"),
    ("every_day", "朝"): ("毎朝",),
    ("every_day", "夜"): ("毎晩",),
}


def kanji(value: int) -> str:
    """Spell a number from 0 to 999 in kanji."""
    if value == 0:
        return "零"
    hundreds, tens, ones = value // 100, value // 10 % 10, value % 10
    text = ("" if hundreds < 2 else _DIGITS[hundreds]) + "百" if hundreds else ""
    text += (("" if tens == 1 else _DIGITS[tens]) + "十") if tens else ""
    return text + (_DIGITS[ones] if ones else "")


class Numerals:
    """One way of writing numbers, kept through a request as people do."""

    def __init__(self, rng: random.Random) -> None:
        self.style = rng.choices(("half", "full", "kanji"), (55, 12, 33))[0]

    def write(self, value: float) -> str:
        """Write a whole number, or one ending in .5 (in kanji only as 点五)."""
        if self.style == "kanji":
            whole = kanji(int(value))
            return whole if value == int(value) else f"{whole}点五"
        text = str(value)
        return text.translate(_FULL_WIDTH) if self.style == "full" else text

    def percent(self, value: int, rng: random.Random) -> str:
        """Write a percentage."""
        if self.style == "kanji" or rng.random() < 0.4:
            return f"{self.write(value)}パーセント"
        return f"{self.write(value)}{'％' if self.style == 'full' else '%'}"

    def clock(self, hour: int, minute: int, rng: random.Random) -> str:
        """Write an hour (already reduced to its day part) and a minute."""
        if minute == 0:
            return f"{self.write(hour)}時{'ちょうど' if rng.random() < 0.1 else ''}"
        if minute == 30 and rng.random() < 0.6:
            return f"{self.write(hour)}時半"
        return f"{self.write(hour)}時{self.write(minute)}分"


def duration(slots: Slots, numerals: Numerals, rng: random.Random) -> str:
    """Write a timer's hours, minutes and seconds."""
    if "hours" in slots and slots.get("minutes") == 30 and rng.random() < 0.5:
        return f"{numerals.write(int(slots['hours']))}時間半"
    units = (("hours", "時間"), ("minutes", "分"), ("seconds", "秒"))
    return "".join(numerals.write(int(slots[key])) + unit for key, unit in units if key in slots)


def _delay(minutes: int, numerals: Numerals, rng: random.Random) -> str:
    if minutes < 60 or rng.random() < 0.25:
        return f"{numerals.write(minutes)}分後"
    half = "半" if minutes % 60 else ""
    return f"{numerals.write(minutes // 60)}時間{half}後"


def _time_in_part(time: int, part: str, numerals: Numerals, rng: random.Random) -> str:
    """Write a time whose part of the day is said before it; the "X分前" form stays inside it."""
    start, end, offset = _DAYPARTS[part]
    hour, minute = time // 60, time % 60
    before = 60 - minute
    if minute in (45, 50, 55) and rng.random() < 0.3 and start <= (hour + 1) * 60 < end:
        return f"{numerals.write(hour + 1 - offset)}時{numerals.write(before)}分前"
    return numerals.clock(hour - offset, minute, rng)


def _bare_time(time: int, numerals: Numerals, rng: random.Random) -> str:
    """Write a time on the 24-hour clock."""
    hour, minute = time // 60, time % 60
    if rng.random() < 0.12 and numerals.style != "kanji":
        digits = f"{hour}:{minute:02d}"
        return digits.translate(_FULL_WIDTH) if numerals.style == "full" else digits
    if minute in (45, 50, 55) and hour < 23 and rng.random() < 0.2:
        return f"{numerals.write(hour + 1)}時{numerals.write(60 - minute)}分前"
    return numerals.clock(hour, minute, rng)


def _time(time: int, numerals: Numerals, rng: random.Random) -> str:
    """Write a time on its own, with everything needed to read it unambiguously."""
    if time == 720 and rng.random() < 0.5:
        return "正午"
    if 720 <= time < 960 and rng.random() < 0.15:
        hour = time // 60
        return f"昼の{numerals.clock(hour - 12 if hour > 12 else 12, time % 60, rng)}"
    parts = [part for part, (start, end, _) in _DAYPARTS.items() if start <= time < end]
    if rng.random() < 0.3:
        return _bare_time(time, numerals, rng)
    part = rng.choice(parts)
    linker = "の" if part[0] not in "午" and rng.random() < 0.2 else ""
    return f"{part}{linker}{_time_in_part(time, part, numerals, rng)}"


def _day_and_time(day: str, time: int, numerals: Numerals, rng: random.Random) -> str:
    if rng.random() < 0.4:
        parts = [p for p, (start, end, _) in _DAYPARTS.items() if start <= time < end]
        joined = [(p, _JOINED_DAYS[day, p]) for p in parts if (day, p) in _JOINED_DAYS]
        if joined:
            part, phrases = rng.choice(joined)
            link = rng.choice(("", "の", ""))
            return f"{rng.choice(phrases)}{link}{_time_in_part(time, part, numerals, rng)}"
    link = rng.choice(("", "の", "の", "、"))
    return f"{rng.choice(vocab.JA_DAYS[day])}{link}{_time(time, numerals, rng)}"


def schedule(slots: Slots, numerals: Numerals, rng: random.Random) -> str:
    """Return the schedule without a particle ("明日の朝7時"), or ""."""
    if "delay_minutes" in slots:
        return _delay(int(slots["delay_minutes"]), numerals, rng)
    if "time" not in slots:
        return rng.choice(vocab.JA_DAYS[str(slots["day"])]) if "day" in slots else ""
    time = minute_of_day(str(slots["time"]))
    if "day" not in slots:
        return _time(time, numerals, rng)
    return _day_and_time(str(slots["day"]), time, numerals, rng)
