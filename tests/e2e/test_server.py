"""The service as a game sees it, over real sockets and with a real engine process."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bridge import Camera, Part, RemoteProtocolError, SessionBusy, SessionClosed, Shape, Source
from bridge.backends.synthetic import render_room
from bridge.config import ServeConfig
from bridge.engine.pipe import EngineConfig
from bridge.errors import ConfigError, EngineUnavailable, ErrorCode
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, FrameHeader, Hello, Message, SceneUpdate, Welcome
from bridge.service.inbound_queue import BIG_BYTES
from bridge.service.render_session import RenderSession
from bridge.service.server import Server
from bridge.session.events import ControlAccepted
from bridge.transport.sockets import DealerSocket

Play = Callable[..., Any]


def truth(header: FrameHeader, seed: int = 0) -> np.ndarray:
    """What the synthetic engine would paint at the pose that the header claims."""
    pixels, _ = render_room(
        np.array(header.position), np.array(header.rotation), header.vertical_fov_deg, header.width, header.height,
        phase=seed % 97 * 0.1,
    )  # fmt: skip
    return pixels


def psnr_db(a: np.ndarray, b: np.ndarray) -> float:
    inner = np.s_[6:-6, 6:-6]
    error = np.mean((a[inner].astype(np.float64) - b[inner].astype(np.float64)) ** 2)
    return float(10 * np.log10(255.0**2 / max(error, 1e-9)))


def stroll(seconds: float) -> Camera:
    half = 0.15 * np.sin(seconds)
    return Camera(position=(0.5 * seconds, 0.0, 0.0), rotation=(0.0, float(np.sin(half)), 0.0, float(np.cos(half))))


def test_every_control_is_answered_and_the_header_tells_the_truth(start_service: Any, play: Play) -> None:
    with start_service().client() as client:
        frames = play(client, lambda frame: frame.header.chunk >= 8, camera=stroll)
        stats = client.stats()
        counts = client.counts
    assert counts.unanswered == 0
    assert [frame.seq for frame in frames] == list(range(len(frames)))
    assert stats.controls == stats.answered == stats.generated + stats.reprojected + stats.held == len(frames)
    by_source = {source: [f for f in frames if f.source is source] for source in Source}
    assert stats.generated == len(by_source[Source.GENERATED]) > 0
    for frame in by_source[Source.GENERATED]:
        assert psnr_db(frame.pixels, truth(frame.header)) > 45
    assert np.median([psnr_db(frame.pixels, truth(frame.header)) for frame in by_source[Source.REPROJECTED]]) > 30
    for frame in by_source[Source.HELD]:
        assert frame.header.chunk == -1
        assert np.all(frame.pixels == 128)
    keys = [(f.header.chunk, f.header.index) for f in frames if f.source is Source.GENERATED]
    assert keys == sorted(set(keys)), "a generated frame was shown twice or out of order"
    assert stats.generated_fps > 0
    assert stats.chunk_ms_p50 >= 40
    assert stats.engine_restarts == 0


def test_action_text_reaches_the_frames(start_service: Any, play: Play) -> None:
    with start_service().client() as client:
        frames = play(client, lambda frame: frame.header.action == "let it rain", action="let it rain")
    assert frames[-1].header.chunk >= 0


def test_a_reset_begins_the_world_anew_with_its_seed(start_service: Any, play: Play) -> None:
    with start_service().client() as client:
        play(client, lambda frame: frame.header.chunk >= 1)
        client.reset(seed=31)
        frames = play(client, lambda frame: psnr_db(frame.pixels, truth(frame.header, seed=31)) > 40)
    assert frames[-1].header.chunk >= 2


def test_a_teleport_is_never_bridged_by_bending(start_service: Any, play: Play) -> None:
    with start_service().client() as client:
        play(client, lambda frame: frame.header.chunk >= 2)
        there = Camera(position=(10.0, 1.0, -8.0), rotation=(0.0, 1.0, 0.0, 0.0))
        frame = client.step(there, teleport=True)
        assert frame.source is Source.HELD
        frames = play(client, lambda frame: frame.source is not Source.HELD, camera=lambda seconds: there)
    assert psnr_db(frames[-1].pixels, truth(frames[-1].header)) > 40
    assert frames[-1].header.position == pytest.approx(there.position)


def test_jpeg_is_sent_to_who_wants_it(start_service: Any, play: Play) -> None:
    with start_service().client(pixel_formats=("jpeg",)) as client:
        frames = play(client, lambda frame: frame.source is Source.GENERATED)
    assert psnr_db(frames[-1].pixels, truth(frames[-1].header)) > 25


def test_a_scene_the_engine_refuses_is_an_error_for_that_client_alone(start_service: Any, play: Play) -> None:
    vertices = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4").tobytes()
    mesh = Part(
        id=1, shape=Shape.MESH, position=(0, 0, 0), vertices=vertices, triangles=np.array([[0, 1, 2]], "<u4").tobytes()
    )
    box = Part(id=2, shape=Shape.BOX, position=(0, 0, 0))
    service = start_service()
    with service.client() as other, service.client() as client:
        play(other, lambda frame: frame.header.chunk >= 0)
        client.set_scene([mesh])
        with pytest.raises(RemoteProtocolError, match="mesh"):
            play(client, lambda frame: frame.header.chunk >= 0)
        client.set_scene([box])
        play(client, lambda frame: frame.header.chunk >= 1)
        client.update_scene(add=[mesh])
        with pytest.raises(RemoteProtocolError, match="mesh"):
            play(client, lambda frame: False)
        newest = client.step(Camera(position=(0, 0, 0))).header.chunk
        play(client, lambda frame: frame.header.chunk > newest + 1)
        play(other, lambda frame: frame.source is Source.GENERATED)
        assert other.errors == ()


def test_no_room_is_said_and_room_comes_back(start_service: Any) -> None:
    service = start_service(max_sessions=1)
    with service.client(), pytest.raises(SessionBusy, match="taken"):
        service.client()
    deadline = time.monotonic() + 5
    while True:
        try:
            service.client().close()
            break
        except SessionBusy:
            assert time.monotonic() < deadline


def exchange(socket: DealerSocket, message: Message, kind: type[Message]) -> Any:
    """Sends, and waits for the next message of a kind."""
    deadline = time.monotonic() + 5
    while socket.send(encode(message)).value != "sent":
        assert time.monotonic() < deadline
        time.sleep(0.005)
    while time.monotonic() < deadline:
        if (parts := socket.receive()) is None:
            time.sleep(0.001)
        elif isinstance(answer := decode(parts).message, kind):
            return answer
    raise AssertionError(f"no {kind.__name__}")


def control(seq: int) -> Control:
    return Control(
        seq=seq, t_us=seq, position=(0, 0, 0), rotation=(0, 0, 0, 1), vertical_fov_deg=60, frame_received_seq=seq - 1
    )


def test_a_control_behind_two_big_scenes_is_answered_at_once(start_service: Any) -> None:
    """Big messages are handled after the small ones; when they are, nothing else may wake the server for a second."""
    service = start_service(engine={"cost_ms": 4000.0})  # no engine event comes to its help
    parts = tuple(Part(id=number, shape=Shape.BOX, position=(0, 0, 0)) for number in range(600))
    scene = encode(SceneUpdate(replace=True, add=parts))
    assert sum(map(len, scene)) > BIG_BYTES
    took_s = []
    with DealerSocket(service.address) as socket:
        exchange(socket, Hello(version_major=1, version_minor=0, client="test"), Welcome)
        exchange(socket, control(0), FrameHeader)
        for seq in (1, 2, 3):
            for _ in range(2):
                socket.send_or_lose(scene)
            began = time.monotonic()
            assert exchange(socket, control(seq), FrameHeader).seq == seq
            took_s.append(time.monotonic() - began)
    assert min(took_s) < 0.1, took_s


def test_a_mistake_of_ours_in_one_answer_ends_that_session_alone(
    start_service: Any, play: Play, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    right = RenderSession.answer

    def answer(self: RenderSession, accepted: ControlAccepted, *how: Any) -> Any:
        if accepted.control.action == "divide by zero":
            raise ZeroDivisionError("a mistake of ours")
        return right(self, accepted, *how)

    monkeypatch.setattr(RenderSession, "answer", answer)
    service = start_service()
    here = Camera(position=(0, 0, 0))
    with service.client() as other, service.client() as client:
        client.step(here)
        with pytest.raises(RemoteProtocolError, match="see its log") as told:
            client.step(here, "divide by zero")
        assert (told.value.code, told.value.fatal) == (ErrorCode.INTERNAL, True)
        play(other, lambda frame: frame.header.chunk >= 1)
        assert other.stats().sessions == 1
    assert "ZeroDivisionError: a mistake of ours" in caplog.text


def test_a_client_that_vanishes_is_missed_and_can_resume_its_world(start_service: Any) -> None:
    service = start_service(heartbeat_us=300_000, missed_heartbeats=2, max_sessions=2)
    hello = Hello(version_major=1, version_minor=0, client="test")
    with DealerSocket(service.address) as first:
        welcome = exchange(first, hello, Welcome)
        frame = exchange(first, control(0), FrameHeader)
        while frame.chunk < 1:
            time.sleep(0.01)
            frame = exchange(first, control(frame.seq + 1), FrameHeader)
        last_seq = frame.seq
    time.sleep(1.0)  # over three heartbeats: the session is lost, not closed
    with DealerSocket(service.address) as second:
        back = Hello(
            version_major=1, version_minor=0, client="test", session_id=welcome.session_id,
            resume_token=welcome.resume_token,
        )  # fmt: skip
        again = exchange(second, back, Welcome)
        assert (again.resumed, again.session_id, again.last_seq) == (True, welcome.session_id, last_seq)
        frame = exchange(second, control(last_seq + 1), FrameHeader)
        assert frame.source is not Source.HELD
        assert frame.chunk >= 1


def test_stopping_says_bye_and_ends_the_engine(start_service: Any, engine_pid: Callable[[], int | None]) -> None:
    service = start_service()
    with service.client() as client:
        client.step(Camera(position=(0, 0, 0)))
        assert engine_pid() is not None
        service.server.stop()
        with pytest.raises(SessionClosed, match="stops"):
            client.receive(timeout_s=5)
    service.stop()
    assert engine_pid() is None


def test_an_engine_that_cannot_be_had_is_said_once_and_clearly() -> None:
    engine = EngineConfig(settings={"unavailable": "onnxruntime is missing: pip install helios-bridge[onnx]"})
    with pytest.raises(EngineUnavailable, match="pip install"):
        Server(ServeConfig(bind="tcp://127.0.0.1:*"), engine).run()
    with pytest.raises(ConfigError, match="module:attribute"):
        Server(ServeConfig(bind="tcp://127.0.0.1:*"), EngineConfig(factory="bridge.nowhere:create")).run()


def test_a_taken_port_is_said_before_an_engine_is_started(
    start_service: Any, engine_pid: Callable[[], int | None]
) -> None:
    service = start_service()
    before = engine_pid()
    with pytest.raises(ConfigError, match="in use"):
        Server(ServeConfig(bind=service.address), EngineConfig())
    assert engine_pid() == before


SERVE = """
from bridge.config import ServeConfig
from bridge.engine.pipe import EngineConfig
from bridge.service.server import Server
if __name__ == "__main__":
    import multiprocessing
    def ready(address):
        print(address, multiprocessing.active_children()[0].pid, flush=True)
    settings = {"width": 96, "height": 64, "cost_ms": 5000.0}
    Server(ServeConfig(bind="tcp://127.0.0.1:*"), EngineConfig(settings=settings)).run(ready)
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="needs POSIX signals")
def test_an_engine_never_outlives_a_killed_server(tmp_path: Any) -> None:
    script = tmp_path / "serve.py"
    script.write_text(SERVE)
    with subprocess.Popen([sys.executable, str(script)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as server:
        assert server.stdout is not None
        line = server.stdout.readline().decode()
        match = re.fullmatch(r"(\S+) (\d+)\n", line)
        assert match is not None, line
        address, pid = match[1], int(match[2])
        from bridge import Client

        client = Client(address)
        client.step(Camera(position=(0, 0, 0)))  # a step of five seconds is under way from now on
        server.kill()
        deadline = time.monotonic() + 4
        while _alive(pid):
            assert time.monotonic() < deadline, "the engine process lives on"
            time.sleep(0.02)
        client.close()


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    with open(f"/proc/{pid}/stat") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] != "Z"
