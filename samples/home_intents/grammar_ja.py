"""Japanese surface forms: turns an intent into one of many ways a person would say it."""

from __future__ import annotations

import random

import clock_ja
import vocabulary as vocab
from semantics import Intent, Slots

# Every clause ends in a te-form, so that any request ending can follow it. {t} is the thing
# addressed, {v} the value, {p} the place with で/の, and {s} a schedule that is not in front.
_CLAUSES: dict[str, tuple[str, ...]] = {
    "turn_on": (
        *("{t}を{s}起動して", "{s}{t}つけて"),
        *("{t}を{s}つけて", "{t}{s}つけて", "{t}を{s}オンにして", "{t}の電源を{s}入れて"),
        *("{t}を{s}付けて", "{t}のスイッチを{s}入れて"),
    ),
    "turn_off": (
        *("{t}を{s}けして", "{t}{s}切って"),
        *("{t}を{s}消して", "{t}{s}消して", "{t}を{s}オフにして", "{t}の電源を{s}切って"),
        *("{t}を{s}切って", "{t}のスイッチを{s}切って"),
    ),
    "set_brightness": (
        "{t}を{s}{v}の明るさにして",
        *("{t}を{s}{v}にして", "{t}の明るさを{s}{v}にして", "{t}を{s}{v}まで暗くして"),
        *("{t}を{s}{v}まで明るくして", "{t}の明るさを{s}{v}に設定して", "{t}、{s}{v}にして"),
    ),
    "set_color": (
        *("{t}を{s}{v}でつけて", "{t}、{s}{v}にして"),
        *("{t}を{s}{v}にして", "{t}の色を{s}{v}にして", "{t}を{s}{v}に変えて"),
        *("{t}の色を{s}{v}に変えて", "{t}を{s}{v}に光らせて"),
    ),
    "set_temperature": (
        *("{p}温度を{s}{v}に上げて", "{p}温度を{s}{v}に下げて", "{p}冷房を{s}{v}にして"),
        *("{p}温度を{s}{v}にして", "{p}エアコンを{s}{v}にして", "{p}室温を{s}{v}に設定して"),
        *("{p}設定温度を{s}{v}に変えて", "{p}暖房を{s}{v}にして"),
    ),
    "set_fan_speed": (
        *("{p}扇風機を{s}{v}にして", "{p}扇風機の強さを{s}{v}に変えて"),
        *("{p}扇風機を{s}強さ{v}にして", "{p}扇風機の風量を{s}{v}にして"),
        *("{p}ファンを{s}レベル{v}にして", "{p}扇風機を{s}レベル{v}に変えて"),
    ),
    "open": (
        *("{t}を{s}開けて", "{t}{s}開けて", "{t}を{s}上げて", "{t}を{s}あけて"),
        *("{t}を{s}オープンして", "{t}を{s}開いて"),
    ),
    "close": (
        *("{t}を{s}閉めて", "{t}{s}閉めて", "{t}を{s}下ろして", "{t}を{s}しめて"),
        *("{t}を{s}閉じて", "{t}{s}閉じて"),
    ),
    "set_position": (
        *("{t}を{s}{v}開けて", "{t}を{s}{v}にして", "{t}を{s}{v}まで開けて"),
        *("{t}の位置を{s}{v}にして", "{t}を{s}{v}だけ開けて"),
    ),
    "set_alarm": (
        *("{a}にアラームをかけて", "{a}にアラームを鳴らして", "{a}に目を覚まさせて"),
        *("{a}に起こして", "{a}にアラームをセットして", "アラームを{a}にセットして"),
        *("{a}に目覚ましをかけて", "目覚ましを{a}にかけて", "{a}のアラームを設定して"),
    ),
    "cancel_alarm": (
        *("{a}のアラームを削除して", "{a}のアラームをオフにして"),
        *("{a}のアラームをキャンセルして", "{a}の目覚ましを消して", "{a}のアラームを取り消して"),
        *("{a}のアラームを止めて", "アラーム、{a}のを消して", "{a}の目覚ましを解除して"),
    ),
    "set_timer": (
        "{l}タイマー{d}セットして",
        *("{l}タイマーを{d}にセットして", "{l}タイマーを{d}にして", "{d}の{l}タイマーをセットして"),
        *("{l}タイマーを{d}でスタートして", "{l}タイマー{d}かけて", "{d}{l}タイマーをかけて"),
    ),
    "play_music": (
        *("{p}{v}を{s}スタートして", "{p}{v}{s}流して"),
        *("{p}{v}をかけて", "{p}{v}を{s}流して", "{p}{v}を{s}再生して", "{p}{v}を聴かせて"),
        "{v}を{p}{s}流して",
    ),
    "stop_music": (
        *("{p}音楽を{s}切って", "{p}音楽{s}止めて"),
        *("{p}音楽を{s}止めて", "{p}音楽を{s}ストップして", "{p}音楽の再生を{s}止めて"),
        *("{p}音楽を{s}消して", "{p}曲を{s}止めて"),
    ),
    "set_volume": (
        *("{t}の音量を{s}{v}に設定して", "{t}の音量{s}{v}にして"),
        *("{t}の音量を{s}{v}にして", "{t}のボリュームを{s}{v}にして", "{t}の音を{s}{v}にして"),
        *("{t}の音量を{s}{v}まで下げて", "{t}の音量を{s}{v}まで上げて"),
    ),
    "lock": (
        *("{t}の鍵を{s}かけて", "{t}を{s}ロックして", "{t}を{s}施錠して", "{t}の鍵を{s}閉めて"),
        *("{t}に鍵を{s}かけて", "{t}の戸締まりを{s}して"),
    ),
    "unlock": (
        *("{t}を{s}アンロックして", "{t}のロックを{s}外して"),
        *("{t}の鍵を{s}開けて", "{t}を{s}解錠して", "{t}のロックを{s}解除して"),
        "{t}の鍵を{s}外して",
    ),
    "start_vacuum": (
        *("{r}を{m}{s}掃除して", "{r}に{m}{s}掃除機をかけて", "{m}{s}{r}を掃除して"),
        "ロボット掃除機で{r}を{m}{s}掃除して",
    ),
    "set_scene": (
        *("{p}{v}モードを{s}起動して", "{p}{v}モードに{s}変えて"),
        *("{p}{v}モードに{s}して", "{p}{v}モードを{s}オンにして", "{p}{v}のシーンを{s}つけて"),
        *("{p}{v}シーンに{s}切り替えて", "{p}{v}モードに{s}切り替えて"),
    ),
    "add_reminder": (
        *("{v}のを{s}忘れないようにリマインドして", "{v}と{s}リマインドして", "{v}ように{s}言って"),
        *("{v}って{s}教えて", "{v}のリマインダーを{s}セットして"),
        *("{v}ように{s}リマインドして", "{v}ことを{s}リマインドして", "{v}のを{s}思い出させて"),
        *("{v}って{s}リマインドして", "{v}のを忘れないように{s}教えて"),
    ),
    "add_to_list": (
        *("{v}を{n}買い物メモに追加して", "買うものリストに{v}を{n}追加して", "{v}を{n}買うのをメモして"),
        "{v}を{n}リストに追加して",
        *("買い物リストに{v}を{n}追加して", "{v}を{n}買い物リストに入れて"),
        *("リストに{v}を{n}足して", "{v}{n}、買い物リストに追加して", "{v}を{n}リストに書いて"),
    ),
}
# Short noun-style requests that end in お願い.
_SHORT: dict[str, tuple[str, ...]] = {
    "turn_on": ("{t}オン", "{t}、{s}オン", "{t}をオンで", "{t}の電源オン"),
    "turn_off": ("{t}オフ", "{t}、{s}オフ", "{t}をオフで", "{t}の電源オフ"),
    "set_brightness": ("{t}、{s}{v}で", "{t}の明るさ{s}{v}で"),
    "set_color": ("{t}、{s}{v}で", "{t}の色は{s}{v}で"),
    "set_temperature": ("{p}温度、{s}{v}で", "{p}エアコンは{s}{v}で"),
    "set_fan_speed": ("{p}扇風機、{s}レベル{v}で", "{p}扇風機は{s}強さ{v}で"),
    "set_position": ("{t}、{s}{v}で", "{t}は{s}{v}で"),
    "set_alarm": ("{a}にアラーム", "{a}に目覚まし", "アラーム、{a}で"),
    "set_timer": ("{l}タイマー、{d}", "{d}の{l}タイマー"),
    "play_music": ("{p}{v}を", "{p}{v}"),
    "set_volume": ("{t}の音量、{s}{v}で", "{t}の音量は{s}{v}で"),
    "set_scene": ("{p}{v}モードで", "{p}{v}シーン、"),
    "lock": ("{t}の施錠", "{t}の戸締まり"),
    "add_to_list": ("買い物リストに{v}{n}", "リストに{v}を{n}"),
}
_ENDINGS = (
    *("", "", "", "ください", "ください", "下さい", "くれる？", "くれる?", "くれますか？"),
    *("もらえる？", "もらえますか？", "ほしい", "ほしいな", "欲しいんだけど", "ね", "よ"),
    *("、お願い", "、お願いします", "ちょうだい", "いただけますか？", "くれない？", "おいて"),
    *("もらっていい？", "いただきたいです", "もらえると助かります", "ほしいです", "くださいませんか", "くれると嬉しい"),
    *("ほしいのですが", "くださいね", "もらいたいんだけど", "くださいませ", "くれ", "ほしいの"),
)
_OPENERS = (
    *("ねえ、", "えっと、", "あのー、", "すみません、", "ちょっと", "じゃあ", "あ、", "それじゃ、"),
    *("ねえねえ、", "悪いけど、", "えーと", "こんばんは、", "ごめん、", "よかったら", "できれば", "もしもし、"),
)
_NAMED_VALUES = {
    "color": vocab.JA_COLORS,
    "genre": vocab.JA_GENRES,
    "scene": vocab.JA_SCENES,
}
_COUNTERS = ("個", "個", "つ", "パック")
_SMALL_COUNTS = ("ひとつ", "ふたつ", "みっつ", "よっつ", "いつつ")
_INNER_SCHEDULE = 0.25


