"""What SCENE and RESET add up to, and what waits while a saved state is read."""

from __future__ import annotations

import dataclasses

import pytest

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import Part, PartMove, Reset, SceneUpdate, Shape
from bridge.session.events import ResetAccepted, SceneAccepted
from bridge.session.scene_admission import MOST_WAITING, SceneAdmission
from tests import valid_messages as sound_messages

OFFER = dataclasses.replace(sound_messages.OFFER, capabilities=("pictures", "save"))
SAVED = SceneUpdate(prompt="x", seed=3, replace=True, add=(Part(id=7, shape=Shape.BOX, position=(0.0, 0.0, 0.0)),))
MOVE = SceneUpdate(move=(PartMove(id=7, position=(1.0, 0.0, 0.0)),))


def test_a_restored_blockout_can_be_changed() -> None:
    level = SceneAdmission(OFFER)
    with pytest.raises(RemoteProtocolError, match="default map"):
        level.receive(MOVE)
    assert level.receive(Reset(restore="a")) == [ResetAccepted(reset=Reset(restore="a"))]
    assert level.restored(SAVED) == []
    assert level.receive(MOVE) == [SceneAccepted(update=MOVE)]


def test_what_comes_while_a_state_is_read_is_judged_by_what_it_tells() -> None:
    level = SceneAdmission(OFFER)
    level.receive(Reset(restore="a"))
    assert [level.receive(each) for each in (MOVE, Reset(restore="b"), MOVE)] == [[], [], []]
    assert level.restored(SAVED) == [MOVE, Reset(restore="b"), MOVE]
    assert level.receive(MOVE)
    assert level.receive(Reset(restore="b"))
    assert level.receive(MOVE) == [], "it waits for the second state"


def test_a_state_that_cannot_be_read_leaves_the_level_as_it_was() -> None:
    level = SceneAdmission(OFFER)
    level.receive(Reset(restore="a"))
    level.receive(MOVE)
    assert level.restored(None) == [MOVE]
    with pytest.raises(RemoteProtocolError, match="default map"):
        level.receive(MOVE)


def test_a_restored_default_map_is_the_default_map() -> None:
    level = SceneAdmission(OFFER)
    level.receive(SAVED)
    level.receive(Reset(restore="a"))
    level.restored(SceneUpdate(prompt="x", seed=3))
    with pytest.raises(RemoteProtocolError, match="default map"):
        level.receive(MOVE)


def test_what_waits_is_bounded() -> None:
    level = SceneAdmission(OFFER)
    level.receive(Reset(restore="a"))
    for _ in range(MOST_WAITING):
        level.receive(MOVE)
    with pytest.raises(RemoteProtocolError) as refused:
        level.receive(MOVE)
    assert refused.value.code is ErrorCode.TOO_LARGE
