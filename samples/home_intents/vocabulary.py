"""The closed vocabulary of the labels, and how each entry is called in English and Japanese.

The first block is language-neutral (these identifiers appear in the answers). The ``EN_*`` and
``JA_*`` tables list the surface forms. No surface form may belong to two entries of one kind: the
label has to be a function of the text (``generate.py`` verifies this on everything it produces).
"""

from __future__ import annotations

ROOMS = (
    "living_room",
    "bedroom",
    "kitchen",
    "bathroom",
    "hallway",
    "office",
    "garage",
    "nursery",
    "dining_room",
    "garden",
    "balcony",
    "entrance",
)
LIGHTS = ("light", "lamp", "ceiling_light", "floor_lamp", "desk_lamp", "spotlight")
APPLIANCES = (
    "fan",
    "heater",
    "tv",
    "humidifier",
    "air_purifier",
    "air_conditioner",
    "coffee_maker",
)
COVERS = ("blinds", "curtains", "shutters")
SOUND_DEVICES = ("speaker", "tv", "radio")
SWITCHED_SOUND = ("speaker", "radio")  # the TV is one of the appliances
DOORS = ("front_door", "back_door", "garage_door", "balcony_door", "gate")
COLORS = (
    "red",
    "blue",
    "green",
    "yellow",
    "orange",
    "purple",
    "pink",
    "white",
    "warm_white",
    "turquoise",
)
GENRES = ("jazz", "rock", "pop", "classical", "piano", "hip_hop", "bossa_nova", "lullabies")
SCENES = ("movie", "dinner", "party", "reading", "good_night", "good_morning", "away", "relax")
VACUUM_MODES = ("quiet", "turbo", "mop")
WEEKDAY_NAMES = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
# "tomorrow" is listed twice because people say it most.
DAYS = (
    *("today", "tomorrow", "tomorrow", "day_after_tomorrow"),
    *WEEKDAY_NAMES,
    *("weekdays", "weekends", "every_day"),
)
DELAYS = (*range(1, 11), 12, 15, 20, 25, 30, 35, 40, 45, 50, 60, 90, 120, 150, 180)

EN_ROOMS = {
    "living_room": ("living room", "living room", "lounge"),
    "bedroom": ("bedroom",),
    "kitchen": ("kitchen",),
    "bathroom": ("bathroom",),
    "hallway": ("hallway", "hall", "corridor"),
    "office": ("office", "study"),
    "garage": ("garage",),
    "nursery": ("nursery", "kids' room"),
    "dining_room": ("dining room",),
    "garden": ("garden", "yard"),
    "balcony": ("balcony",),
    "entrance": ("entrance", "porch"),
}
JA_ROOMS = {
    "living_room": ("リビング", "居間"),
    "bedroom": ("寝室", "ベッドルーム"),
    "kitchen": ("キッチン", "台所"),
    "bathroom": ("お風呂", "浴室"),
    "hallway": ("廊下",),
    "office": ("書斎", "仕事部屋"),
    "garage": ("ガレージ", "車庫"),
    "nursery": ("子供部屋", "子ども部屋"),
    "dining_room": ("ダイニング", "食堂"),
    "garden": ("庭",),
    "balcony": ("ベランダ", "バルコニー"),
    "entrance": ("玄関",),
}

# Singular and plural forms; the plural is used with "all" and for things that come in sets.
EN_DEVICES = {
    "light": (("light", "lights"),),
    "lamp": (("lamp", "lamps"),),
    "ceiling_light": (("ceiling light", "ceiling lights"), ("overhead light", "overhead lights")),
    "floor_lamp": (("floor lamp", "floor lamps"), ("standing lamp", "standing lamps")),
    "desk_lamp": (("desk lamp", "desk lamps"),),
    "spotlight": (("spotlight", "spotlights"),),
    "fan": (("fan", "fans"),),
    "heater": (("heater", "heaters"),),
    "tv": (("tv", "tvs"), ("television", "televisions")),
    "humidifier": (("humidifier", "humidifiers"),),
    "air_purifier": (("air purifier", "air purifiers"),),
    "air_conditioner": (("air conditioner", "air conditioners"), ("ac", "acs")),
    "coffee_maker": (("coffee maker", "coffee makers"), ("coffee machine", "coffee machines")),
    "blinds": (("blinds", "blinds"), ("blind", "blinds")),
    "curtains": (("curtains", "curtains"), ("drapes", "drapes")),
    "shutters": (("shutters", "shutters"), ("shutter", "shutters")),
    "speaker": (("speaker", "speakers"),),
    "radio": (("radio", "radios"),),
}
JA_DEVICES = {
    "light": ("電気", "照明", "ライト", "明かり"),
    "lamp": ("ランプ",),
    "ceiling_light": ("シーリングライト", "天井の照明"),
    "floor_lamp": ("フロアランプ", "フロアライト"),
    "desk_lamp": ("デスクライト", "デスクランプ"),
    "spotlight": ("スポットライト",),
    "fan": ("扇風機", "ファン"),
    "heater": ("ヒーター", "暖房"),
    "tv": ("テレビ",),
    "humidifier": ("加湿器",),
    "air_purifier": ("空気清浄機",),
    "air_conditioner": ("エアコン",),
    "coffee_maker": ("コーヒーメーカー",),
    "blinds": ("ブラインド",),
    "curtains": ("カーテン",),
    "shutters": ("シャッター", "雨戸"),
    "speaker": ("スピーカー",),
    "radio": ("ラジオ",),
}

