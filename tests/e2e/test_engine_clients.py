"""Every client of demos/clients, run as an engine programmer runs it: its own process, real sockets.

Against a recorder, which answers at once and keeps what it was told, in our axes: all play the same walk, each in its
own axes, so a wrong handedness, a wrong unit or a lost acknowledgement cannot hide. Against the real service with its
test pattern, where nothing may stay unanswered; with keys, for those that know CURVE. Against the conformance kit.
"""

from __future__ import annotations

import json
import math
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bridge.cli.local_service import LISTENING
from bridge.config import ServeConfig
from bridge.conformance.fake_frames import fake_header
from bridge.errors import RemoteProtocolError
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, FrameHeader, Part, Ping, Pong, SceneUpdate, Shape
from bridge.session.capabilities import ServerCapabilities
from bridge.session.events import Closed, ControlAccepted, SceneAccepted, Send
from bridge.session.registry import Outgoing, SessionRegistry
from bridge.transport.sockets import Poller, RouterSocket
from demos.clients.catalogue import BY_NAME, CLIENTS, EngineClient, environment

WIDTH, HEIGHT = 4, 2
PIXELS = bytes(range(3 * WIDTH * HEIGHT))
OFFER = ServerCapabilities(
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
        self.pongs = 0
        self.goodbyes: list[str] = []
        self._registry = SessionRegistry(offer=OFFER, config=ServeConfig())
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
                self._act(self._registry.receive(peer, message, 0))
        self.socket.close()

    def stop(self) -> None:
        self._stopping.set()
        self.join(10)

    def _act(self, outputs: list[Outgoing]) -> None:
        for one in outputs:
            match one.output:
                case Send(message=message, pixels=pixels):
                    self.socket.send(one.peer, encode(message, pixels))
                case SceneAccepted(update=update):
                    self.scenes.append(update)
                case Closed(reason=reason):
                    self.goodbyes.append(reason)
                case ControlAccepted(control=control):
                    self._answer(one, control)

    def _answer(self, one: Outgoing, control: Control) -> None:
        assert one.session is not None
        self.controls.append(control)
        self.socket.send(one.peer, encode(Ping(t_us=len(self.controls))))
        self._act(self._registry.settle(one.session, one.session.answer(_header(control), PIXELS)))


def _header(control: Control) -> FrameHeader:
    return fake_header(control, width=WIDTH, height=HEIGHT, control_age_us=0, server_us=0, stage_ms={"none": 0.5})


@pytest.fixture
def recorder() -> Iterator[Recorder]:
    server = Recorder()
    server.start()
    yield server
    server.stop()


def run(command: list[str], address: str, seconds: float, **more: str) -> dict[str, int]:
    """A walk's own account of itself."""
    done = subprocess.run(
        [*command, address, str(seconds)],
        env={**environment(), **more}, capture_output=True, text=True, timeout=seconds + START_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    report: dict[str, int] = json.loads(done.stdout.strip().splitlines()[-1])
    return report


def expected_pose(tick: int) -> tuple[list[float], list[float]]:
    """Where the walk of demos/clients/README.md stands after `tick` controls, in our axes: -Z forward, +X right."""
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
    # Every frame was read and named: the last control names one of the eight before it.
    assert controls[-1].frame_received_seq >= controls[-1].seq - 8
    assert recorder.pongs == len(controls)
    first, *moves = recorder.scenes
    assert first.replace
    check_level(first.add)
    assert moves
    for update in moves:
        assert [(part.id, part.position[0], part.position[2]) for part in update.move] == [(4, 2.0, -4.0)]
        assert 1.0 <= update.move[0].position[1] <= 2.0
    assert recorder.goodbyes, "it said no BYE"


def test_plays_the_real_service_and_nothing_stays_unanswered(client: EngineClient, walk: Walk, shared_service) -> None:
    report = run(walk(client), shared_service.address, 2 * WALK_S)
    check_answers(report)
    assert report["shown"] > 0
    assert report["generated"] > 0
    if client.name == "panda3d":  # every frame on its card was read back and compared
        assert report["exact"] >= 60
        assert report["inexact"] == 0
    if client.shared_memory and Path("/dev/shm").is_dir():
        assert report["in_ring"] == answered(report)


def answered(report: dict[str, int]) -> int:
    return report["generated"] + report["reprojected"] + report["held"]


def check_answers(report: dict[str, int]) -> None:
    assert report["controls"] >= 60
    assert report.get("refused", 0) == 0
    # A machine that stalls for longer than the credit of eight ticks may cost controls; a client that loses any without
    # a stall loses a steady share.
    assert answered(report) >= 0.9 * report["controls"]


@pytest.fixture(scope="module")
def verdicts(walk: Walk) -> Iterator[dict[str, Future[subprocess.CompletedProcess[str]]]]:
    """The kit's word on every client that can be run here; three at a time, for a kit mostly waits."""

    def conform(command: list[str]) -> subprocess.CompletedProcess[str]:
        kit = [sys.executable, "-m", "bridge", "conform", "client", "--", *command, "{address}", "60"]
        return subprocess.run(kit, env=environment(), capture_output=True, text=True, timeout=240, check=False)

    with ThreadPoolExecutor(3) as pool:
        yield {one.name: pool.submit(conform, walk(one)) for one in CLIENTS if not one.missing}


def test_passes_the_conformance_kit(client: EngineClient, verdicts) -> None:
    if client.missing:
        pytest.skip(f"{client.name}: needs {', '.join(client.missing)}")
    told = verdicts[client.name].result()
    assert told.returncode == 0, told.stdout + told.stderr
    assert " 0 failed" in told.stdout
    declined = [line.split()[1] for line in told.stdout.splitlines() if line.startswith("-")]
    assert ("shared-memory" in declined) is not client.shared_memory, told.stdout
    assert ("no-ring" in declined) is not client.shared_memory, told.stdout


@pytest.fixture(scope="module")
def locked_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Path]]:
    """The address of a service that takes known keys alone, and the folder of its keys, which `walker`'s are among."""
    keys = tmp_path_factory.mktemp("keys") / "keys"
    helios_bridge = [sys.executable, "-m", "bridge"]
    new = [*helios_bridge, "keys", "new", "--client", "walker"]
    subprocess.run(new, cwd=keys.parent, env=environment(), check=True, capture_output=True)
    serve = [*helios_bridge, "serve", "--model", "synthetic", "--bind", "tcp://127.0.0.1:*", "--curve", str(keys)]
    with subprocess.Popen(serve, env=environment(), stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield process.stdout.readline().removeprefix(LISTENING).strip(), keys
        process.terminate()


@pytest.mark.parametrize("name", [one.name for one in CLIENTS if one.curve])
def test_plays_with_keys_and_not_without(name: str, walk: Walk, locked_service: tuple[str, Path]) -> None:
    address, keys = locked_service
    files = {"SERVER": "server.public", "PUBLIC": "client.public", "SECRET": "client.secret"}
    known = {f"HELIOS_{name}_KEY": (keys / "walker" / file).read_text().strip() for name, file in files.items()}
    command = walk(BY_NAME[name])
    check_answers(run(command, address, WALK_S, **known))
    refused = subprocess.run(
        [*command, address, "0.5"], env=environment(), capture_output=True, text=True, timeout=START_S, check=False
    )
    assert json.loads(refused.stdout.strip().splitlines()[-1])["controls"] == 0
