"""Every client of demos/engines, run as an engine programmer runs it: its own process, real sockets.

Twice each. Against a recorder, which answers at once and keeps what it was told, in our axes: all clients play the same
walk, each in its own axes, so a wrong handedness, a wrong unit or a lost acknowledgement cannot hide. And against the
real service with its test pattern, where nothing may stay unanswered.
"""

from __future__ import annotations

import json
import math
import subprocess
import threading
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bridge.codec import decode, encode
from bridge.config import ServeConfig
from bridge.errors import RemoteProtocolError
from bridge.lobby import Addressed, Lobby
from bridge.messages import Control, FrameHeader, Part, Ping, PixelFormat, Pong, SceneUpdate, Shape, Source
from bridge.outputs import Closed, ControlAccepted, Opened, SceneAccepted, Send, ServerOffer
from bridge.transport import Poller, RouterSocket
from demos.engines.clients import CLIENTS, EngineClient, environment

WIDTH, HEIGHT = 4, 2
PIXELS = bytes(range(3 * WIDTH * HEIGHT))
OFFER = ServerOffer(
    server="recorder", model="none", runner="none", camera_method="none", default_map="room",
    frame_width=WIDTH, frame_height=HEIGHT, fps=24.0, frames_per_chunk=(9,), capabilities=("from_a_later_version",),
)  # fmt: skip
WALK_S = 1.5
START_S = 30.0  # a slow runtime on a loaded machine
Walk = Callable[[EngineClient], list[str]]


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """Builds each client once and gives the command of its walk."""
    made: dict[str, list[str]] = {}

    def command(client: EngineClient) -> list[str]:
        if client.missing:
            pytest.skip(f"{client.name}: needs {', '.join(client.missing)}")
        if client.name not in made:
            made[client.name] = client.make(tmp_path_factory.mktemp(client.name))
        return made[client.name]

    return command


class Recorder(threading.Thread):
    """A server that answers every control at once; `controls` and `scene` are in our axes and metres."""

    def __init__(self) -> None:
        super().__init__(name="recorder")
        self.socket = RouterSocket("tcp://127.0.0.1:*")
        self.address = self.socket.address
        self.controls: list[Control] = []
        self.scenes: list[SceneUpdate] = []
        self.refusals: list[RemoteProtocolError] = []
        self.resumes = 0
        self.pongs = 0
        self.goodbyes: list[str] = []
        self.expire_at: int | None = None
        self._lobby = Lobby(offer=OFFER, config=ServeConfig())
        self._stopping = threading.Event()

    def run(self) -> None:
        poller = Poller()
        poller.watch(self.socket)
        while not self._stopping.is_set():
            poller.wait(20_000)
            while (received := self.socket.receive()) is not None:
                peer, parts = received
                try:
                    message = decode(parts).message
                except RemoteProtocolError as exc:
                    self.refusals.append(exc)
                    continue
                self.pongs += isinstance(message, Pong)
                self._act(self._lobby.receive(peer, message, 0))
        self.socket.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)

    def _act(self, outputs: list[Addressed]) -> None:
        for one in outputs:
            match one.output:
                case Send(message=message, pixels=pixels):
                    self.socket.send(one.peer, encode(message, pixels))
                case SceneAccepted(update=update):
                    self.scenes.append(update)
                case Opened(resumed=resumed):
                    self.resumes += resumed
                case Closed(reason=reason):
                    self.goodbyes.append(reason)
                case ControlAccepted(control=control):
                    self._answer(one, control)

    def _answer(self, one: Addressed, control: Control) -> None:
        assert one.session is not None
        self.controls.append(control)
        self.socket.send(one.peer, encode(Ping(t_us=len(self.controls))))
        self._act(self._lobby.settle(one.session, one.session.answer(_header(control), PIXELS)))
        if len(self.controls) == self.expire_at:
            self._act(self._lobby.tick(10**12))  # as after a long silence


def _header(control: Control) -> FrameHeader:
    return FrameHeader(
        seq=control.seq, t_us=control.t_us, source=Source.GENERATED, chunk=0, index=0, position=control.position,
        rotation=control.rotation, vertical_fov_deg=control.vertical_fov_deg, action=control.action, steps=(1, 1, 1),
        rung="full", control_age_us=0, server_us=0, stage_ms={"none": 0.5}, deadline_met=True, width=WIDTH,
        height=HEIGHT, pixel_format=PixelFormat.RGB8,
    )  # fmt: skip


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    server.start()
    yield server
    server.stop()


