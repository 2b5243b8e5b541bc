import contextlib
import math
import subprocess
import sys
from collections.abc import Iterator, Sequence

import numpy as np
import pytest

import bridge
from bridge import Camera, Client, ErrorCode, Part, Shape
from bridge.client.client import _formats_for
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.errors import (
    BridgeError,
    ConfigError,
    ConnectTimeout,
    LocalProtocolError,
    PeerLost,
    ReceiveTimeout,
    RemoteProtocolError,
    SessionBusy,
    SessionClosed,
)
from bridge.protocol.codec import decode
from bridge.protocol.messages import Busy, SceneUpdate
from bridge.session.events import Send
from bridge.session.registry import Outgoing
from bridge.transport.sockets import Buffer, DealerSocket, SendResult
from tests.tiny_server import HEIGHT, WIDTH, TinyServer, serving


@pytest.fixture
def server() -> Iterator[TinyServer]:
    with serving() as running:
        yield running


def test_a_game_loop_in_ten_lines(server: TinyServer) -> None:
    with Client(server.address, axes="unity", budget_ms=1000) as client:
        assert client.welcome.model == "synthetic"
        shown = []
        for tick in range(20):
            frame = client.step(Camera(position=(tick, 1.6, 2.0)), action="walk")
            shown.append(frame.seq)
        assert shown == list(range(20))
        assert frame.pixels.shape == (HEIGHT, WIDTH, 3)
        assert frame.pixels.dtype == np.uint8
        assert int(frame.pixels[0, 0, 0]) == 19
        assert frame.header.position == (19.0, 1.6, 2.0)
        assert frame.latency_ms > 0
        assert (client.counts.controls, client.counts.answered, client.counts.unanswered) == (20, 20, 0)
        stats = client.stats()
        assert (stats.controls, stats.answered, stats.generated) == (20, 20, 20)


def test_a_client_knows_its_buffer_and_the_server_s_clock(server: TinyServer) -> None:
    """Both ends read one clock here: its offset is nothing but what the way there and back leaves open."""
    with Client(server.address, playout_ms=25, budget_ms=1000) as client:
        assert (client.round_trip_ms, client.clock_offset_ms, client.buffer_ms) == (None, None, 25.0)
        client.step(Camera(position=(0, 1.6, 2.0)))
        round_trip_ms, offset_ms = client.round_trip_ms, client.clock_offset_ms
        assert round_trip_ms is not None
        assert offset_ms is not None
        assert abs(offset_ms) <= round_trip_ms / 2 + 1e-3


def test_send_and_poll_do_not_block_and_the_newest_wins(server: TinyServer) -> None:
    with Client(server.address, credit=4) as client:
        assert client.poll() is None
        server.answer = False
        client.send(Camera(position=(0.0, 0.0, 0.0)))
        assert client.poll() is None
        with pytest.raises(ReceiveTimeout, match="no newer frame"):
            client.receive(timeout_s=0.02)
        server.answer = True
        for _ in range(3):
            seq = client.send(Camera(position=(0.0, 0.0, 0.0)))
        while client.receive().seq < seq:
            pass
        assert client.poll() is None


@pytest.mark.parametrize(
    "camera",
    [
        Camera(position=(math.nan, 0.0, 0.0)),
        Camera(position=(0.0, 0.0, 0.0), rotation=(0.0, 0.0, 0.0, 2.0)),
        Camera(position=(0.0, 0.0, 0.0), vertical_fov_deg=0.0),
    ],
)
def test_bad_cameras_stay_here(server: TinyServer, camera: Camera) -> None:
    with Client(server.address) as client:
        with pytest.raises(LocalProtocolError):
            client.send(camera)
        with pytest.raises(LocalProtocolError):
            client.send(Camera(position=(0.0, 0.0, 0.0)), "x" * 3000)
        assert client.step(Camera(position=(0.0, 0.0, 0.0))).seq == 0


def test_a_scene_arrives_in_our_axes(server: TinyServer) -> None:
    part = Part(id=3, shape=Shape.BOX, position=(1.0, 2.0, 3.0))
    with Client(server.address, axes="unity") as client:
        client.set_scene([part], prompt="a garden", seed=5)
        client.update_scene(remove=[3], seed=6)
        client.step(Camera(position=(0.0, 0.0, 0.0)))
        assert [scene.replace for scene in server.scenes] == [True, False]
        assert server.scenes[1].seed == 6
        first = server.scenes[0]
        assert (first.add[0].position, first.prompt, first.seed) == ((1.0, 2.0, -3.0), "a garden", 5)


