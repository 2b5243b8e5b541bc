"""The game's own reading of action texts: a keyword grammar over the demo world's slots.

The network has a text reader of its own; this one keeps the game's truth, and knows nothing of the other.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from model.demo.conditions import Conditions

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
    ("time", "dusk"): "dusk evening sunset twilight sundown nightfall golden",
    ("time", "night"): "night nighttime midnight dark darkness moonlight",
    ("weather", "clear"): "clear blue fair dry cloudless sunshine good nice",
    ("weather", "rain"): "rain rainy raining rainfall storm stormy pouring drizzle shower wet downpour",
    ("weather", "snow"): "snow snowy snowing snowfall snowstorm snowflakes blizzard winter wintry",
    ("weather", "fog"): "fog foggy mist misty haze hazy",
}
_NEGATING = "no not stop stops without remove cancel enough end over off out dont rid lift anymore"
_LOOKING_BACK = "on off out stops over is anymore open closed shut"  # "lamps off", "the rain is over", "the door shut"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Thing:
    """Something in the world that is in one of two states, and the words that put it there."""

    nouns: frozenset[str]
    values: tuple[str, str]
    undo: frozenset[str]
    do: frozenset[str]

    def wish(self, around: set[str]) -> str | None:
        """The value that the words around the noun ask for; undoing words win."""
        if around & self.undo:
            return self.values[0]
        return self.values[1] if around & self.do else None


_NEGATIONS = frozenset(_NEGATING.split())
_THINGS = {
    "lamps": _Thing(
        nouns=frozenset(["lamp", "lamps", "light", "lights", "lantern", "lanterns"]), values=("off", "on"),
        undo=_NEGATIONS | frozenset(["kill", "extinguish", "disable", "shut"]),
        do=frozenset(["on", "light", "glow", "enable", "shine", "start", "kindle", "with"]),
    ),
    "door": _Thing(
        nouns=frozenset(["door", "doors", "gate", "gates"]), values=("closed", "open"),
        undo=frozenset(["close", "closed", "closes", "shut", "shuts", "lock", "bolt", "bar"]),
        do=frozenset(["open", "opened", "opens", "unlock", "unbolt"]),
    ),
    "fountain": _Thing(
        nouns=frozenset(["fountain", "fountains"]), values=("off", "on"),
        undo=_NEGATIONS | frozenset(["kill", "disable", "shut", "dry"]),
        do=frozenset(["on", "run", "running", "start", "flow", "spray", "splash", "enable", "with", "let"]),
    ),
}  # fmt: skip
_SLOT_OF_WORD = {word: slot for slot, words in _MEANINGS.items() for word in words.split()}
_SLOT_OF_WORD |= {word: (slot, "") for slot, thing in _THINGS.items() for word in thing.nouns}
_AFTERTHOUGHTS = frozenset(_LOOKING_BACK.split())
_CLAUSE = re.compile(r",|;|\.|\band\b|\bthen\b|\bbut\b")
_BACK_TO = {"time": "day", "weather": "clear"}
# "good" and "blue" are weather only beside such a noun: "paint it blue" asks for nothing that the world knows.
_NEEDS_NOUN = {"good": {"weather"}, "nice": {"weather"}, "fair": {"weather"}, "blue": {"sky"}, "bright": {"day"}}


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
        if slot in _THINGS:
            wish = _THINGS[slot].wish(around)
            if wish is not None:
                wishes[slot] = wish
        elif not around & _NEGATIONS:
            wishes[slot] = value
        elif value != _BACK_TO[slot]:
            wishes[slot] = _BACK_TO[slot]
    return wishes


def _is_key(words: list[str], index: int) -> bool:
    """Whether a word names a wish; of "dark night" or "light the lamps" only the last word does."""
    if words[index] not in _SLOT_OF_WORD or not _NEEDS_NOUN.get(words[index], set(words)) & set(words):
        return False
    following = [word for word in words[index + 1 : index + 3] if word not in ("the", "all", "every", "street")]
    return not (following and _SLOT_OF_WORD.get(following[0]) == _SLOT_OF_WORD[words[index]])
