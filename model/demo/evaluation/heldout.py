"""Action texts that nobody trained on: which of them the text encoder understands."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from model.demo.world.conditions import SLOTS, Conditions
from model.pipeline.word_hash_tokenizer import WordHashTokenizer
from model.runners.base import ModuleRunner
from model.spec import Graph, ModelSpec

PHRASES = Path(__file__).with_name("heldout_phrases.tsv")
_STARTS = (Conditions(), Conditions(time="night", weather="rain", lamps="on", door="open", fountain="on"))
"""Two states that share no value: a change of any slot to any value is seen from one of them."""

Read = Callable[[Conditions, str], Conditions]
"""The conditions before, a text -> the conditions after."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Phrase:
    """A text and what it asks for, slot by slot; nothing for a text that is not about the world."""

    text: str
    wish: dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TextFigures:
    """right, asked: by slot, the phrasings that ask something of it; "nothing": those that ask for nothing.

    A phrasing is right for a slot if that slot is as wished after it; `whole` ones leave every slot as it should be.
    """

    right: dict[str, int]
    asked: dict[str, int]
    whole: int
    phrases: int
    misread: tuple[str, ...]


def heldout_phrases() -> list[Phrase]:
    """The table in `heldout_phrases.tsv`."""
    rows = [line.split("\t") for line in PHRASES.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    return [
        Phrase(text=text, wish=dict(_pair(part) for part in wish.split(",") if part)) for text, wish in rows
    ]  # fmt: skip


def reader_of(spec: ModelSpec, runner: ModuleRunner) -> Read:
    """A model's text encoder as a function of conditions."""
    tokenize = WordHashTokenizer(vocabulary=spec.text_vocabulary, tokens=spec.text_words)

    def read(before: Conditions, text: str) -> Conditions:
        inputs: dict[str, NDArray[np.generic]] = {"tokens": tokenize(text), "state": before.vector()[None]}
        after = runner.run(Graph.TEXT_ENCODER, inputs)["next_state"][0]
        return Conditions.from_vector(np.asarray(after, dtype=np.float32))

    return read


def text_figures(read: Read, phrases: list[Phrase]) -> TextFigures:
    """Reads every phrase from both of two opposite states."""
    kinds = (*SLOTS, "nothing")
    right, asked, whole, misread = dict.fromkeys(kinds, 0), dict.fromkeys(kinds, 0), 0, []
    for phrase in phrases:
        wrong: set[str] = set()
        for before in _STARTS:
            after, wanted = read(before, phrase.text), before
            for slot, value in phrase.wish.items():
                wanted = wanted.replace(slot, value)
            wrong |= {slot for slot in SLOTS if getattr(after, slot) != getattr(wanted, slot)}
        for slot in phrase.wish:
            asked[slot] += 1
            right[slot] += slot not in wrong
        if not phrase.wish:
            asked["nothing"] += 1
            right["nothing"] += not wrong
        whole += not wrong
        if wrong:
            misread.append(phrase.text)
    return TextFigures(right=right, asked=asked, whole=whole, phrases=len(phrases), misread=tuple(misread))


def _pair(part: str) -> tuple[str, str]:
    slot, value = part.split("=")
    return slot, value