def test_a_refused_scene_surfaces_and_the_session_lives(server: TinyServer) -> None:
    with Client(server.address) as client:
        client.update_scene(remove=[1])
        with pytest.raises(RemoteProtocolError) as caught:
            client.receive()
        assert (caught.value.code, caught.value.fatal) == (ErrorCode.UNKNOWN_PART, False)
        assert client.step(Camera(position=(0.0, 0.0, 0.0))).seq == 0


def test_nobody_there_is_a_clear_timeout() -> None:
    with pytest.raises(ConnectTimeout, match=r"no answer from tcp://127.0.0.1:9 .*helios-bridge serve"):
        Client("tcp://127.0.0.1:9", connect_timeout_s=0.05)


def test_wrong_arguments_are_config_errors() -> None:
    with pytest.raises(ConfigError, match="axes: got 'maya'"):
        Client(axes="maya")
    with pytest.raises(ConfigError, match="expected tcp://HOST:PORT"):
        Client("localhost")
    with pytest.raises(LocalProtocolError, match="credit"):
        Client(credit=0)


def test_no_room_is_session_busy() -> None:
    with serving(max_sessions=1) as server, Client(server.address), pytest.raises(SessionBusy, match="all 1 sessions"):
        Client(server.address)


def test_closing_frees_the_room_at_once() -> None:
    with serving(max_sessions=1) as server:
        for _ in range(5):
            with Client(server.address, connect_timeout_s=5) as client:
                client.step(Camera(position=(0.0, 0.0, 0.0)))
            while len(server.core.registry):
                MonotonicClock().sleep_until_us(MonotonicClock().now_us() + 500)


def test_a_server_that_says_bye_closes_the_client(server: TinyServer) -> None:
    with Client(server.address) as client:
        server.later(lambda: server.core.registry.close("stopping"))
        with pytest.raises(SessionClosed, match="stopping"):
            client.receive()
        with pytest.raises(SessionClosed):
            client.send(Camera(position=(0.0, 0.0, 0.0)))


def test_a_resume_that_finds_no_room_closes_the_client(server: TinyServer) -> None:
    with Client(server.address) as client:
        client.step(Camera(position=(0.0, 0.0, 0.0)))
        (session,) = server.core.registry
        busy = Send(message=Busy(text="full"))
        server.later(lambda: [Outgoing(peer=server.core.registry.peer_of(session), session=None, output=busy)])
        with pytest.raises(SessionBusy, match="full"):
            client.receive()
        with pytest.raises(SessionClosed):
            client.send(Camera(position=(0.0, 0.0, 0.0)))


def test_a_game_that_paused_too_long_goes_on_in_the_same_session() -> None:
    with serving(heartbeat_us=20_000, missed_heartbeats=1) as server, Client(server.address) as client:
        (session,) = server.core.registry
        client.step(Camera(position=(0.0, 0.0, 0.0)))
        while session.state.value != "lost":
            MonotonicClock().sleep_until_us(MonotonicClock().now_us() + 1000)
        frame = None
        for _ in range(100):
            seq = client.send(Camera(position=(5.0, 0.0, 0.0)))
            try:
                frame = client.receive(timeout_s=0.1)
            except ReceiveTimeout:
                continue
            if frame.seq == seq:
                break
        assert frame is not None
        assert frame.seq == seq
        assert client.welcome.session_id == session.session_id
        assert list(server.core.registry) == [session]


def test_what_is_said_after_a_silence_arrives() -> None:
    with serving(heartbeat_us=20_000, missed_heartbeats=1) as server, Client(server.address) as client:
        (session,) = server.core.registry

        def fall_silent() -> None:
            while session.state.value != "lost":
                MonotonicClock().sleep_until_us(MonotonicClock().now_us() + 1000)

        fall_silent()
        assert client.step(Camera(position=(0.0, 0.0, 0.0)), timeout_s=5.0).seq == 1, "the first control was refused"
        fall_silent()
        client.set_scene([Part(id=7, shape=Shape.BOX, position=(0.0, 0.0, 0.0))])
        client.stats(timeout_s=5.0)
        assert [scene.add[0].id for scene in server.scenes] == [7]


