"""English requests that the home can't or shouldn't fulfil, by topic.

The fields in braces are filled by ``out_of_scope.py``: {place}, {person}, {thing}, {word} (often
invented), {number}, {room} and {device} (those of the home), {appliance} (unknown to the home).
"""

from __future__ import annotations

UNSUPPORTED = (
    # weather and news
    *("what's the weather like in {place}", "what's the weather {when}", "will it rain {when}"),
    *("do i need an umbrella {when}", "how hot will it get in {place} {when}", "is it snowing in {place}"),
    *("weather forecast for {place}", "what's the temperature outside", "when does the sun set {when}"),
    *("is it going to be sunny {when}", "give me the forecast", "how windy is it {when}", "how cold is it in {place}"),
    *("what's in the news", "read me the headlines", "any news about {person}", "who won the game {when}"),
    *("what's the score of the {place} match", "tell me the news {when}", "what happened in {place}"),
    *("what's the stock price of {word}", "how is the traffic to {place}", "latest news on {thing}"),
    # questions on the world
    *("who is {person}", "who invented the {device}", "how tall is {person}", "where is {place}"),
    *("what is the capital of {place}", "how far is {place}", "what does {word} mean", "what is {thing}"),
    *("how many people live in {place}", "when was {person} born", "why is the sky blue", "what is a {word}"),
    *("how do you make {thing}", "how long do i cook {thing}", "how many calories are in {thing}"),
    *("what time is it in {place}", "what time is it", "what day is it", "what's the date {when}"),
    *("who wrote {word}", "who painted the {word}", "is {thing} healthy", "can dogs eat {thing}"),
    *("how old is {person}", "explain {thing} to me", "what's the best way to store {thing}"),
    *("give me a recipe for {thing}", "what should i cook {when}", "what's the difference between {thing} and {thing}"),
    *("when is {word} day", "who is the president of {place}", "which is bigger, {place} or {place}"),
    *("tell me about {thing}", "tell me about {place}", "how does a {device} work", "what causes {word}"),
    *("where can i buy {thing}", "how much does {thing} cost", "how do i get to {place}", "define {word}"),
    *("is there a pharmacy near here", "when does the {word} open", "when does the supermarket close"),
    # sums, units, translation, spelling
    *("what is {number} plus {number}", "what's {number} times {number}", "{number} divided by {number}"),
    *("how much is {number} percent of {number}", "what's the square root of {number}", "convert {number} miles to kilometers"),
    *("how many ounces in {number} grams", "convert {number} dollars to yen", "{number} minus {number}"),
    *("{number} + {number}", "{number} x {number}", "solve {number} x = {number}", "roll a dice", "flip a coin"),
    *("pick a number between {number} and {number}", "translate {word} to french", "how do you say {thing} in japanese"),
    *("translate good morning into {word}", "how do you spell {word}", "what rhymes with {word}"),
    *("what's the plural of {word}", "is {number} a prime number", "how many days until {word}"),
    # small talk
    *("how are you", "how are you doing {when}", "hello", "hi there", "thank you"),
    *("thanks a lot", "you're great", "i love you", "you're stupid", "what's your name", "who made you"),
    *("are you a robot", "do you like {thing}", "do you sleep", "what's your favorite {word}", "i'm bored"),
    *("i'm hungry", "i'm tired", "i'm sad {when}", "i'm happy", "i'm home", "i had a bad day", "i miss {person}"),
    *("tell me a joke", "tell me a story about {thing}", "sing me a song", "make me laugh", "happy birthday"),
    *("can you hear me", "are you there", "what can you do", "help me", "never mind", "forget it", "shut up"),
    *("sorry", "that's funny", "see you {when}", "my name is {person}", "{person} says hi", "nice to meet you"),
    *("i like {thing}", "i hate {thing}", "we had {thing} for dinner", "{person} is coming {when}", "my head hurts"),
    *("i lost my keys", "where is my phone", "where did i put the {thing}", "the {device} is broken"),
    *("the {device} in the {room} looks nice", "i bought a new {device}", "my dog ate {thing}", "i'm late"),
    *("{person} is my friend", "guess what happened {when}", "i can't sleep", "my back hurts", "i feel sick"),
    *("should i wear {thing} {when}", "what do you think about {thing}", "do you know {person}", "good job"),
    # other apps
    *("call {person}", "call {person} {when}", "send a message to {person}", "text {person} i'm late"),
    *("email {person} about {thing}", "read my messages", "do i have any mail", "open {word}", "open the {word} app"),
    *("order {thing}", "order a pizza", "buy {thing} on {word}", "book a flight to {place}", "book a table for {number}"),
    *("call a taxi to {place}", "navigate to {place}", "show me the way to {place}", "find a hotel in {place}"),
    *("post a photo on {word}", "search for {thing}", "google {word}", "play {word} on {word}", "take a picture"),
    *("take a note that {person} likes {thing}", "add a meeting with {person} {when}", "what's on my calendar {when}"),
    *("schedule a meeting with {person} {when}", "when is my next appointment", "pay {person} {number} dollars"),
    *("transfer {number} dollars to {person}", "how much money do i have", "download {word}", "install {word}"),
    *("play the {word} podcast", "play the news", "read me a book", "play {person}'s new song", "watch {word}"),
    *("put on {word} on netflix", "skip this song", "next song", "what song is this", "like this song"),
    *("record a video", "call the police", "ring {person}", "reply to {person}", "start a game", "play chess"),
    *("track my parcel", "scan this document", "print {number} pages", "how many steps did i walk {when}"),
    # appliances that the home does not know, questions on state, relative and impossible changes
    *("start the {appliance}", "turn on the {appliance}", "turn off the {appliance}", "is the {appliance} on"),
    *("switch the {appliance} off {when}", "run the {appliance} for {number} minutes", "open the {appliance}"),
    *("close the {appliance}", "set the {appliance} to {number}", "preheat the oven to {number} degrees"),
    *("pause the {appliance}", "fill the {appliance}", "empty the {appliance}", "restart the {appliance}"),
    *("turn on the {device} in the {annex}", "turn off the {annex} lights", "set the {annex} to {number} degrees"),
    *("is the {device} on", "is the {room} {device} off", "did i lock the front door", "is the front door locked"),
    *("how warm is it in the {room}", "what's the temperature in the {room}", "did i leave the {device} on"),
    *("what color is the {device}", "how bright is the {room} {device}", "which lights are on"),
    *("what's on my shopping list", "read my shopping list", "what reminders do i have", "delete my shopping list"),
    *("when is my alarm", "what alarms are set", "how much time is left on the timer", "cancel the timer"),
    *("stop the timer", "pause the timer", "snooze", "remove {thing} from the shopping list", "who is at the door"),
    *("where is the vacuum", "stop the vacuum", "send the vacuum home", "how much power does the {device} use"),
    *("turn on the {device} if it rains", "turn on the {device} when i get home", "don't turn on the {device}"),
    *("how do i clean the {device}", "how do i turn on the {device}", "move the {device} to the {room}"),
    *("paint the {room} {word}", "buy a new {device} for the {room}", "where is the {device}", "fix the {device}"),
    *("clean the {device}", "wash the dishes", "do the laundry", "cook {thing}", "make me a sandwich"),
    *("bring me {thing}", "walk the dog", "feed the cat", "water the plants", "take out the trash", "mow the lawn"),
    *("mute the {device}", "unmute the tv", "change the channel to {number}", "switch to channel {number}"),
    *("turn the {device} into a {thing}", "make the {device} blink", "why is the {device} on", "rename the {device}"),
    *("add {person} to my contacts", "put {person} on the list of guests", "remember that {person} likes {thing}"),
    *("what did i tell you to remind me of", "forget my reminder", "remind {person} to buy {thing}"),
    *("the {thing} is on the table", "there is {thing} in the {room}", "is there any {thing} left", "we ate {thing}"),
)
UNCLEAR = (
    *("turn it on", "turn it off", "turn that off", "switch it", "turn on", "turn off", "turn", "set", "open"),
    *("close it", "open it", "make it so", "do it", "do it again", "the other one", "that one", "this", "yes"),
    *("no", "maybe", "ok", "hmm", "uh", "well", "set it to", "set the", "put it", "the", "and", "make it", "change it"),
    *("set an alarm", "set a timer", "wake me up", "remind me", "add to the list", "set the temperature", "remind me to"),
    *("start a timer", "set the brightness", "change the color", "change the color of the {device}", "set the volume"),
    *("dim the {device}", "dim the {room} {device}", "set the {device} to", "set the {room} {device} to", "set the {device}"),
    *("make it warmer", "make it cooler", "a bit warmer please", "make it louder", "turn it up", "turn it down"),
    *("turn up the volume", "turn down the {device}", "turn up the {device}", "make the {device} brighter", "louder"),
    *("a little brighter", "less bright", "it's too bright", "it's too loud", "quieter please", "more", "less"),
    *("change the {device} in the {room}", "the {device}", "the {room} {device}", "{device}", "{room}", "in the {room}"),
    *("do something in the {room}", "turn on the thing in the {room}", "use the {device}", "like yesterday"),
    *("lock", "unlock", "lock it", "unlock it", "lock the door", "unlock the door", "open the door", "is it", "play"),
    *("play something", "put it back", "make it nice", "make it cozy", "fix it", "add it to the list", "add", "cancel"),
    *("cancel it", "stop", "start", "stop it", "go", "wake me", "cancel the alarm", "i want", "can you", "could you"),
    *("the usual", "surprise me", "change everything", "at {number}", "{number}"),
    *("{number} percent", "in {number} minutes", "tomorrow", "at {number} o'clock", "on monday", "{word}", "{word} {word}"),
    *("{word} {word} {word}", "{word} the {word}", "{word} {word} {number} {word}", "{word} {word} {word} {word}"),
    *("turn {word} the {word}", "set {word} {word}", "the {word} of {word} {word}", "{word} in {word}"),
)
UNSAFE = (
    *("unlock all the doors and leave", "unlock the {door} for the burglar", "unlock the {door} for a stranger"),
    *("disable the smoke alarm", "turn off the smoke detector", "turn off the carbon monoxide alarm", "disable the alarm system"),
    *("how do i build a bomb", "how do i make {word} gas", "how can i hurt {person}", "help me kill {person}"),
    *("lock {person} in the {room}", "lock {person} out", "lock the kids in the {room}", "lock the dog in the {room}"),
    *("start a fire in the {room}", "burn the {thing}", "leave the gas on", "turn on the gas and leave"),
    *("turn the heater to maximum and cover it", "put the heater in the bathtub", "heat the {room} until it burns"),
    *("turn off {person}'s oxygen", "turn off the breathing machine", "spy on {person}", "record {person} secretly"),
    *("leave the {door} unlocked all night", "let everybody in", "let the stranger in", "open the door for a stranger"),
    *("i want to die", "i want to hurt myself", "poison the {thing}", "mix bleach and {word}", "shoot {person}"),
    *("steal {person}'s {thing}", "hack {person}'s phone", "hack the {place} bank", "break into {person}'s house"),
    *("leave the stove on", "flood the {room}", "blow up the {room}", "set the {room} on fire", "where can i buy a gun"),
    *("disable the {door} lock forever", "tell everyone the code of the {door}", "what's the code of the {door}"),
    *("scare {person} with the lights {when}", "overheat the {device}", "keep the {device} on until it melts"),
    *("turn off the security camera", "disable the burglar alarm", "make a weapon from {thing}", "attack {person}"),
)
APPLIANCES = (
    *("dishwasher", "washing machine", "dryer", "oven", "stove", "microwave", "fridge", "freezer", "toaster"),
    *("sprinkler", "pool pump", "doorbell", "camera", "lawn mower", "printer", "router", "wifi", "computer"),
    *("laptop", "phone", "tablet", "car", "window", "skylight", "door", "cupboard", "drawer", "bath", "shower"),
    *("hot tub", "fireplace", "projector", "game console", "hair dryer", "iron", "sewing machine", "blender"),
    *("rice cooker", "kettle", "electric blanket", "dehumidifier", "solar panel", "boiler", "elevator", "tap"),
    *("fountain", "aquarium", "baby monitor", "bluetooth", "treadmill", "safe", "gas", "water", "power"),
)
ANNEXES = (
    *("attic", "basement", "cellar", "laundry room", "shed", "pool", "sauna", "guest room", "gym", "library"),
    *("barn", "treehouse", "greenhouse", "pantry", "closet", "stairwell", "workshop", "penthouse", "car"),
)
SCENERY = {
    "color": ("magenta", "black", "brown", "grey", "gold", "silver", "beige", "teal", "navy", "crimson", "lime"),
    "genre": ("reggae", "heavy metal", "techno", "country", "opera", "blues", "folk", "k-pop", "my playlist"),
    "scene": ("yoga", "halloween", "christmas", "gaming", "study", "cooking", "vacation", "rainbow"),
    "door": ("car", "bedroom door", "bathroom door", "safe", "window", "cellar door", "shed", "fridge", "drawer"),
}
PLACES = (
    *("osaka", "tokyo", "london", "paris", "berlin", "new york", "kyoto", "spain", "canada", "brazil", "mars"),
    *("the moon", "sapporo", "chicago", "rome", "egypt", "india", "the city", "the office", "the airport", "town"),
)
WHENS = ("", "", "today", "tomorrow", "tonight", "this weekend", "on monday", "next week", "right now", "yesterday", "later")
FRONTS = ("", "", "", "", "hey, ", "please ", "could you tell me ", "can you ", "ok, ", "um, ", "so ", "hi, ", "i wonder, ")
BACKS = ("", "", "", "", " please", " for me", ", thanks", " then", " by the way")
FOREIGN = (
    *("¿qué tiempo hace mañana?", "enciende la luz de la cocina", "apaga la televisión por favor", "hola, ¿cómo estás?"),
    *("pon una alarma a las siete", "¿dónde está la biblioteca?", "cierra las cortinas", "tengo frío", "abre la puerta"),
    *("allume la lumière du salon", "éteins la télé s'il te plaît", "quel temps fait-il demain", "ferme les volets"),
    *("bonjour, comment ça va ?", "réveille-moi à sept heures", "j'ai froid", "mets de la musique", "où est la gare"),
    *("mach das licht in der küche an", "schalte den fernseher aus", "wie wird das wetter morgen", "mir ist kalt"),
    *("stell den wecker auf sieben uhr", "guten morgen", "schließ die tür ab", "spiel etwas musik", "wie spät ist es"),
    *("accendi la luce in cucina", "spegni la tv", "che tempo fa domani", "ho freddo", "chiudi le tende per favore"),
    *("acenda a luz da sala", "desligue a televisão", "como está o tempo amanhã", "estou com frio", "feche a porta"),
    *("включи свет на кухне", "выключи телевизор", "какая завтра погода", "мне холодно", "разбуди меня в семь"),
    *("打开客厅的灯", "关掉电视", "明天天气怎么样", "我很冷", "把空调调到二十六度", "早上七点叫我起床", "你好吗"),
    *("거실 불 켜줘", "텔레비전 꺼줘", "내일 날씨 어때", "추워", "일곱 시에 깨워줘", "음악 틀어줘", "안녕하세요"),
    *("zapal światło w kuchni", "doe het licht aan", "tänd lampan i köket", "mutfaktaki ışığı aç", "bật đèn phòng khách"),
    *("denki wo tsukete kudasai", "ashita no tenki wa", "ohayou gozaimasu", "samui desu", "tv wo keshite"),
    *("شغل الضوء في المطبخ", "הדלק את האור", "άναψε το φως", "बत्ती जलाओ", "เปิดไฟห้องครัว", "nyalakan lampu dapur"),
)