def run(command: list[str], address: str, seconds: float) -> dict[str, int]:
    """A walk's own account of itself."""
    done = subprocess.run(
        [*command, address, str(seconds)],
        env=environment(), capture_output=True, text=True, timeout=seconds + START_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def expected_pose(tick: int) -> tuple[list[float], list[float]]:
    """Where the walk of demos/engines/README.md stands after `tick` controls, in our axes: -Z forward, +X right."""
    turned = 0.01 * tick
    position = [3 * (1 - math.cos(turned)), 1.6, -3 * math.sin(turned)]
    return position, [0.0, -math.sin(turned / 2), 0.0, math.cos(turned / 2)]


LEVEL = {
    1: (Shape.PLANE, (0, 0, 0), (40, None, 40), "grass", (1, 1, 1)),
    2: (Shape.BOX, (0, 1.5, -8), (8, 3, 0.5), "brick", (1, 1, 1)),
    3: (Shape.CYLINDER, (4, 2, -5), (1, 4, 1), "stone", (1, 1, 1)),
    4: (Shape.SPHERE, (2, 1.5, -4), (0.6, 0.6, 0.6), "lamp", (1, 0.9, 0.7)),
}
"""The walk's level in our axes: shape, position, size (a plane's thickness means nothing), material, colour."""


def check_level(parts: tuple[Part, ...]) -> None:
    assert {part.id for part in parts} == set(LEVEL)
    for part in parts:
        shape, position, size, material, colour = LEVEL[part.id]
        assert (part.shape, part.material) == (shape, material)
        assert part.position == pytest.approx(position, abs=1e-6)
        assert part.rotation == pytest.approx((0, 0, 0, 1), abs=1e-6)
        assert part.colour == pytest.approx(colour, abs=1e-6)
        assert all(wanted is None or abs(got - wanted) < 1e-6 for got, wanted in zip(part.size, size, strict=True))


@pytest.fixture(params=CLIENTS, ids=lambda client: client.name)
def client(request: pytest.FixtureRequest) -> EngineClient:
    one: EngineClient = request.param
    return one


def test_walks_the_one_walk_whatever_its_axes(client: EngineClient, walk: Walk, recorder: Recorder) -> None:
    report = run(walk(client), recorder.address, WALK_S)
    recorder.stop()
    assert recorder.refusals == []
    controls = recorder.controls
    assert len(controls) == report["controls"] >= 30
    assert report["generated"] == report["controls"]
    assert [control.seq for control in controls] == sorted({control.seq for control in controls})
    for tick, control in enumerate(controls):
        position, rotation = expected_pose(tick)
        np.testing.assert_allclose(control.position, position, atol=2e-5)
        np.testing.assert_allclose(control.rotation, rotation, atol=2e-5)
        assert control.vertical_fov_deg == pytest.approx(60.0)
        assert control.action == "walk around the pillar"
    # Every frame was read and named: the last control names one of the four before it.
    assert controls[-1].frame_received_seq >= controls[-1].seq - 4
    assert recorder.pongs == len(controls)
    first, *moves = recorder.scenes
    assert first.replace
    check_level(first.add)
    assert moves
    for update in moves:
        assert [(part.id, part.position[0], part.position[2]) for part in update.move] == [(4, 2.0, -4.0)]
        assert 1.0 <= update.move[0].position[1] <= 2.0
    assert recorder.goodbyes, "it said no BYE"


def test_resumes_a_session_that_the_server_gave_up(client: EngineClient, walk: Walk, recorder: Recorder) -> None:
    recorder.expire_at = 20
    report = run(walk(client), recorder.address, WALK_S)
    recorder.stop()
    assert recorder.resumes == report["resumes"] == 1
    assert len(recorder.controls) >= 30
    assert recorder.refusals == []


def test_plays_the_real_service_and_nothing_stays_unanswered(client: EngineClient, walk: Walk, shared_service) -> None:
    report = run(walk(client), shared_service.address, 2 * WALK_S)
    assert report["controls"] >= 60
    answered = report["generated"] + report["reprojected"] + report["held"]
    # A machine that stalls for longer than the credit of four ticks may cost controls; a client that loses any without
    # a stall loses a steady share.
    assert report["refused"] == 0
    assert answered >= 0.9 * report["controls"]
    assert report["shown"] > 0
    assert report["generated"] > 0
