"""Parts of questions and statements about anything, for ``out_of_scope.py``: {noun}, {verb} and so on."""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(word.strip() for word in text.replace("\n", " ").split(",") if word.strip())


TEMPLATES = {
    "en": (
        *("{ask} {noun} {verb} {noun}", "{ask} {person} {verb} {noun}", "{ask} {noun} {verb} in {place}"),
        *("{ask} i {verb} {noun} {when}", "{ask} the {device} {verb} {noun}", "{ask} we {verb} the {device}"),
        *("{subject} {verb} {noun}", "{subject} {verb} {noun} {when}", "{noun} and {noun}", "{subject} {verb} the {device}"),
        *("{do} {noun}", "{do} the {noun} {when}", "please {do} {noun} for {person}", "can you {do} {noun}", "could you {do} my {noun}"),
        *("is {noun} {adjective}", "are you {adjective}", "the {noun} is {adjective}", "i am {adjective} {when}"),
        *("what is the {adjective} {noun}", "who has the {adjective} {noun}", "that {noun} was {adjective}", "{ask} you {verb}"),
        *("what's your {noun}", "which {noun} is {adjective}", "i think {noun} {verb} {noun}", "do you {verb} {noun}"),
        *("{do} the {noun} in the {room}", "{do} a {noun} with {person}", "i want to {verb} {noun}", "let's {verb} {noun}"),
        *("the {room} is {adjective}", "i {verb} in the {room}", "{do} {person}'s {noun}", "how {adjective} is the {noun}"),
        *("tell me how to {verb} {noun}", "i need to know about {noun}", "give me some {noun}", "i'd like a {noun}"),
    ),
    "ja": (
        *("{noun}は{ask}{verb}の？", "{person}は{ask}{verb}の？", "{place}の{noun}は{ask}{verb}？", "{noun}が{verb}", "{noun}を{verb}"),
        *("{noun}と{noun}", "{device}の{noun}は{ask}？", "{noun}は{adjective}？", "{noun}は{adjective}", "{person}の{noun}は{adjective}"),
        *("{noun}を{do}", "{when}{noun}を{do}", "{person}に{noun}を{do}", "{noun}を{do}ください", "{noun}を{do}くれる？", "{noun}について{do}"),
        *("{when}は{adjective}ね", "一番{adjective}{noun}は？", "{noun}で{noun}を{verb}", "{room}で{noun}を{verb}", "{room}の{noun}を{do}"),
        *("{noun}が{adjective}", "{noun}は{ask}？", "{ask}{noun}が{verb}？", "{when}{noun}を{verb}", "{person}と{noun}を{verb}", "{noun}の{noun}"),
        *("{noun}が欲しい", "{noun}したい", "{noun}を見たい", "{noun}に行きたい", "{noun}の{noun}を{do}", "{adjective}{noun}を{do}"),
    ),
}
WORDS = {
    "en": {
        "ask": _words("""what does, what do, why do, why does, how do, how does, when did, when does, where do, where does,
            how many, how much, how often do, who, which, did, does, do, can, will, should, would, how come"""),
        "subject": _words("i, you, we, they, my sister, my dog, the baby, the neighbor, everybody, she, he, nobody, it"),
        "verb": _words("""like, hate, eat, see, know, make, need, want, buy, find, lose, sell, build, break, love, teach, learn,
            write, read, sing, dance, work, sleep, travel, fly, run, win, cook, drink, wear, use, move, grow, drive, remember,
            understand, believe, pay, help, meet, visit, feel, think about, talk about, look for"""),
        "do": _words("""show me, tell me, find, search, send, order, book, sell, draw, write, read, explain, compare, translate,
            describe, check, calculate, count, repair, wash, paint, bring me, download, delete, share, upload, edit, invite, call,
            record, summarize, recommend, cook, deliver, rent, hide, check out, look up, sing, print, copy, schedule, join"""),
        "noun": _words("""football, politics, cats, dogs, birds, history, science, math, physics, music theory, cars, trains, planes,
            movies, books, games, money, jobs, school, love, dinner, lunch, breakfast, dessert, flowers, trees, the sea, mountains,
            rivers, stars, planets, the sun, the moon, computers, phones, messages, photos, videos, songs, poems, jokes, stories,
            holidays, tickets, hotels, restaurants, doctors, medicine, sports, tennis, baseball, the olympics, elections, taxes,
            a letter, a song, a bike, shoes, a dress, friends, family, children, dreams, the future, the past, energy, water,
            a password, the internet, a website, an app, a recipe, a haircut, emails, contacts, the calendar, the economy, prices"""),
        "adjective": _words("""big, small, old, new, happy, sad, funny, expensive, cheap, fast, slow, beautiful, ugly, good, bad, better,
            best, tallest, oldest, dangerous, safe, healthy, popular, famous, smart, tired, hungry, thirsty, lonely, sick, real, true"""),
    },
    "ja": {
        "ask": _words("なぜ, どうして, いつ, どこで, 誰が, どうやって, どのくらい, 何回, どんな, 何, いくつ, どれが, いくら"),
        "verb": _words("""食べる, 見る, 知ってる, 作る, 買う, 売る, 探す, なくす, 壊す, 教える, 習う, 書く, 読む, 歌う, 踊る, 働く, 眠る, 飛ぶ,
            走る, 勝つ, 飲む, 着る, 使う, 動く, 育つ, 覚える, 信じる, 助ける, 会う, 思う, 話す, 始まる, 終わる, 行く, 来る, 好き, 嫌い"""),
        "do": _words("""見せて, 教えて, 探して, 検索して, 送って, 注文して, 予約して, 描いて, 書いて, 読んで, 説明して, 比べて, 訳して, 調べて,
            計算して, 数えて, 直して, 洗って, 塗って, 持ってきて, 消去して, 共有して, 編集して, 招待して, 録音して, 要約して, おすすめして,
            料理して, 届けて, 隠して, 印刷して, コピーして, 登録して, 開いて, 買って, 売って, 話して, 紹介して, 応援して"""),
        "noun": _words("""サッカー, 政治, 猫, 犬, 鳥, 歴史, 科学, 数学, 物理, 車, 電車, 飛行機, 映画, 本, ゲーム, お金, 仕事, 学校, 恋, 夕食, 昼食,
            朝食, デザート, 花, 木, 海, 山, 川, 星, 惑星, 太陽, 月, パソコン, 電話, メッセージ, 写真, 動画, 歌, 詩, 冗談, 物語, 旅行, 切符,
            ホテル, レストラン, 医者, 薬, スポーツ, テニス, 野球, オリンピック, 選挙, 税金, 手紙, 自転車, 靴, 服, 友達, 家族, 子供, 夢, 未来,
            過去, エネルギー, 水, パスワード, インターネット, サイト, アプリ, レシピ, 髪型, メール, 連絡先, 予定, 経済, 物価, 占い, 宿題"""),
        "adjective": _words("""大きい, 小さい, 古い, 新しい, 楽しい, 悲しい, 面白い, 高い, 安い, 速い, 遅い, きれいな, 良い, 悪い, 危ない, 人気の,
            有名な, 賢い, 眠い, 美味しい, まずい, 強い, 弱い, 長い, 短い, 正しい, 難しい, 簡単な"""),
    },
}