def test_what_is_told_again_arrives_or_the_game_hears_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving(heartbeat_us=20_000, missed_heartbeats=1) as server, Client(server.address) as client:
        (session,) = server.core.registry
        while session.state.value != "lost":
            MonotonicClock().sleep_until_us(MonotonicClock().now_us() + 1000)
        client.set_scene([Part(id=7, shape=Shape.BOX, position=(0.0, 0.0, 0.0))])
        hand_over = DealerSocket._send

        def full_for_scenes(self: DealerSocket, parts: Sequence[Buffer]) -> SendResult:
            full = isinstance(decode(parts).message, SceneUpdate)
            return SendResult.FULL if full else hand_over(self, parts)

        monkeypatch.setattr(DealerSocket, "_send", full_for_scenes)
        with pytest.raises(PeerLost):
            client.stats(timeout_s=5.0)


class HurriedClock(MonotonicClock):
    """The machine's clock, which a test may put forward."""

    ahead_us = 0

    def now_us(self) -> int:
        return super().now_us() + self.ahead_us


def test_a_broken_connection_is_made_anew_and_the_session_goes_on() -> None:
    first = TinyServer(ServeConfig())
    with Client(first.address) as client:
        client.step(Camera(position=(0.0, 0.0, 0.0)))
        first.stop()
        second = TinyServer(ServeConfig(), first.address, core=first.core)  # a listener reborn, the sessions as before
        try:
            seq, frame = 0, None
            while seq < 1000 and (frame is None or frame.seq <= 1):
                seq = client.send(Camera(position=(0.0, 0.0, 0.0)))
                with contextlib.suppress(ReceiveTimeout):
                    frame = client.receive(timeout_s=0.005)
            assert frame is not None
            assert frame.seq > 1
            assert client.counts.unanswered > 0
            assert len(first.core.registry) == 1
        finally:
            second.stop()


def test_a_service_that_stays_away_is_lost() -> None:
    clock = HurriedClock()
    server = TinyServer(ServeConfig())
    with Client(server.address, clock=clock) as client:
        client.step(Camera(position=(0.0, 0.0, 0.0)))
        server.stop()
        with pytest.raises(PeerLost, match="no message for 3 s"):  # noqa: PT012  # each turn of the loop may find out
            for _ in range(1000):
                client.send(Camera(position=(0.0, 0.0, 0.0)))
                clock.ahead_us += 50_000
                clock.sleep_until_us(clock.now_us() + 1000)
        assert clock.ahead_us > 2_000_000


def test_every_public_name_exists_and_errors_share_one_root() -> None:
    assert all(hasattr(bridge, name) for name in bridge.__all__)
    assert issubclass(ConnectTimeout, BridgeError)


def test_the_sdk_imports_nothing_heavy() -> None:
    code = (
        "import sys, bridge; from bridge import Client, Control, Camera, Frame;"
        "tops = {name.partition('.')[0] for name in sys.modules};"
        "print(' '.join(sorted(tops - set(sys.stdlib_module_names))))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    third_party = {name for name in found if not name.startswith("_")}
    allowed = {"bridge", "numpy", "zmq", "msgpack", "msgspec"}
    heavy = {"torch", "diffusers", "onnxruntime", "cv2", "pygame", "model", "trt_build", "demos", "transformers"}
    assert allowed <= third_party
    assert not heavy & third_party
    assert third_party - allowed <= {"cython_runtime", "sitecustomize", "typing_extensions"}


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("tcp://127.0.0.1:5599", ("rgb8",)),
        ("ipc:///tmp/bridge", ("rgb8",)),
        ("tcp://192.168.1.5:5599", ("jpeg", "rgb8")),
        ("tcp://server:5599", ("jpeg", "rgb8")),
    ],
)
def test_pixels_are_raw_on_this_machine_and_jpeg_beyond_it(address: str, expected: tuple[str, ...]) -> None:
    assert _formats_for(address) == expected


def test_without_opencv_pixels_are_raw_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert _formats_for("tcp://server:5599") == ("rgb8",)
