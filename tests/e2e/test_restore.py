"""A restored state and a refused RESET as a game sees them, over real sockets and with a real engine process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bridge import Client, Part, RemoteProtocolError, Shape, Source
from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.state_file import path_of, read_state
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, ErrorMessage, Hello, PartMove, Reset, Save, Saved, SceneUpdate, Welcome
from bridge.transport.sockets import DealerSocket, Poller, SendResult
from tests.e2e.conftest import HEIGHT, WIDTH

Play = Callable[..., Any]
BOX = Part(id=1, shape=Shape.BOX, position=(0.0, 1.0, -3.0))


def begun(play: Play, client: Client) -> None:
    """Plays until a world that was begun just now shows a frame of the network."""
    newest = max((frame.header.chunk for frame in play(client, lambda frame: True)), default=-1)
    play(client, lambda frame: frame.header.chunk > newest and frame.source is Source.GENERATED)


def level_in(states: Path, name: str) -> SceneUpdate:
    engine = SyntheticEngine(SyntheticConfig(width=WIDTH, height=HEIGHT, frames_per_chunk=(5,)))
    return engine.scene_of(read_state(path_of(states, name), engine.info))


@pytest.fixture
def states(start_service: Any, play: Play, tmp_path: Path) -> tuple[Any, Path]:
    """A service, and the folder where it keeps the state `x`, of a level with part 1."""
    service = start_service(states=tmp_path)
    with service.client() as client:
        client.set_scene([BOX], prompt="a castle", seed=5)
        begun(play, client)
        client.save("x")
    assert level_in(tmp_path, "x") == SceneUpdate(prompt="a castle", seed=5, replace=True, add=(BOX,))
    return service, tmp_path


def test_a_restored_level_can_be_changed_at_once_and_kept(states: tuple[Any, Path], play: Play) -> None:
    service, folder = states
    with service.client() as client:
        begun(play, client)
        client.reset(restore="x")
        client.update_scene(move=[PartMove(id=1, position=(0.0, 1.0, -4.0))])
        client.update_scene(add=[Part(id=2, shape=Shape.BOX, position=(2.0, 1.0, -4.0))])
        begun(play, client)
        begun(play, client)
        client.save("changed")
        client.reset()
        begun(play, client)
        client.save("after")
    changed = level_in(folder, "changed")
    assert [(part.id, part.position) for part in changed.add] == [(1, (0.0, 1.0, -4.0)), (2, (2.0, 1.0, -4.0))]
    assert (changed.prompt, changed.seed, changed.replace) == ("a castle", 5, True)
    assert level_in(folder, "after") == changed


def test_frames_come_again_after_a_reset_that_was_refused(states: tuple[Any, Path], play: Play) -> None:
    service, folder = states
    with service.client() as client:
        client.set_scene([BOX], prompt="a tower")
        begun(play, client)
        client.reset(restore="nope")
        client.update_scene(add=[Part(id=3, shape=Shape.BOX, position=(2.0, 1.0, -4.0))])
        with pytest.raises(RemoteProtocolError, match="no saved state 'nope'"):
            begun(play, client)
        begun(play, client)
        begun(play, client)
        client.save("y")
    level = level_in(folder, "y")
    assert (level.prompt, [part.id for part in level.add]) == ("a tower", [1, 3])


def test_after_a_reset_what_is_not_held_is_of_a_later_chunk(start_service: Any, play: Play) -> None:
    with start_service().client() as client:
        before = play(client, lambda frame: frame.header.chunk >= 2)[-1]
        client.reset(seed=31)
        frames = play(client, lambda frame: frame.source is Source.GENERATED)
    assert all(frame.header.chunk > before.header.chunk for frame in frames if frame.source is not Source.HELD)
    assert all(frame.header.chunk <= before.header.chunk for frame in frames if frame.source is Source.HELD)


def test_every_save_is_answered_whatever_is_said_right_behind_it(states: tuple[Any, Path], play: Play) -> None:
    service, _ = states
    socket = DealerSocket(service.address)
    poller = Poller()
    poller.watch(socket)
    answered: list[str] = []

    def read_until(done: Callable[[], bool]) -> None:
        for _ in range(200):
            poller.wait(50_000)
            while (parts := socket.receive()) is not None:
                message = decode(parts).message
                opened.append(isinstance(message, Welcome))
                if isinstance(message, Saved):
                    answered.append(message.name)
                elif isinstance(message, ErrorMessage):
                    assert message.in_reply_to == "SAVE"
                    answered.append("")
            if done():
                return
        raise AssertionError(f"answered: {answered}")

    opened: list[bool] = []
    while socket.send(encode(Hello(version_major=1, version_minor=1, client="saver"))) is not SendResult.SENT:
        poller.wait(10_000)
    read_until(lambda: any(opened))
    control = Control(seq=0, t_us=0, position=(0, 0, 0), rotation=(0, 0, 0, 1), vertical_fov_deg=60.0)
    # The world of the first RESET may have begun when the second comes, or not: both SAVEs have an answer.
    for message in (control, Reset(), Save(name="a"), Reset(), Save(name="b")):
        socket.send(encode(message))
    read_until(lambda: len(answered) == 2)
    assert answered[1] == "b"
    socket.send(encode(Save(name="c")))
    socket.send(encode(Reset(seed=4)))
    read_until(lambda: len(answered) == 3)
    assert answered[2] == "c", "its world had begun"
    socket.close()
