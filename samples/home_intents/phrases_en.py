"""English phrasings of each action, for ``grammar_en.py``."""

from __future__ import annotations

# Imperatives, which may follow "could you ..."; {t} is the thing addressed, {v} the value.
IMPERATIVES: dict[str, tuple[str, ...]] = {
    "turn_on": (
        *("fire up {t}", "activate {t}", "have {t} turned on"),
        "flip on {t}",
        *("turn on {t}", "turn {t} on", "switch on {t}", "switch {t} on"),
        *("power on {t}", "put {t} on", "get {t} running", "start {t}"),
    ),
    "turn_off": (
        *("deactivate {t}", "have {t} switched off", "flip off {t}"),
        "stop {t}",
        *("turn off {t}", "turn {t} off", "switch off {t}", "switch {t} off"),
        *("power off {t}", "shut off {t}", "shut {t} down", "kill {t}"),
    ),
    "set_brightness": (
        *("lower {t} to {v}", "set {t} at {v}", "change the brightness of {t} to {v}"),
        *("dim {t} to {v}", "set {t} to {v}", "set the brightness of {t} to {v}"),
        *("brighten {t} to {v}", "put {t} at {v}", "adjust {t} to {v} brightness"),
        *("bring {t} down to {v}", "turn {t} up to {v}", "make {t} {v} bright"),
    ),
    "set_color": (
        *("make the color of {t} {v}", "change {t} color to {v}"),
        *("make {t} {v}", "turn {t} {v}", "set {t} to {v}", "change {t} to {v}"),
        *("change the color of {t} to {v}", "switch {t} over to {v}", "give {t} a {v} glow"),
    ),
    "set_temperature": (
        *("change the temperature{r} to {v}", "set the heating{r} to {v}", "turn the heating{r} to {v}"),
        *("cool{h} to {v}", "set it to {v}{r}", "set the ac{r} to {v}"),
        "set the heater{r} to {v}",
        *("set the temperature{r} to {v}", "set the thermostat{r} to {v}", "make it {v}{r}"),
        *("heat{h} to {v}", "bring the temperature{r} to {v}", "keep it at {v}{r}"),
        "put the thermostat{r} at {v}",
    ),
    "set_fan_speed": (
        *("turn the fan{r} to {v}", "set the fan{r} to level {v}", "turn the fan{r} to speed {v}"),
        *("set the fan{r} to speed {v}", "put the fan{r} on level {v}", "run the fan{r} on {v}"),
        *("set the fan speed{r} to {v}", "change the fan{r} to level {v}"),
    ),
    "open": (
        *("open {t}", "open up {t}", "raise {t}", "pull up {t}"),
        *("lift {t}", "draw {t} open"),
    ),
    "close": (
        *("close {t}", "shut {t}", "lower {t}", "pull {t} closed"),
        *("pull down {t}", "let down {t}"),
    ),
    "set_position": (
        *("set {t} to {v}", "move {t} to {v}", "put {t} at {v}", "open {t} to {v}"),
        *("open {t} {v} of the way", "adjust {t} to {v}", "leave {t} {v} open"),
    ),
    "set_alarm": (
        *("wake me up {at}", "wake me {at}", "set an alarm {for}", "get me up {at}"),
        *("set my alarm {for}", "set the alarm {for}", "have an alarm ring {at}"),
        "put an alarm on {for}",
    ),
    "cancel_alarm": (
        *("cancel my alarm {for}", "stop the alarm {for}", "clear the alarm {for}"),
        *("cancel the alarm {for}", "delete the alarm {for}", "remove my alarm {at}"),
        *("turn off the alarm {for}", "drop my alarm {for}", "get rid of the alarm {at}"),
    ),
    "play_music": (
        *("turn on some {v}{r}", "put {v} on{r}", "start some {v}{r}"),
        *("play {v}{r}", "play some {v}{r}", "put on {v}{r}", "put some {v} on{r}"),
        *("start playing {v}{r}", "let me hear some {v}{r}"),
    ),
    "stop_music": (
        *("turn off the music{r}", "stop the song{r}", "shut off the music{r}"),
        "switch the music off{r}",
        *("stop the music{r}", "pause the music{r}", "turn the music off{r}"),
        *("stop playing music{r}", "cut the music{r}"),
    ),
    "set_volume": (
        *("turn {t} volume to {v}", "turn the volume of {t} to {v}", "raise {t} volume to {v}"),
        *("lower {t} volume to {v}", "set the sound of {t} to {v}"),
        *("set {t} volume to {v}", "change the volume of {t} to {v}", "put the volume of {t} at {v}"),
        "make {t} volume {v}",
        *("set the volume of {t} to {v}", "set {t} volume to {v}", "turn {t} down to {v}"),
        *("turn {t} up to {v}", "put {t} at volume {v}", "change {t} volume to {v}"),
    ),
    "lock": (
        *("lock {t}", "lock up {t}", "secure {t}", "bolt {t}", "make sure {t} is locked"),
        *("put the lock on {t}", "check that {t} is locked"),
    ),
    "unlock": (
        *("unlock {t}", "unbolt {t}", "release the lock on {t}", "make sure {t} is unlocked"),
        *("open the lock on {t}", "undo the lock on {t}"),
    ),
    "set_scene": (
        *("turn on {v} mode{r}", "enable {v} mode{r}", "change to the {v} scene{r}"),
        *("activate the {v} scene{r}", "start {v} mode{r}", "set the {v} scene{r}"),
        *("switch to {v} mode{r}", "run the {v} scene{r}", "put on the {v} scene{r}"),
    ),
    "add_to_list": (
        *("add {v} to the grocery list", "put {v} on the grocery list", "add {v} to my shopping list"),
        *("add {v} to our list", "include {v} in the shopping list", "get {v} on the shopping list"),
        *("add {v} to the shopping list", "put {v} on the shopping list", "add {v} to my list"),
        *("put {v} on my list", "write down {v} for shopping", "note {v} on the grocery list"),
    ),
}
# Statements, which only take fillers.
STATEMENTS: dict[str, tuple[str, ...]] = {
    "turn_on": (
        *("i want {t} on", "{t} on", "we need {t} running"),
        *("{t} on now", "how about turning on {t}", "i need {t} on"),
        *("would you mind turning on {t}", "it would be great if you turned {t} on"),
    ),
    "turn_off": (
        *("i want {t} off", "{t} off", "we don't need {t} any more"),
        *("{t} off now", "i don't need {t} on", "would you mind turning off {t}"),
        *("{t} can go off", "it would be great if you turned {t} off"),
    ),
    "set_brightness": (
        *("{t} at {v}", "i want {t} at {v}", "{t} should be at {v}"),
        *("{v} brightness for {t}", "how about {v} for {t}", "would you mind setting {t} to {v}"),
    ),
    "set_color": (
        *("i'd like {t} in {v}", "{t} in {v}", "{t} should be {v}"),
        *("i want {t} {v}", "{v} for {t}"),
    ),
    "set_temperature": (
        *("i want it to be {v}{r}", "{v}{r}", "the temperature{r} should be {v}"),
        *("how about {v}{r}", "i'd like {v}{r}", "temperature{r} to {v}"),
    ),
    "set_fan_speed": ("fan{r} on level {v}", "i'd like the fan{r} at speed {v}"),
    "open": (
        *("i want {t} open", "{t} up"),
        *("{t} open", "let's have {t} open", "would you mind opening {t}"),
    ),
    "close": (
        *("i want {t} closed", "{t} down"),
        *("{t} closed", "would you mind closing {t}"),
    ),
    "set_position": ("{t} at {v}", "i want {t} at {v}", "{t} {v} open"),
    "set_alarm": (
        *("i need to get up {at}", "i have to wake up {at}", "alarm {for}"),
        *("i want to wake up {at}", "i'd like an alarm {for}", "i've got to be up {at}"),
        "would you mind waking me {at}",
    ),
    "cancel_alarm": (
        *("i don't need the alarm {at}", "no alarm {at}", "skip the alarm {at}"),
        *("i won't need the alarm {for}", "you can cancel the alarm {for}"),
    ),
    "play_music": (
        *("i want to hear {v}{r}", "i'm in the mood for {v}{r}", "some {v}{r}"),
        *("how about some {v}{r}", "i'd like to listen to {v}{r}", "i feel like some {v}{r}"),
    ),
    "stop_music": (
        *("no more music{r}", "i don't want music{r}", "music off{r}"),
        *("enough music{r}", "that's enough music{r}", "would you mind stopping the music{r}"),
    ),
    "set_volume": ("volume of {t} to {v}", "{t} at volume {v}", "i want {t} volume at {v}"),
    "lock": (
        *("i want {t} locked", "{t} should be locked"),
        *("i'd like {t} locked", "would you mind locking {t}"),
    ),
    "unlock": (
        *("i want {t} unlocked", "{t} should be unlocked"),
        *("i'd like {t} unlocked", "would you mind unlocking {t}"),
    ),
    "set_scene": ("{v} mode{r}", "time for the {v} scene{r}", "{v} scene{r}"),
    "add_to_list": (
        *("we need {v}", "we're out of {w}, get {v}", "i need to buy {v}"),
        *("we've run out of {w}, get {v}", "we're out of {w}, add {v}", "{v} for the shopping list"),
        "shopping list: {v}",
    ),
}
TIMERS = {
    "imperative": (
        *("set a timer for {d}{l}", "set a {d} timer{l}", "start a timer for {d}{l}"),
        *("set the timer to {d}{l}", "put {d} on the timer{l}", "start a{m} timer for {d}"),
        *("start a {d} timer{l}", "set a{m} timer for {d}", "count down {d}{l}", "time {d}{l}"),
    ),
    "statement": ("timer for {d}{l}", "{d} timer{l}", "i need a timer for {d}{l}", "a{m} timer, {d}"),
}
VACUUMS = {
    "imperative": (
        *("vacuum{r}{m}", "start the vacuum{i}{m}", "run the vacuum{i}{m}"),
        *("clean{r}{m}", "sweep{r}{m}", "have the vacuum clean{r}{m}"),
        *("have the robot clean{r}{m}", "send the robot to clean{r}{m}", "hoover{r}{m}"),
    ),
    "statement": ("i want the robot to vacuum{r}{m}", "vacuum{r}{m}"),
}
REMINDERS = {
    "imperative": (
        *("remind me to {v} {s}", "remind me {s} to {v}", "set a reminder to {v} {s}"),
        *("set a reminder {s} to {v}", "make sure i {v} {s}", "add a reminder to {v} {s}"),
        *("remind me that i have to {v} {s}", "create a reminder {s} to {v}", "tell me {s} to {v}"),
        *("put in a reminder to {v} {s}", "remind me i need to {v} {s}"),
    ),
    "statement": (
        *("i need a reminder to {v} {s}", "reminder {s} to {v}", "i mustn't forget to {v} {s}"),
        *("don't let me forget to {v} {s}", "i have to remember to {v} {s}"),
        *("reminder to {v} {s}", "{s} i need a reminder to {v}", "would you remind me to {v} {s}"),
    ),
}
POLITE = (
    *("please {}", "{} please", "could you {}", "could you please {}", "can you {}"),
    *("would you {}", "i'd like you to {}", "i need you to {}", "can you {} please"),
    *("go ahead and {}", "{} for me", "would you please {}", "{}, would you", "{}, please"),
    *("would you be so kind as to {}", "i want you to {}", "be a dear and {}", "kindly {}"),
    *("is it possible to {}", "could you possibly {}", "may i ask you to {}", "can we {}"),
    *("let's {}", "just {}", "now {}", "i was wondering if you could {}", "time to {}"),
)
OPENERS = ("hey, ", "uh, ", "um, ", "ok, ", "okay ", "so ", "hi, ", "well, ", "right, ", "oh, ")
OPENERS += ("hey there, ", "hello, ", "listen, ", "quickly, ", "yo ", "good evening, ", "please, ")
CLOSERS = (", thanks a lot", " when you can", " if you can", " quickly", ", thanks", " thanks", ", thank you", " right away", ", ok", ", cheers")
