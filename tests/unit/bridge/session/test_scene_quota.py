"""What the scenes of a session add up to, and which of them are refused."""

from __future__ import annotations

import struct

import msgspec
import pytest

from bridge.config import ServeConfig
from bridge.errors import ErrorCode
from bridge.protocol.fields import MAX_PARTS, MAX_SESSION_MESH_BYTES
from bridge.protocol.messages import ErrorMessage, Part, PartMove, SceneUpdate, Shape
from bridge.session.events import Output, SceneAccepted, Send
from bridge.session.session import Session
from tests.valid_messages import HELLO, OFFER

BOX = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, 0.0))


@pytest.fixture
def session() -> Session:
    made = Session(offer=OFFER, config=ServeConfig(), session_id="id", resume_token="secret", now_us=0)
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
