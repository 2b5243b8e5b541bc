"""The game's reading of action texts."""

from __future__ import annotations

import numpy as np
import pytest

from demos.action_parser import READY_TEXTS, apply_text, understand
from model.demo.training.phrases import draw_phrase
from model.demo.world.conditions import SLOTS, Conditions


@pytest.mark.parametrize(
    ("text", "wishes"),
    [
        ("make it night", {"time": "night"}),
        ("Let it RAIN!", {"weather": "rain"}),
        ("stop the rain", {"weather": "clear"}),
        ("the rain is over", {"weather": "clear"}),
        ("make the snow stop", {"weather": "clear"}),
        ("i don't want fog", {"weather": "clear"}),
        ("it is not night anymore", {"time": "day"}),
        ("turn off the lamps", {"lamps": "off"}),
        ("lamps on", {"lamps": "on"}),
        ("light the lights", {"lamps": "on"}),
        ("look at the lamp", {}),
        ("open the door", {"door": "open"}),
        ("the gate is shut", {"door": "closed"}),
        ("close the door and start the fountain", {"door": "closed", "fountain": "on"}),
        ("stop the fountain, light the lamps", {"fountain": "off", "lamps": "on"}),
        ("let the fountain flow", {"fountain": "on"}),
        ("walk to the door", {}),
        ("stop the rain and make it dusk", {"weather": "clear", "time": "dusk"}),
        ("turn off the lamps, let it snow", {"lamps": "off", "weather": "snow"}),
        ("make it night no rain", {"time": "night", "weather": "clear"}),
        ("no more dark night", {"time": "day"}),
        ("paint it blue", {}),
        ("a blue sky", {"weather": "clear"}),
        ("stop", {}),
        ("the training train trains", {}),
        ("", {}),
    ],
)
def test_meaning(text: str, wishes: dict[str, str]) -> None:
    assert understand(text) == wishes


def test_every_ready_text_is_understood_and_all_values_can_be_had() -> None:
    wished = {(slot, value) for text in READY_TEXTS for slot, value in understand(text).items()}
    assert wished == {(slot, value) for slot, values in SLOTS.items() for value in values}


def test_agrees_with_the_words_that_the_network_learns_from() -> None:
    """The game and the network must mean the same by the same words, or the truth and the picture part ways."""
    rng = np.random.default_rng(7)
    phrases = [draw_phrase(rng) for _ in range(400)]
    agreed = sum(understand(text) == wish for text, wish in phrases)
    assert agreed >= 0.98 * len(phrases)


def test_texts_add_up() -> None:
    conditions = Conditions()
    for text in ("make it night", "let it snow", "lamps on", "clear sky"):
        conditions = apply_text(conditions, text)
    assert conditions == Conditions(time="night", weather="clear", lamps="on")