EN_DOORS = {
    "front_door": ("front door",),
    "back_door": ("back door",),
    "garage_door": ("garage door",),
    "balcony_door": ("balcony door",),
    "gate": ("gate", "garden gate"),
}
JA_DOORS = {
    "front_door": ("玄関", "玄関のドア"),
    "back_door": ("裏口", "勝手口"),
    "garage_door": ("ガレージ", "車庫"),
    "balcony_door": ("ベランダの窓", "ベランダのドア"),
    "gate": ("門", "門扉"),
}
EN_COLORS = {
    "red": ("red",),
    "blue": ("blue",),
    "green": ("green",),
    "yellow": ("yellow",),
    "orange": ("orange",),
    "purple": ("purple", "violet"),
    "pink": ("pink",),
    "white": ("white",),
    "warm_white": ("warm white",),
    "turquoise": ("turquoise",),
}
JA_COLORS = {
    "red": ("赤", "赤色", "レッド"),
    "blue": ("青", "青色", "ブルー"),
    "green": ("緑", "緑色", "グリーン"),
    "yellow": ("黄色", "イエロー"),
    "orange": ("オレンジ", "オレンジ色"),
    "purple": ("紫", "紫色"),
    "pink": ("ピンク", "ピンク色"),
    "white": ("白", "白色"),
    "warm_white": ("電球色",),
    "turquoise": ("ターコイズ",),
}
EN_GENRES = {
    "jazz": ("jazz",),
    "rock": ("rock",),
    "pop": ("pop", "pop music"),
    "classical": ("classical music", "classical"),
    "piano": ("piano music",),
    "hip_hop": ("hip hop", "hip-hop"),
    "bossa_nova": ("bossa nova",),
    "lullabies": ("lullabies",),
}
JA_GENRES = {
    "jazz": ("ジャズ",),
    "rock": ("ロック",),
    "pop": ("ポップス", "ポップ"),
    "classical": ("クラシック", "クラシック音楽"),
    "piano": ("ピアノ曲", "ピアノ"),
    "hip_hop": ("ヒップホップ",),
    "bossa_nova": ("ボサノバ",),
    "lullabies": ("子守唄",),
}
EN_SCENES = {
    "movie": ("movie", "movie night"),
    "dinner": ("dinner",),
    "party": ("party",),
    "reading": ("reading",),
    "good_night": ("good night",),
    "good_morning": ("good morning",),
    "away": ("away",),
    "relax": ("relax", "chill"),
}
JA_SCENES = {
    "movie": ("映画", "シアター"),
    "dinner": ("ディナー", "夕食"),
    "party": ("パーティー",),
    "reading": ("読書",),
    "good_night": ("おやすみ", "就寝"),
    "good_morning": ("おはよう", "起床"),
    "away": ("外出", "お出かけ"),
    "relax": ("リラックス", "くつろぎ"),
}
EN_MODES = {"quiet": ("quiet", "silent"), "turbo": ("turbo", "max"), "mop": ("mop", "mopping")}
JA_MODES = {"quiet": ("静音", "静か"), "turbo": ("ターボ", "強力"), "mop": ("水拭き",)}

EN_DAYS = {
    "today": ("today",),
    "tomorrow": ("tomorrow",),
    "day_after_tomorrow": ("the day after tomorrow",),
    **{day: (f"on {day}", f"on {day}", f"this {day}") for day in WEEKDAY_NAMES},
    "weekdays": ("on weekdays", "every weekday"),
    "weekends": ("on weekends", "every weekend"),
    "every_day": ("every day", "daily"),
}
JA_DAYS = {
    "today": ("今日", "きょう", "本日"),
    "tomorrow": ("明日", "あした"),
    "day_after_tomorrow": ("明後日", "あさって"),
    "monday": ("月曜日", "月曜"),
    "tuesday": ("火曜日", "火曜"),
    "wednesday": ("水曜日", "水曜"),
    "thursday": ("木曜日", "木曜"),
    "friday": ("金曜日", "金曜"),
    "saturday": ("土曜日", "土曜"),
    "sunday": ("日曜日", "日曜"),
    "weekdays": ("平日",),
    "weekends": ("週末",),
    "every_day": ("毎日",),
}
