"""Action texts for training the text reader: what people say, and which slots it changes to what."""

from __future__ import annotations

import numpy as np

Wish = dict[str, str]
"""Slot -> value wanted. Slots that are not named stay as they are."""

_NOUNS: dict[tuple[str, str], tuple[str, ...]] = {
    ("time", "day"): ("day", "daytime", "daylight", "morning", "noon", "midday", "a sunny day", "sunlight", "sunrise",
                      "dawn", "afternoon", "bright day"),
    ("time", "dusk"): ("dusk", "evening", "sunset", "twilight", "sundown", "nightfall", "the golden hour",
                       "late evening"),
    ("time", "night"): ("night", "nighttime", "midnight", "dark", "darkness", "moonlight", "a dark night", "late night",
                        "night time"),
    ("weather", "clear"): ("clear", "clear sky", "clear weather", "fair weather", "blue sky", "dry", "good weather",
                           "nice weather", "a cloudless sky", "sunshine"),
    ("weather", "rain"): ("rain", "rainy", "raining", "a storm", "stormy", "pouring", "drizzle", "a shower",
                          "heavy rain", "rainfall", "wet weather", "a downpour"),
    ("weather", "snow"): ("snow", "snowy", "snowing", "snowfall", "a blizzard", "winter", "snowflakes", "heavy snow",
                          "a snowstorm", "wintry"),
    ("weather", "fog"): ("fog", "foggy", "mist", "misty", "haze", "hazy", "thick fog", "a bank of fog", "heavy mist"),
}  # fmt: skip
_MAKE = ("make it {}", "let it be {}", "{}", "{} please", "turn it to {}", "switch to {}", "i want {}", "change to {}",
         "can you make it {}", "set it to {}", "it is {} now", "now {}", "it becomes {}", "let there be {}", "start {}",
         "bring {}", "give me {}", "could we have {}", "it should be {}", "time for {}", "go {}", "let it {}",
         "please make it {}", "it gets {}", "turn {}", "we need {}", "show me {}", "more {}", "i would like {}",
         "begin {}", "start the {}", "make {} happen", "bring on the {}", "have it {}")  # fmt: skip
_STOP = ("stop the {}", "no {}", "no more {}", "stop {}", "end the {}", "without {}", "i do not want {}", "not {}",
         "make the {} stop", "let the {} end", "enough {}", "remove the {}", "turn off the {}", "the {} stops",
         "get rid of the {}", "please stop the {}", "lift the {}", "the {} is over", "it is not {} anymore",
         "cancel the {}", "no {} please", "dont want {}", "i don't want {}", "stop it {}")  # fmt: skip
_LAMPS = ("lamps", "lights", "the lamps", "the lights", "lamp", "the lamp", "lanterns", "the lanterns", "street lamps",
          "all lamps", "the light", "every lamp")  # fmt: skip
_ON = ("turn on {}", "turn {} on", "{} on", "light {}", "switch on {}", "switch {} on", "{} on please", "put {} on",
       "i want {} on", "make {} glow", "enable {}", "let {} shine", "start {}", "could you turn on {}",
       "please light {}", "with {} on", "{} should be on", "turn on {} please", "kindle {}")  # fmt: skip
_OFF = ("turn off {}", "turn {} off", "{} off", "switch off {}", "switch {} off", "put out {}", "no {}", "kill {}",
        "extinguish {}", "i want {} off", "disable {}", "stop {}", "{} out", "without {}", "no more {}",
        "could you turn off {}", "{} should be off", "turn off {} please", "shut {} off")  # fmt: skip
_OTHER = ("hello", "jump", "look around", "walk to the tower", "who are you",
          "pick up the key", "run", "what is this place", "play some music", "go left", "turn around", "sit down",
          "a red car", "dance", "the quick brown fox", "attack", "heal", "save the game", "quit", "help", "yes", "no",
          "stop", "please", "turn", "make it better", "faster", "slow down", "go back", "start", "on", "off",
          "say something", "a dragon appears", "build a house", "where is everybody", "thank you", "paint it blue",
          "bigger", "make it pink", "add a tree", "fly", "wait here", "good bye", "turn it",
          "move forward", "it is", "let it", "switch to camera two", "stop walking", "no thanks")  # fmt: skip
_JOIN = (" and ", ", ", " with ", " then ", " and then ", " but ", " ")
_FILLER = ("ok", "hey", "well", "so", "now", "please", "right", "quickly", "slowly", "then", "a bit", "again")


def draw_phrase(rng: np.random.Generator) -> tuple[str, Wish]:
    """One action text and what it asks for; a tenth ask for nothing that the world knows."""
    kind = rng.random()
    if kind < 0.14:
        return _unknown(rng), {}
    text, wish = _one(rng)
    if kind > 0.72:
        other_text, other = _one(rng)
        if not set(other) & set(wish):
            text, wish = text + str(rng.choice(_JOIN)) + other_text, {**wish, **other}
    if rng.random() < 0.15:
        filler = str(rng.choice(_FILLER))
        text = f"{filler} {text}" if rng.random() < 0.5 else f"{text} {filler}"
    return text, wish


def _one(rng: np.random.Generator) -> tuple[str, Wish]:
    if rng.random() < 0.28:
        on = rng.random() < 0.5
        template = str(rng.choice(_ON if on else _OFF))
        return template.format(rng.choice(_LAMPS)), {"lamps": "on" if on else "off"}
    slot, value = list(_NOUNS)[int(rng.integers(len(_NOUNS)))]
    noun = str(rng.choice(_NOUNS[slot, value]))
    if rng.random() < 0.28 and value not in ("clear", "day"):
        bare = noun.removeprefix("a ").removeprefix("the ")
        return str(rng.choice(_STOP)).format(bare), {slot: "clear" if slot == "weather" else "day"}
    return str(rng.choice(_MAKE)).format(noun), {slot: value}


def _unknown(rng: np.random.Generator) -> str:
    if rng.random() < 0.3:
        letters = list("abcdefghijklmnopqrstuvwxyz")
        count = int(rng.integers(1, 6))
        return " ".join("".join(rng.choice(letters, int(rng.integers(2, 9)))) for _ in range(count))
    text = str(rng.choice(_OTHER))
    if rng.random() < 0.3:
        text += str(rng.choice(_JOIN)) + str(rng.choice(_OTHER))
    return text
