"""The held-out phrasings: that none can be drawn in training, and how they are counted."""

from __future__ import annotations

import pytest

from model.demo.evaluation.heldout import heldout_phrases, text_figures
from model.demo.training.phrases import COURTESIES, JOINS, clauses
from model.demo.world.conditions import SLOTS, Conditions
from model.pipeline.word_hash_tokenizer import words_of


def spoken(text: str) -> str:
    """A text as the reader gets it: words alone."""
    return " ".join(words_of(text))


@pytest.fixture(scope="module")
def drawable():
    return {spoken(text) for text, _ in clauses()}


def could_be_drawn(text: str, drawable: set[str]) -> bool:
    """Whether `text` is a clause of training, or two that are joined, with or without a courtesy at either end."""
    courtesies = [spoken(courtesy) for courtesy in COURTESIES.split("; ")]
    bodies = [text]
    bodies += [text.removeprefix(f"{c} ") for c in courtesies if text.startswith(f"{c} ")]
    bodies += [text.removesuffix(f" {c}") for c in courtesies if text.endswith(f" {c}")]
    return any(body in drawable or _is_joined(body, drawable) for body in bodies)


def _is_joined(text: str, drawable: set[str]) -> bool:
    words = text.split()
    for cut in range(1, len(words)):
        if " ".join(words[:cut]) not in drawable:
            continue
        rest = " ".join(words[cut:])
        if any(rest.removeprefix(f"{join} ".lstrip()) in drawable for join in map(spoken, JOINS)):
            return True
    return False


def test_no_phrasing_can_be_drawn_in_training(drawable):
    assert [p.text for p in heldout_phrases() if could_be_drawn(spoken(p.text), drawable)] == []


def test_the_proof_finds_what_training_draws(drawable):
    """Or the test above could not fail."""
    for text in ("make it rain", "well make it night", "open the door and it should be foggy for me", "Fog, please!"):
        assert could_be_drawn(spoken(text), drawable)


def test_the_table_is_large_and_asks_for_every_value():
    phrases = heldout_phrases()
    assert len(phrases) >= 200
    assert len({spoken(phrase.text) for phrase in phrases}) == len(phrases)
    asked = [(slot, value) for phrase in phrases for slot, value in phrase.wish.items()]
    assert set(asked) == {(slot, value) for slot, values in SLOTS.items() for value in values}
    assert min(asked.count(pair) for pair in set(asked)) >= 10
    assert sum(not phrase.wish for phrase in phrases) >= 25


def test_a_reader_that_understands_all_is_right_and_one_that_hears_nothing_is_not():
    phrases = heldout_phrases()
    wishes = {phrase.text: phrase.wish for phrase in phrases}

    def perfect(before: Conditions, text: str) -> Conditions:
        for slot, value in wishes[text].items():
            before = before.replace(slot, value)
        return before

    best = text_figures(perfect, phrases)
    assert best.right == best.asked
    assert best.whole == len(phrases)
    deaf = text_figures(lambda before, text: before, phrases)
    assert deaf.right == {**dict.fromkeys(SLOTS, 0), "nothing": best.asked["nothing"]}
    assert deaf.whole == best.asked["nothing"]


def test_a_change_that_nobody_asked_for_is_counted_from_either_state():
    phrases = [p for p in heldout_phrases() if not p.wish]
    for value in SLOTS["weather"]:
        always = text_figures(lambda before, text, value=value: before.replace("weather", value), phrases)
        assert always.whole == 0
