"""Action texts: the phrase generator, and what the shipped reader makes of phrasings written by hand."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import model.demo
from model.demo.evaluation.heldout import heldout_phrases, reader_of, text_figures
from model.demo.training.phrases import draw_phrase
from model.demo.world.conditions import SLOTS, STATE_SIZE, Conditions
from model.runners.onnxruntime import OrtRunner
from model.spec import read_spec

WEIGHTS = Path(model.demo.__file__).parent / "weights"
NOON = Conditions()
STORM = Conditions(time="night", weather="rain", lamps="on")
OPEN = Conditions(door="open", fountain="on")

#  before, text, after
HAND_WRITTEN = [
    (NOON, "make it night", Conditions(time="night")),
    (NOON, "Night, please!", Conditions(time="night")),
    (NOON, "it is midnight", Conditions(time="night")),
    (NOON, "let the evening come", Conditions(time="dusk")),
    (NOON, "give me a sunset", Conditions(time="dusk")),
    (NOON, "make it rain", Conditions(weather="rain")),
    (NOON, "start raining", Conditions(weather="rain")),
    (NOON, "rain, please", Conditions(weather="rain")),
    (NOON, "I'd like some rain", Conditions(weather="rain")),
    (NOON, "let it snow", Conditions(weather="snow")),
    (NOON, "a blizzard starts", Conditions(weather="snow")),
    (NOON, "bring on the fog", Conditions(weather="fog")),
    (NOON, "make it misty", Conditions(weather="fog")),
    (NOON, "turn the lamps on", Conditions(lamps="on")),
    (NOON, "lights on", Conditions(lamps="on")),
    (NOON, "light the lanterns", Conditions(lamps="on")),
    (NOON, "open the door", Conditions(door="open")),
    (NOON, "could you open the gate please", Conditions(door="open")),
    (NOON, "start the fountain", Conditions(fountain="on")),
    (NOON, "let the water flow", Conditions(fountain="on")),
    (NOON, "do not let it rain", NOON),
    (NOON, "make it night and turn on the lamps", Conditions(time="night", lamps="on")),
    (NOON, "a snowy evening", Conditions(time="dusk", weather="snow")),
    (NOON, "rain at night", Conditions(time="night", weather="rain")),
    (STORM, "stop the rain", Conditions(time="night", lamps="on")),
    (STORM, "no more rain", Conditions(time="night", lamps="on")),
    (STORM, "it stops raining", Conditions(time="night", lamps="on")),
    (STORM, "clear sky", Conditions(time="night", lamps="on")),
    (STORM, "lights out", Conditions(time="night", weather="rain")),
    (STORM, "switch the lamps off", Conditions(time="night", weather="rain")),
    (STORM, "make it day", Conditions(weather="rain", lamps="on")),
    (STORM, "the morning comes", Conditions(weather="rain", lamps="on")),
    (STORM, "snow instead of rain", Conditions(time="night", weather="snow", lamps="on")),
    (STORM, "", STORM),
    (STORM, "hello there", STORM),
    (OPEN, "shut the door", Conditions(fountain="on")),
    (OPEN, "close the gates", Conditions(fountain="on")),
    (OPEN, "don't open the door", Conditions(fountain="on")),
    (OPEN, "stop the fountain", Conditions(door="open")),
    (OPEN, "no more water", Conditions(door="open")),
    (OPEN, "stop", OPEN),
    (OPEN, "look at the fountain", OPEN),
    (OPEN, "go to the door and wait", OPEN),
    (STORM, "walk to the tower", STORM),
    (STORM, "xyzzy plugh", STORM),
    (STORM, "who are you", STORM),
]


@pytest.fixture(scope="module")
def read():
    runner = OrtRunner(WEIGHTS, threads=1)
    yield reader_of(read_spec(WEIGHTS), runner)
    runner.close()


def test_phrasings_written_by_hand(read):
    wrong = [(text, read(before, text)) for before, text, after in HAND_WRITTEN if read(before, text) != after]
    assert len(wrong) <= 0.1 * len(HAND_WRITTEN), wrong


def test_nine_of_ten_held_out_phrasings_are_understood(read):
    """The figure that `python -m model.demo.evaluate` prints, on what is shipped."""
    figures = text_figures(read, heldout_phrases())
    assert figures.whole >= 0.9 * figures.phrases, figures.misread


def test_drawn_phrases_are_read_as_meant(read):
    rng = np.random.default_rng(99)
    right = 0
    for _ in range(200):
        text, wish = draw_phrase(rng)
        wanted = NOON
        for slot, value in wish.items():
            wanted = wanted.replace(slot, value)
        right += read(NOON, text) == wanted
    assert right >= 190


def test_no_text_changes_nothing_for_every_state(read):
    for time in SLOTS["time"]:
        for weather in SLOTS["weather"]:
            now = Conditions(time=time, weather=weather, lamps="on")
            assert read(now, "") == now


def test_conditions_and_their_vector():
    vector = STORM.vector()
    assert vector.shape == (STATE_SIZE,)
    assert vector.sum() == len(SLOTS)
    assert Conditions.from_vector(vector) == STORM
