"""Words for what a person names freely: things to buy, people, tasks, and topics of small talk.

``UNSEEN`` holds the words that occur in no training text. The generator proves it. They make the
part of ``test.jsonl`` that asks whether the model copies what it has never read.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    """Split a list written with commas."""
    return tuple(word.strip() for word in text.replace("\n", " ").split(",") if word.strip())


GOODS = {
    "en": _words("""
        milk, eggs, bread, butter, coffee, bananas, apples, tomatoes, onions, toilet paper, batteries,
        rice, yogurt, orange juice, cat food, dish soap, green tea, sparkling water, light bulbs,
        chocolate, flour, sugar, salt, pepper, olive oil, vinegar, honey, jam, pasta, noodles, cheese,
        cream, chicken, beef, pork, salmon, tuna, shrimp, tofu, beans, lentils, carrots, potatoes,
        garlic, ginger, lemons, limes, oranges, grapes, pears, peaches, cherries, strawberries,
        lettuce, spinach, broccoli, cabbage, mushrooms, corn, peas, cereal, oatmeal, cookies, crackers,
        chips, nuts, raisins, ketchup, mustard, mayonnaise, soy sauce, beer, red wine, cola, ice cream,
        frozen pizza, sausages, ham, bacon, baking powder, vanilla, cinnamon, napkins, paper towels,
        trash bags, sponges, shampoo, soap, toothpaste, razors, tissues, diapers, dog food, bird seed,
        candles, matches, tape, glue, pens, notebooks, envelopes, stamps, a birthday card, socks,
        gloves, an umbrella, screws, nails, paint, a phone charger, printer paper, bleach, almond milk,
        whole wheat bread, brown rice, peanut butter, maple syrup, hot sauce, cough drops, sunscreen"""),
    "ja": _words("""
        牛乳, 卵, 食パン, バター, コーヒー, バナナ, りんご, トマト, 玉ねぎ, トイレットペーパー, 電池, お米,
        ヨーグルト, オレンジジュース, 猫のえさ, 洗剤, 緑茶, 炭酸水, 電球, チョコレート, 砂糖, 塩, 胡椒, 醤油,
        酢, みりん, 料理酒, 小麦粉, 片栗粉, パン粉, うどん, そば, そうめん, ラーメン, パスタ, チーズ, 生クリーム,
        鶏肉, 豚肉, 牛肉, ひき肉, 鮭, まぐろ, えび, いか, 豆腐, 油揚げ, 大根, にんじん, じゃがいも, さつまいも,
        キャベツ, レタス, ほうれん草, ブロッコリー, きゅうり, なす, ピーマン, もやし, しめじ, えのき, ねぎ,
        しょうが, にんにく, みかん, ぶどう, いちご, もも, 梨, レモン, 海苔, わかめ, 梅干し, 漬物, 味噌, お茶漬け,
        カレールー, ケチャップ, マヨネーズ, ソース, ドレッシング, はちみつ, ジャム, せんべい, クッキー, アイス,
        ビール, ワイン, 日本酒, コーラ, 紅茶, ティッシュ, ラップ, アルミホイル, ゴミ袋, スポンジ, シャンプー,
        石鹸, 歯磨き粉, 歯ブラシ, 綿棒, マスク, 絆創膏, 風邪薬, おむつ, ドッグフード, 乾電池, ろうそく, のり,
        ノート, ボールペン, 封筒, 切手, 靴下, 手袋, 傘, 軍手, 冷凍餃子, コピー用紙, 入浴剤, 柔軟剤"""),
}
PEOPLE = {
    "en": _words("""
        mum, mom, dad, grandma, grandpa, my wife, my husband, my sister, my brother, my boss, my son,
        my daughter, my aunt, my uncle, my cousin, my neighbor, the dentist, the doctor, the vet,
        the landlord, the plumber, the bank, the school, the office, the insurance company, emma,
        kenji, james, anna, peter, laura, tom, lucy, ben, julia, david, sophie, martin, nina, paul,
        yuki, haruto, sakura, carlos, maria, ahmed, fatima, wei, ling, raj, anita, olga, ivan, pierre,
        claire, hans, greta, liam, noah, mia, zoe, jack, oliver, amelia, mr smith, mrs jones, dr brown,
        aunt carol, uncle joe, the kids, the team, the twins"""),
    "ja": _words("""
        お母さん, お父さん, おばあちゃん, おじいちゃん, 母, 父, 妻, 夫, 姉, 兄, 妹, 弟, 娘, 息子, 叔母, 叔父,
        歯医者, 病院, 大家さん, 先生, 銀行, 学校, 会社, 市役所, 保険会社, 隣の人, 友達, 部長, 課長, 上司, エマ,
        田中さん, 佐藤さん, 鈴木さん, 高橋さん, 伊藤さん, 渡辺さん, 山本さん, 中村さん, 小林さん, 加藤さん,
        吉田さん, 山田さん, 佐々木さん, 山口さん, 松本さん, 井上さん, 木村さん, 林さん, 清水さん, ケン, マリア,
        ジョン, ゆき, はると, さくら, みさき, 太郎, 花子, 健太, 美咲, 翔太, 陽子, ゆうちゃん, けんくん"""),
}
# Verb, then what it takes: one of PEOPLE ("who"), of GOODS ("what"), or a list of its own.
TASKS_EN: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys(_words("call, email, text, visit, phone, meet, ask, thank, message, invite"), "who"),
    **dict.fromkeys(_words("call back, write to, wait for, have lunch with, check on, wake"), "who"),
    **dict.fromkeys(_words("buy, get, order, bring, pick up, look for, pack, return, cook, find"), "what"),
    "pay": _words("the rent, the electricity bill, the water bill, the credit card, the taxes, the gas bill"),
    "water": _words("the plants, the roses, the tomatoes, the garden, the lawn"),
    "feed": _words("the cat, the dog, the fish, the rabbit, the birds, the hamster"),
    "clean": _words("the fridge, the oven, the windows, the fish tank, the bathroom, the car, my shoes"),
    "take": _words("my medicine, the vitamins, the dog out, the rubbish out, my pills, out the trash, a break"),
    "charge": _words("my phone, the laptop, the camera, the headphones, the car"),
    "book": _words("a table, a flight, a hotel, a haircut, an appointment, the tickets"),
    "do": _words("the laundry, the dishes, my homework, the ironing, yoga, my taxes"),
    "go": _words("to the gym, to bed, to the bank, shopping, for a run, home, to the post office"),
    "check": _words("the mail, the oven, the stove, my email, the tires, the results"),
    "finish": _words("the report, the slides, my essay, the form"),
    "send": _words("the invoice, the parcel, the letter, the photos, the contract"),
    "renew": _words("my passport, the insurance, my license, the library card"),
    "turn in": _words("the assignment, the keys, the form"),
    "change": _words("the sheets, the filter, the oil, my password"),
    "study": _words("for the exam, japanese, chemistry, the manual"),
    "practice": _words("the guitar, the piano, my speech, french"),
    "cancel": _words("the subscription, the appointment, the gym"),
    "fix": _words("the bike, the sink, the fence, the shelf"),
    "read": _words("the contract, the book, chapter three"),
    "drink": _words("water, my tea"),
    "walk": _words("the dog, to work"),
    "stretch": ("",),
    "meditate": ("",),
}
TASKS_JA: dict[str, str | tuple[str, ...]] = {
    **dict.fromkeys(_words("に電話する, にメールする, に連絡する, に会う, に返事する, に聞く, にお礼を言う"), "who"),
    **dict.fromkeys(_words("を訪ねる, を迎えに行く, を起こす, と話す, に手紙を書く, を誘う, に電話, に連絡"), "who"),
    **dict.fromkeys(_words("を買う, を注文する, を探す, を持っていく, を受け取る, を返す, を作る, を買いに行く"), "what"),
    "を払う": _words("家賃, 電気代, 水道代, カード代, 税金, ガス代, 保険料"),
    "に水をやる": _words("植木, バラ, トマト, 花, 庭, 芝生"),
    "にえさをやる": _words("猫, 犬, 金魚, 鳥, うさぎ, メダカ"),
    "を掃除する": _words("冷蔵庫, オーブン, 窓, 水槽, 風呂, 車, 玄関"),
    "を飲む": _words("薬, サプリ, プロテイン, 水, ビタミン"),
    "を出す": _words("ゴミ, 手紙, 宿題, 書類, 燃えるゴミ, 荷物, レポート"),
    "を充電する": _words("スマホ, パソコン, カメラ, イヤホン"),
    "を予約する": _words("美容院, ホテル, レストラン, 飛行機, 病院"),
    "に行く": _words("ジム, 銀行, 郵便局, 病院, 美容院, 散歩"),
    "を確認する": _words("郵便, メール, 予定, 天気, 結果"),
    "を更新する": _words("免許, パスポート, 保険, 定期券"),
    "の準備をする": _words("会議, 旅行, 試験, 夕飯, 発表"),
    "を提出する": _words("レポート, 書類, 宿題, 申請書"),
    "を干す": _words("洗濯物, 布団, タオル"),
    "を勉強する": _words("英語, 数学, 漢字, 歴史"),
    "を練習する": _words("ピアノ, ギター, 発表, 歌"),
    "": _words("会議, 薬, ゴミ出し, 歯医者, ミーティング, 塾, ヨガ, 洗濯, 面接, 誕生日, 飲み会, 寝る, 休憩する"),
}
LABELS = {
    "en": _words("""
        pasta, eggs, rice, tea, laundry, pizza, workout, nap, cake, homework, oven, bread, cookies,
        potatoes, soup, dryer, break, meeting, reading, piano, meditation, bath, chicken, stew, yoga,
        parking, steak, dough, washing machine, screen time, study, game, coffee, toast, roast"""),
    "ja": _words("""
        パスタ, ゆで卵, ご飯, 紅茶, 洗濯, ピザ, 筋トレ, 昼寝, ケーキ, 宿題, オーブン, パン, クッキー, スープ,
        休憩, 会議, 読書, ピアノ, 瞑想, お風呂, カップ麺, 煮物, ヨガ, 駐車, ステーキ, 勉強, ゲーム, コーヒー,
        ラーメン, うどん, 煮込み, ストレッチ, 散歩, 歯磨き, 仮眠"""),
}
UNSEEN = {
    "en": _words("""
        quinoa, mozzarella, zucchini, hummus, kimchi, paprika, avocados, blueberries, cilantro, turmeric,
        prosciutto, pistachios, croissants, wasabi, eggplant, detergent, bandages, lasagna, oregano,
        sriracha, granola, tortillas, asparagus, rutabaga, kombucha, parchment, tinsel, velcro,
        binoculars, antifreeze, marshmallows, pomegranate, walnuts, baguettes, thermometer, deodorant,
        mackerel, artichokes, cranberries, persimmons, priya, svetlana, guillermo, mcallister, benedikt,
        xiomara, thaddeus, okonkwo, bjorn, chidi, ingrid, fitzgerald, anastasia, mehmet, siobhan,
        gwendolyn, vikram, tomasz, delphine, obuya, plywood, gasket, kayak, trombone, violin, orchid,
        ferret, gutters, chimney, brochure, podiatrist, orthodontist, accountant, electrician, upholsterer"""),
    "ja": _words("""
        枝豆, 春雨, 鰹節, 柚子, 蓮根, 蒟蒻, 納豆, 銀杏, 昆布, 胡麻油, 甘酒, 葛餅, 明太子, 湯葉, 鱈子, 百合根,
        ひじき, おから, かぼす, らっきょう, ししとう, ちくわ, はんぺん, みつば, こんにゃく, あんみつ, マスカルポーネ,
        ズッキーニ, アボカド, キムチ, モッツァレラ, グラノーラ, ベーグル, タピオカ, ココナッツ, ルッコラ, パプリカ,
        ザーサイ, バルサミコ, デオドラント, 長谷川さん, 五十嵐さん, 榊原さん, 綾瀬さん, 桐谷さん, 早乙女さん,
        ジェシカ, ベンジャミン, アナスタシア, グレゴリー, 涼介, 詩織, 琴音, 蓮太郎, 税理士, 整骨院, 鍵屋, 引越業者,
        胡蝶蘭, 盆栽, 雪駄, 浴衣, 脚立, 養生テープ, 延長コード, 体温計, 除湿剤, 鍋敷き, 金槌, 軽石"""),
}
