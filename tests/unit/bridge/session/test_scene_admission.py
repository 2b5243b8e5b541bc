"""What SCENE and RESET add up to, and what waits while a saved state is read."""

from __future__ import annotations

import dataclasses
import struct

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_PARTS, MAX_SESSION_MESH_BYTES
from bridge.protocol.messages import ErrorMessage, Part, PartMove, Reset, SceneUpdate, Shape
from bridge.session.events import Output, ResetAccepted, SceneAccepted, Send
from bridge.session.scene_admission import MOST_WAITING, SceneAdmission
from bridge.session.session import Session
from tests import valid_messages as sound_messages
from tests.valid_messages import HELLO
from tests.valid_messages import OFFER as PLAIN_OFFER

BOX = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, 0.0))


@pytest.fixture
def session() -> Session:
    made = Session(offer=PLAIN_OFFER, config=ServeConfig(), session_id="id", resume_token="secret", now_us=0)
    made.receive(HELLO, 0)
    return made


def the_error(outputs: list[Output]) -> ErrorMessage:
    first = outputs[0]
    assert isinstance(first, Send)
    assert isinstance(first.message, ErrorMessage)
    return first.message


def test_the_default_map_cannot_be_edited(session: Session) -> None:
    assert the_error(session.receive(SceneUpdate(add=(BOX,)), 0)).code is ErrorCode.UNKNOWN_PART
    assert session.receive(SceneUpdate(prompt="night"), 0) == [SceneAccepted(update=SceneUpdate(prompt="night"))]
    assert isinstance(session.receive(SceneUpdate(replace=True, add=(BOX,)), 0)[0], SceneAccepted)
    assert isinstance(session.receive(SceneUpdate(add=(msgspec.structs.replace(BOX, id=2),)), 0)[0], SceneAccepted)


def test_moving_a_part_that_was_never_added_is_refused_and_changes_nothing(session: Session) -> None:
    session.receive(SceneUpdate(replace=True, add=(BOX,)), 0)
    move = PartMove(id=2, position=(0.0, 0.0, 0.0))
    update = SceneUpdate(add=(msgspec.structs.replace(BOX, id=3),), move=(move,))
    assert the_error(session.receive(update, 0)).code is ErrorCode.UNKNOWN_PART
    on_three = SceneUpdate(move=(PartMove(id=3, position=(0.0, 0.0, 0.0)),))
    assert the_error(session.receive(on_three, 0)).code is ErrorCode.UNKNOWN_PART


def test_parts_are_counted_over_the_session(session: Session) -> None:
    many = tuple(msgspec.structs.replace(BOX, id=i) for i in range(MAX_PARTS))
    assert isinstance(session.receive(SceneUpdate(replace=True, add=many), 0)[0], SceneAccepted)
    one_more = SceneUpdate(add=(msgspec.structs.replace(BOX, id=MAX_PARTS),))
    assert the_error(session.receive(one_more, 0)).code is ErrorCode.TOO_MANY_PARTS
    assert isinstance(session.receive(msgspec.structs.replace(one_more, remove=(0,)), 0)[0], SceneAccepted)


def test_mesh_bytes_are_counted_over_the_session(session: Session) -> None:
    vertices = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
    triangles = struct.pack("<3I", 0, 1, 2) * 100_000
    mesh = Part(id=0, shape=Shape.MESH, position=(0.0, 0.0, 0.0), vertices=vertices, triangles=triangles)
    fits = MAX_SESSION_MESH_BYTES // (len(vertices) + len(triangles))
    session.receive(SceneUpdate(replace=True), 0)
    codes = []
    for key in range(fits + 1):
        first = session.receive(SceneUpdate(add=(msgspec.structs.replace(mesh, id=key),)), 0)[0]
        codes.append(
            first.message.code if isinstance(first, Send) and isinstance(first.message, ErrorMessage) else None
        )
    assert codes == [None] * fits + [ErrorCode.TOO_LARGE]


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


@pytest.mark.parametrize(
    ("update", "accepted"),
    [
        (
            SceneUpdate(add=(msgspec.structs.replace(BOX, id=2),), move=(PartMove(id=2, position=(1.0, 0.0, 0.0)),)),
            True,
        ),
        (SceneUpdate(remove=(1,), move=(PartMove(id=1, position=(1.0, 0.0, 0.0)),)), False),
    ],
)
def test_a_move_names_a_part_that_is_there_after_the_update_added_and_removed(
    update: SceneUpdate, accepted: bool
) -> None:
    session = Session(offer=PLAIN_OFFER, config=ServeConfig(), session_id="id", resume_token="secret", now_us=0)
    session.receive(HELLO, 0)
    session.receive(SceneUpdate(replace=True, add=(BOX,)), 0)
    first = session.receive(update, 0)[0]
    if accepted:
        assert isinstance(first, SceneAccepted)
    else:
        assert isinstance(first, Send)
        assert isinstance(first.message, ErrorMessage)
        assert first.message.code is ErrorCode.UNKNOWN_PART
