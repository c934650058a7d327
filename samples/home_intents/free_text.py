"""Free text that an answer copies from the request: shopping items, timer labels, reminder tasks.

Unlike rooms or devices these stay in the language of the request.
"""

from __future__ import annotations

import random

TIMER_LABELS = {
    "en": (
        "pasta",
        "eggs",
        "rice",
        "tea",
        "laundry",
        "pizza",
        "workout",
        "nap",
        "cake",
        "homework",
    ),
    "ja": ("パスタ", "ゆで卵", "ご飯", "紅茶", "洗濯", "ピザ", "筋トレ", "昼寝", "ケーキ", "宿題"),
}
ITEMS = {
    "en": (
        *("milk", "eggs", "bread", "butter", "coffee", "bananas", "apples", "tomatoes"),
        *("onions", "toilet paper", "batteries", "rice", "yogurt", "orange juice", "cat food"),
        *("dish soap", "green tea", "sparkling water", "light bulbs", "chocolate"),
    ),
    "ja": (
        *("牛乳", "卵", "食パン", "バター", "コーヒー", "バナナ", "りんご", "トマト"),
        *("玉ねぎ", "トイレットペーパー", "電池", "お米", "ヨーグルト", "オレンジジュース"),
        *("猫のえさ", "洗剤", "緑茶", "炭酸水", "電球", "チョコレート"),
    ),
}

_EN_PEOPLE = ("mum", "dad", "grandma", "the dentist", "the doctor", "emma", "kenji", "the landlord")
_EN_TASKS = {
    "call": _EN_PEOPLE,
    "email": _EN_PEOPLE,
    "text": _EN_PEOPLE,
    "visit": _EN_PEOPLE,
    "buy": ITEMS["en"],
    "pick up": ("the kids", "the parcel", "the laundry", "the cake", "my glasses"),
    "pay": ("the rent", "the electricity bill", "the water bill", "the credit card bill"),
    "water": ("the plants", "the roses", "the tomatoes"),
    "feed": ("the cat", "the dog", "the fish"),
    "clean": ("the fridge", "the oven", "the windows", "the fish tank"),
    "take": ("my medicine", "the vitamins", "the dog out", "the rubbish out"),
    "charge": ("my phone", "the laptop", "the camera"),
}
_JA_PEOPLE = (
    "お母さん",
    "お父さん",
    "おばあちゃん",
    "歯医者",
    "田中さん",
    "エマ",
    "大家さん",
    "先生",
)
_JA_TASKS = {
    "に電話する": _JA_PEOPLE,
    "にメールする": _JA_PEOPLE,
    "に連絡する": _JA_PEOPLE,
    "を訪ねる": _JA_PEOPLE,
    "を買う": ITEMS["ja"],
    "を迎えに行く": ("子供", "妻", "友達", "おばあちゃん"),
    "を受け取る": ("荷物", "クリーニング", "ケーキ", "メガネ"),
    "を払う": ("家賃", "電気代", "水道代", "カード代"),
    "に水をやる": ("植木", "バラ", "トマト"),
    "にえさをやる": ("猫", "犬", "金魚"),
    "を掃除する": ("冷蔵庫", "オーブン", "窓", "水槽"),
    "を飲む": ("薬", "サプリ", "プロテイン"),
    "を出す": ("ゴミ", "手紙", "宿題", "書類"),
    "を充電する": ("スマホ", "パソコン", "カメラ"),
}


def reminder_task(rng: random.Random, language: str) -> str:
    """Compose the free text of a reminder from a verb and one of its objects."""
    if language == "en":
        verb = rng.choice(tuple(_EN_TASKS))
        return f"{verb} {rng.choice(_EN_TASKS[verb])}"
    verb = rng.choice(tuple(_JA_TASKS))
    return f"{rng.choice(_JA_TASKS[verb])}{verb}"
