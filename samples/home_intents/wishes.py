"""Indirect wishes ("I'm cold"): what a person says instead of naming a device.

A wish with one obvious wish behind it gets an action. Those that could mean several things, or that
the home can't fulfil, are in ``out_of_scope_en.py`` and ``out_of_scope_ja.py``.
"""

from __future__ import annotations

import random
from dataclasses import dataclass

import vocabulary as vocab
from semantics import Intent, Slots

# Kind of wish: the action that fulfils it, with its slots.
_MEANING: dict[str, tuple[str, Slots]] = {
    "cold": ("turn_on", {"device": "heater"}),
    "hot": ("turn_on", {"device": "air_conditioner"}),
    "dark": ("turn_on", {"device": "light"}),
    "dry": ("turn_on", {"device": "humidifier"}),
    "stuffy": ("turn_on", {"device": "air_purifier"}),
    "dirty": ("start_vacuum", {}),
    "coffee": ("turn_on", {"device": "coffee_maker"}),
    "leaving": ("set_scene", {"scene": "away"}),
    "bed": ("set_scene", {"scene": "good_night"}),
    "waking": ("set_scene", {"scene": "good_morning"}),
}
_EN = {
    "cold": (
        *("i'm cold", "i am cold", "it's cold{r}", "it's too cold{r}", "it's freezing{r}", "i'm freezing"),
        *("it's getting cold{r}", "it's a bit chilly{r}", "brr, it's cold{r}", "i feel cold", "we're cold"),
        *("my hands are freezing", "it feels like a fridge{r}", "i could use some heat{r}", "i'm shivering"),
        *("why is it so cold{r}", "warm it up{r}", "it's so cold{r}", "can we have some heating{r}"),
    ),
    "hot": (
        *("i'm hot", "it's hot{r}", "it's too hot{r}", "it's boiling{r}", "i'm sweating", "i'm too hot"),
        *("it's so warm{r}", "it's getting hot{r}", "it's like an oven{r}", "i feel hot", "we're melting"),
        *("it's too warm{r}", "cool it down{r}", "why is it so hot{r}", "i'm boiling", "it's roasting{r}"),
    ),
    "dark": (
        *("it's dark{r}", "it's too dark{r}", "i can't see anything{r}", "i can't see a thing{r}"),
        *("it's getting dark{r}", "it's pitch black{r}", "we need some light{r}", "i need more light{r}"),
        *("why is it so dark{r}", "let there be light{r}", "it's so dark{r}", "i need some light{r}"),
        *("it's a bit dark{r}", "it is too dark to read{r}", "give me some light{r}"),
    ),
    "dry": (
        *("the air is dry{r}", "the air is too dry{r}", "it's too dry{r}", "my throat is dry"),
        *("the air feels dry{r}", "my skin is so dry", "it's really dry{r}"),
    ),
    "stuffy": (
        *("the air is stuffy{r}", "it's dusty{r}", "it smells{r}", "it smells bad{r}", "it's smoky{r}"),
        *("the air is bad{r}", "it's stuffy{r}", "there's so much dust{r}", "my allergies are acting up"),
    ),
    "dirty": (
        *("the floor is dirty{r}", "there are crumbs everywhere{r}", "the floor is dusty{r}"),
        *("it's messy{r}", "the carpet is dirty{r}", "i spilled rice on the floor{r}"),
        *("there's cat hair everywhere{r}", "the floor needs cleaning{r}"),
    ),
    "coffee": (
        *("i need coffee", "i need a coffee", "i want coffee", "make me a coffee", "make some coffee"),
        *("coffee please", "i'd like a coffee", "i'd love a cup of coffee", "time for a coffee", "i could use a coffee"),
    ),
    "leaving": (
        *("i'm leaving", "i'm leaving the house", "i'm going out", "i'm off to work", "we're leaving"),
        *("i'm heading out", "bye, i'm leaving", "we're going out", "i'm off", "i'm leaving for work"),
    ),
    "bed": (
        *("i'm going to bed", "good night", "i'm off to bed", "we're going to sleep", "time for bed"),
        *("time to sleep", "i'm going to sleep", "it's bedtime", "night night", "heading to bed"),
    ),
    "waking": ("good morning", "i'm up", "i'm awake", "i just woke up", "rise and shine", "morning"),
}
_JA = {
    "cold": (
        *("{p}寒い", "{p}寒いな", "{p}寒すぎる", "{p}ちょっと寒い", "{p}寒いんだけど", "{p}冷えるね", "凍えそう"),
        *("{p}肌寒い", "{p}すごく寒いです", "{p}寒くない？", "{p}さむい", "{p}寒くてたまらない", "手が冷たい"),
        *("{p}冷えてきた", "{p}暖かくして", "{p}少し寒いですね"),
    ),
    "hot": (
        *("{p}暑い", "{p}暑いな", "{p}暑すぎる", "{p}ちょっと暑い", "{p}暑いんだけど", "{p}蒸し暑い", "汗が止まらない"),
        *("{p}暑くない？", "{p}あつい", "{p}すごく暑いです", "{p}暑くて眠れない", "{p}涼しくして", "{p}暑くなってきた"),
        *("{p}暑くてたまらない", "{p}少し暑いですね"),
    ),
    "dark": (
        *("{p}暗い", "{p}暗いな", "{p}暗すぎる", "{p}真っ暗だ", "{p}ちょっと暗い", "{p}暗くて見えない", "何も見えない"),
        *("{p}暗いんだけど", "{p}暗くなってきた", "{p}明るくして", "{p}暗くない？", "{p}くらい", "{p}暗くて本が読めない"),
        *("{p}少し暗いですね",),
    ),
    "dry": (
        *("{p}乾燥してる", "{p}空気が乾燥してる", "{p}乾燥しすぎ", "喉が乾燥する", "肌がカサカサする"),
        *("{p}空気がカラカラだ", "{p}乾燥してきた"),
    ),
    "stuffy": (
        *("{p}空気が悪い", "{p}ほこりっぽい", "{p}空気がよどんでる", "{p}くさい", "{p}臭いがこもってる"),
        *("{p}煙っぽい", "花粉がつらい", "{p}空気が汚い"),
    ),
    "dirty": (
        *("{p}床が汚い", "{p}床が汚れてる", "{p}ゴミが落ちてる", "{p}床にパンくずが落ちてる", "{p}散らかってる"),
        *("{p}床がほこりだらけだ", "{p}床がザラザラする"),
    ),
    "coffee": (
        *("コーヒーが飲みたい", "コーヒー飲みたいな", "コーヒーをいれて", "コーヒー作って", "コーヒーをお願い"),
        *("コーヒーを淹れてくれる？", "コーヒーが欲しい"),
    ),
    "leaving": (
        *("行ってきます", "出かけるよ", "出かけてくる", "外出します", "いってきます", "家を出るね", "仕事に行ってくる"),
        *("今から出かける", "そろそろ出かける", "出かけます", "お出かけするよ"),
    ),
    "bed": (
        *("おやすみ", "おやすみなさい", "寝るね", "もう寝る", "そろそろ寝る", "寝ます", "布団に入るね", "就寝します"),
        *("もう寝ます", "ベッドに入るよ"),
    ),
    "waking": ("おはよう", "おはようございます", "起きたよ", "今起きた", "目が覚めた", "起きました"),
}
_EN_FRONT = ("", "", "", "", "hey, ", "ugh, ", "oh, ", "wow, ", "um, ", "hm, ")
_EN_BACK = ("", "", "", "", " right now", " again", ", don't you think", " already")
_JA_FRONT = ("", "", "", "", "ねえ、", "うーん、", "あー、", "なんか", "本当に", "ああ、")
_JA_BACK = ("", "", "", "。", "！", "…", "ね", "よ", "なあ")