def _room(slots: Slots, rng: random.Random) -> str:
    if slots["room"] == "all":
        return rng.choice(("家中", "全部の部屋", "すべての部屋"))
    room = str(slots["room"])
    return rng.choice(vocab.JA_ROOMS.get(room, (room,)))


def _thing(slots: Slots, rng: random.Random) -> str:
    """Return the device or the door that the request addresses, with its room."""
    if "door" in slots:
        door = str(slots["door"])
        return rng.choice(vocab.JA_DOORS.get(door, (door,)))
    if "device" not in slots:
        return ""
    device = str(slots["device"])
    name = rng.choice(vocab.JA_DEVICES.get(device, (device,)))
    if "room" not in slots:
        return name
    return f"{_room(slots, rng)}{rng.choice(('の', 'の', 'の', 'にある'))}{name}"


def _count(value: int, numerals: clock_ja.Numerals, rng: random.Random) -> str:
    if value <= len(_SMALL_COUNTS) and rng.random() < 0.3:
        return _SMALL_COUNTS[value - 1]
    counter = rng.choice(_COUNTERS)
    return f"{numerals.write(value)}{'個' if counter == 'つ' and value > 9 else counter}"


def _quantity(intent: Intent, numerals: clock_ja.Numerals, rng: random.Random) -> str:
    """Return the words for the numeric value of the action."""
    value = intent.slots["value"]
    if intent.action == "set_temperature":
        if value != int(value) and rng.random() < 0.5:
            return f"{numerals.write(int(value))}度半"
        return f"{numerals.write(value)}度"
    if intent.action == "set_fan_speed" or (intent.action == "set_volume" and rng.random() < 0.6):
        return numerals.write(int(value))
    return numerals.percent(int(value), rng)


