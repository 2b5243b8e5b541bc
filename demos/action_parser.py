"""The game's own reading of action texts: a keyword grammar over the demo world's slots.

The network has a text reader of its own; this one keeps the game's truth, and knows nothing of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.demo.world.conditions import Conditions

READY_TEXTS = (
    "make it night",
    "let it be dusk",
    "make it day",
    "let it rain",
    "let it snow",
    "bring thick fog",
    "clear sky",
    "turn on the lamps",
    "turn off the lamps",
    "open the door",
    "close the door",
    "start the fountain",
    "stop the fountain",
)
"""What the keys of the top row say, from 1 to Backspace."""

_MEANINGS: dict[tuple[str, str], str] = {
    ("time", "day"): "day daytime daylight morning noon midday sunny sunlight sunrise dawn afternoon bright",
    ("time", "dusk"): "dusk evening sunset twilight sundown nightfall golden hour",
    ("time", "night"): "night nighttime midnight dark darkness moonlight moonlit starry",
    ("weather", "clear"): "clear blue fair dry cloudless sunshine good nice",
    ("weather", "rain"): "rain rainy raining rainfall raindrops storm stormy thunderstorm pour pouring drizzle "
                         "drizzling shower showers wet downpour",
    ("weather", "snow"): "snow snowy snowing snowfall snowstorm snowflakes flurries blizzard winter wintry",
    ("weather", "fog"): "fog foggy mist misty haze hazy",
}  # fmt: skip
_ENDING = ("no not stop stops without remove cancel enough end ends ended over off out dont never quit rid lift "
           "anymore longer gone fades away tired sick finish drop disappear clears")  # fmt: skip
_LOOKING_BACK = "off out stops ends ended over gone fades anymore away"  # "the rain is over", "the snow stops"
_OPPOSING = frozenset(["not", "dont", "never", "nobody", "longer"])  # "no need to" and "no longer" are the others
_ABOUT = re.compile(r"\b(walk|look|what|stand|where|who|how|sit|talk|meet|touch|paint|climb|describe|towards|hide|"
                    r"find|run to|there|step|do you)\b")  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """Something in the world that is in one of two states, and the words that put it there."""

    nouns: frozenset[str]
    values: tuple[str, str]
    undo: frozenset[str]
    do: frozenset[str]
    can_be_none: bool = True  # "no lamps" puts them out; "no door" is not understood

    def wish(self, words: list[str]) -> str | None:
        """The value that a clause about the thing asks for: what is done to it, the other way round if negated."""
        around = set(words)
        opposed = sum(word in _OPPOSING for word in words) + ("no need" in " ".join(words))
        if around & self.undo:
            return self.values[opposed % 2]
        if around & self.do:
            return self.values[1 - opposed % 2]
        return self.values[0] if self.can_be_none and around & _NEGATIONS else None


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NEGATIONS = _set(_ENDING)
_THINGS = {
    "lamps": _Thing(
        nouns=_set("lamp lamps light lights lantern lanterns"), values=("off", "on"),
        undo=_set("off out unlit extinguish extinguished kill disable shut dim snuff stop dark die"),
        do=_set("on lit alight burn burning glow glowing shine shining light enable start kindle fire"),
    ),
    "door": _Thing(
        nouns=_set("door doors gate gates"), values=("closed", "open"), can_be_none=False,
        undo=_set("close closed closes shut shuts lock locked bolt bolted bar slam bang"),
        do=_set("open opened opens unlock unlocked unbolt unbar ajar"),
    ),
    "fountain": _Thing(
        nouns=_set("fountain fountains water jet"), values=("off", "on"),
        undo=_set("off stop stops stopped dry silent still halt end kill disable deactivate shut"),
        do=_set("on run running start starts begins flow flowing spray spraying splash splashing sprinkle gush bubble "
                "enable activate going fire open"),
    ),
}  # fmt: skip
_SLOT_OF_WORD = {word: slot for slot, words in _MEANINGS.items() for word in words.split()}
_THING_OF_WORD = {word: slot for slot, thing in _THINGS.items() for word in thing.nouns}
_AFTERTHOUGHTS = frozenset(_LOOKING_BACK.split())
_CLAUSE = re.compile(r",|;|\.|\band\b|\bthen\b|\bbut\b|\bwhile\b|\balso\b|(?<!away )\bwith\b|\bover here\b")
_BACK_TO = {"time": "day", "weather": "clear"}
# "good" and "blue" are weather only beside such a noun: "paint it blue" asks for nothing that the world knows.
_NEEDS_NOUN = {
    "good": {"weather"}, "nice": {"weather"}, "fair": {"weather"}, "blue": {"sky", "skies"}, "bright": {"day"},
    "hour": {"golden", "blue"},
}  # fmt: skip
_OF_LAMPS = _set("the that this every all street no")  # before "light", where it is no verb and not the rain's


def understand(text: str) -> dict[str, str]:
    """Which slots a text changes, and to what. Unknown text changes nothing."""
    wishes: dict[str, str] = {}
    for clause in _CLAUSE.split(text.lower().replace("'", "")):
        wishes.update(_clause(re.findall(r"[a-z]+", clause)))
    return wishes


def apply_text(conditions: Conditions, text: str) -> Conditions:
    """The conditions after a player said `text`."""
    for slot, value in understand(text).items():
        conditions = conditions.replace(slot, value)
    return conditions


def _clause(words: list[str]) -> dict[str, str]:
    """A clause is about things, or about weather and time: "the lamps go dark" is not about the night."""
    things = {_THING_OF_WORD[word]: index for index, word in enumerate(words) if _is_thing(words, index)}
    if not things:
        return _values(words)
    if _ABOUT.search(" ".join(words)):
        return {}
    wishes: dict[str, str] = {}
    for slot, index in things.items():
        wish = _THINGS[slot].wish(words[:index] + words[index + 1 :])
        if wish is not None:
            wishes[slot] = wish
    return wishes


def _is_thing(words: list[str], index: int) -> bool:
    """Whether a word names a thing. "light" is one only by itself: not in "light rain", nor in "light the lamps"."""
    if words[index] != "light":
        return words[index] in _THING_OF_WORD
    others = {word for word in words if _THING_OF_WORD.get(word) == "lamps"} - {"light"}
    before, after = words[index - 1] if index else "", words[index + 1] if index + 1 < len(words) else ""
    return not others and before in _OF_LAMPS and _SLOT_OF_WORD.get(after, ("",))[0] != "weather"


def _values(words: list[str]) -> dict[str, str]:
    """A clause may hold several wishes side by side: each reads the words around its own keyword."""
    wishes: dict[str, str] = {}
    keys = [index for index in range(len(words)) if _is_key(words, index)]
    start = 0
    for place, index in enumerate(keys):
        is_last = place + 1 == len(keys)
        end = len(words) if is_last else index + 1
        while not is_last and end < keys[place + 1] and words[end] in _AFTERTHOUGHTS:
            end += 1
        around = set(words[start:index] + words[index + 1 : end])
        start = end
        slot, value = _SLOT_OF_WORD[words[index]]
        if not around & _NEGATIONS:
            wishes[slot] = value
        elif value != _BACK_TO[slot]:
            wishes[slot] = _BACK_TO[slot]
    return wishes


def _is_key(words: list[str], index: int) -> bool:
    """Whether a word names a wish; of "dark night" only the last word does."""
    if words[index] not in _SLOT_OF_WORD or not _NEEDS_NOUN.get(words[index], set(words)) & set(words):
        return False
    following = [word for word in words[index + 1 : index + 3] if word not in ("the", "all", "every")]
    return not (following and _SLOT_OF_WORD.get(following[0]) == _SLOT_OF_WORD[words[index]])