@dataclass(frozen=True)
class Wish:
    """A wish and the action that fulfils it."""

    text: str
    intent: Intent


def _english_place(room: str | None, rng: random.Random) -> str:
    if room is None:
        return rng.choice(("", "", " in here", " here"))
    name = rng.choice(vocab.EN_ROOMS[room])
    return f" {'on' if name in ('balcony', 'porch') else 'in'} the {name}"


def _japanese_place(room: str | None, rng: random.Random) -> str:
    if room is None:
        return rng.choice(("", "", "ここ、", "この部屋", "部屋が"))
    return rng.choice(vocab.JA_ROOMS[room]) + rng.choice(("が", "、", "は", ""))


def sample_wish(rng: random.Random, language: str) -> Wish:
    """Draw a wish, with a room in about a third of those that can have one."""
    table = _EN if language == "en" else _JA
    kind = rng.choice(tuple(table))
    template = rng.choice(table[kind])
    room = rng.choice(vocab.ROOMS) if "{" in template and rng.random() < 0.35 else None
    if language == "en":
        text = template.format(r=_english_place(room, rng))
        text = rng.choice(_EN_FRONT) + text + rng.choice(_EN_BACK)
        if rng.random() < 0.4:
            text = text[0].upper() + text[1:].replace(" i'm", " I'm")
        text += rng.choice(("", "", ".", "!"))
    else:
        text = template.format(p=_japanese_place(room, rng))
        text = rng.choice(_JA_FRONT) + text + rng.choice(_JA_BACK)
    action, slots = _MEANING[kind]
    return Wish(text, Intent(action, slots if room is None else {"room": room, **slots}))