def _value(intent: Intent, numerals: clock_ja.Numerals, rng: random.Random) -> str:
    """Return the words for the value of the action, whatever its kind ("" if it has none)."""
    slots = intent.slots
    for key, table in _NAMED_VALUES.items():
        if key in slots:
            return rng.choice(table.get(str(slots[key]), (str(slots[key]),)))
    for key in ("task", "item"):
        if key in slots:
            return str(slots[key])
    if intent.action == "play_music":
        return "音楽"
    return _quantity(intent, numerals, rng) if "value" in slots else ""


def _schedule_phrase(intent: Intent, numerals: clock_ja.Numerals, rng: random.Random) -> str:
    """Return the schedule with its particle: times and delays take に, days often stay bare."""
    text = clock_ja.schedule(intent.slots, numerals, rng)
    if not text:
        return ""
    if "time" in intent.slots or "delay_minutes" in intent.slots:
        return f"{text}に"
    takes_particle = intent.slots["day"] in (*vocab.WEEKDAY_NAMES, "weekends")
    return f"{text}に" if takes_particle else text


def _clause(intent: Intent, rng: random.Random, templates: tuple[str, ...]) -> str:
    """Fill one template, with the schedule either inside it or in front."""
    slots = intent.slots
    numerals = clock_ja.Numerals(rng)
    template = rng.choice(templates)
    schedule = _schedule_phrase(intent, numerals, rng)
    inner = "{s}" in template and rng.random() < _INNER_SCHEDULE
    place = _room(slots, rng) if "room" in slots and "device" not in slots else ""
    linker = "で" if intent.action in ("play_music", "set_scene") else "の"
    mode = rng.choice(vocab.JA_MODES[str(slots["mode"])]) if "mode" in slots else ""
    text = template.format(
        t=_thing(slots, rng),
        v=_value(intent, numerals, rng),
        s=schedule if inner else "",
        p=f"{place}{linker}" if place else "",
        r=place or "床",
        m=f"{mode}モードで" if mode else "",
        a=clock_ja.schedule(slots, numerals, rng),
        n=_count(int(slots["count"]), numerals, rng) if "count" in slots else "",
        l=f"{slots['label']}の" if "label" in slots else "",
        d=clock_ja.duration(slots, numerals, rng) if intent.action == "set_timer" else "",
    )
    if inner or not schedule or "{a}" in template:
        return text
    return f"{schedule}{rng.choice(('', '', '、'))}{text}"


def realise(intent: Intent, rng: random.Random) -> str:
    """Say the intent in Japanese, with its own word order, politeness and punctuation."""
    if intent.action in _SHORT and rng.random() < 0.12:
        text = _clause(intent, rng, _SHORT[intent.action])
        text = text.rstrip("、") + rng.choice(("お願い", "お願いします", "よろしく", "", "", "頼む"))
    else:
        text = _clause(intent, rng, _CLAUSES[intent.action])
        if text[-1] == "て" and rng.random() < 0.07:
            # つけておいて, as people say it
            text = text[:-1] + rng.choice(("といて", "といてくれる？", "といてね", "とけ"))
        else:
            text += rng.choice(_ENDINGS)
    if rng.random() < 0.08 and intent.action != "add_reminder":
        # Not in a reminder, whose own words are copied into the answer.
        text = text.replace("を", rng.choice(("を、えっと、", "をえーと", "を、")), 1)
    if rng.random() < 0.2:
        text = rng.choice(_OPENERS) + text
    if text[-1] not in "？?":
        text += rng.choice(("", "", "", "。", "！"))
    return text
