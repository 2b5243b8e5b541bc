"""The wire vectors against every client of demos/clients that has code of its own for them.

For each there is a small program in tests/contract/engines, which says what the client-to-server vectors say and prints
what it reads. This test is its server: it compares the one with the vectors' fields, and sends the others byte by byte:
whole, broken, and cut at every byte.
"""

from __future__ import annotations

import json
import shutil
import struct
import subprocess
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgpack
import msgspec
import pytest

from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Bye, Control, Hello, Message, MessageType, Ping, Pong, Reset, SceneUpdate
from bridge.transport.sockets import Poller, RouterSocket, SendResult
from demos.clients.catalogue import BY_NAME, HERE, EngineClient, environment

FOLDER = Path(__file__).parent / "vectors"
PROGRAMS = Path(__file__).parent / "engines"
CONTROLS = 9
PATIENCE_S = 30.0


def parts_of(name: str) -> list[bytes]:
    data, parts = (FOLDER / f"{name}.bin").read_bytes(), []
    while data:
        (length,) = struct.unpack_from(">I", data)
        parts.append(data[4 : 4 + length])
        data = data[4 + length :]
    return parts


def fields_of(name: str) -> dict[str, Any]:
    fields: dict[str, Any] = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))["fields"]
    return fields


def _c(folder: Path) -> list[str]:
    command = ["gcc", "-std=c11", "-Wall", "-Werror", "-I", str(HERE / "c"), str(PROGRAMS / "wire.c")]
    flags = subprocess.check_output(["pkg-config", "--libs", "libzmq"], text=True).split()
    msgpack_c = next(name for name in ("msgpack-c", "msgpack") if _has_package(name))
    flags += subprocess.check_output(["pkg-config", "--libs", msgpack_c], text=True).split()
    subprocess.run([*command, str(folder / "libhelios_bridge.a"), *flags, "-o", str(folder / "wire")], check=True)
    return [str(folder / "wire")]


def _has_package(name: str) -> bool:
    return subprocess.run(["pkg-config", "--exists", name], check=False).returncode == 0


def _javascript(folder: Path) -> list[str]:
    shutil.copy(PROGRAMS / "wire.mjs", folder)
    return ["node", str(folder / "wire.mjs")]


def _unity(folder: Path) -> list[str]:
    sources = [str(HERE / "unity/Runtime/HeliosClient.cs"), str(PROGRAMS / "Wire.cs")]
    subprocess.run(["mcs", "-langversion:6", "-r:System.Core", f"-out:{folder / 'Wire.exe'}", *sources], check=True)
    return ["mono", str(folder / "Wire.exe")]


def _godot(folder: Path) -> list[str]:
    shutil.copy(PROGRAMS / "wire.gd", folder)
    script = f'exec godot3-server --path "{HERE / "godot"}" -s "{folder / "wire.gd"}" --address="$1"'
    return ["sh", "-c", script, "wire"]


MAKERS: dict[str, Callable[[Path], list[str]]] = {"c": _c, "godot": _godot, "javascript": _javascript, "unity": _unity}


@dataclass
class Exchange:
    """What the client said, and what it printed about what it was told."""

    told: list[Message] = field(default_factory=list)
    printed: list[dict[str, Any]] = field(default_factory=list)

    def of(self, kind: type) -> list[Any]:
        return [message for message in self.told if isinstance(message, kind)]

    def lines(self, key: str) -> list[Any]:
        return [line[key] for line in self.printed if key in line]


class VectorServer:
    """One client's server, step by step."""

    def __init__(self, exchange: Exchange) -> None:
        self.socket = RouterSocket("tcp://127.0.0.1:*")
        self._poller = Poller()
        self._poller.watch(self.socket)
        self._exchange = exchange
        self._peer = b""

    def prefetch_prompt(self, kind: type, count: int = 1) -> None:
        """Waits until the client said `count` more messages of `kind`."""
        wanted = len(self._exchange.of(kind)) + count
        until_s = time.monotonic() + PATIENCE_S
        while len(self._exchange.of(kind)) < wanted:
            received = self.socket.receive()
            if received is None:
                assert time.monotonic() < until_s, f"no {kind.__name__} came"
                self._poller.wait(100_000)
                continue
            self._peer, parts = received
            self._exchange.told.append(decode(parts).message)

    def say(self, parts: list[bytes]) -> None:
        """Hands it over for certain: the server's queue is short, as a game wants it."""
        while self.socket.send(self._peer, parts) is SendResult.FULL:
            time.sleep(0.001)

    def settle(self, number: int) -> None:
        """Waits until the client has read all that was said."""
        self.say([bytes(part) for part in encode(Ping(t_us=number))])
        self.prefetch_prompt(Pong)
        assert self._exchange.of(Pong)[-1].t_us == number


def play_vectors(server: VectorServer) -> None:
    server.prefetch_prompt(Hello)
    server.say(parts_of("welcome"))
    server.prefetch_prompt(Control, CONTROLS)
    server.say(parts_of("ping"))
    server.prefetch_prompt(Pong)
    for name in ("stats", "error", "busy", "bad_frame_pixels"):
        server.say(parts_of(name))
    number = 1000
    for name in ("frame_rgb8", "frame_first", "welcome", "stats", "error", "busy", "ping"):
        whole = parts_of(name)
        for index, part in enumerate(whole):
            for length in range(len(part)):
                server.say([*whole[:index], part[:length], *whole[index + 1 :]])
        for count in range(1, len(whole)):
            server.say(whole[:count])
        number += 1
        server.settle(number)
    server.say(parts_of("frame_rgb8"))
    server.settle(1)
    time.sleep(0.2)  # a client shows the newest frame alone; this one is to be seen
    magic, kind, body, pixels = parts_of("frame_first")
    server.say([magic, kind, msgpack.packb({**msgpack.unpackb(body), "seq": 8}), pixels])
    server.settle(2)
    server.say([bytes(part) for part in encode(Bye(reason="the vectors are over"))])


@pytest.fixture(scope="module", params=MAKERS)
def exchange(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exchange:
    client: EngineClient = BY_NAME[request.param]
    if client.missing:
        pytest.skip(f"{client.name}: needs {', '.join(client.missing)}")
    folder = tmp_path_factory.mktemp(client.name)
    client.make(folder)
    command = MAKERS[client.name](folder)
    seen = Exchange()
    server = VectorServer(seen)
    with subprocess.Popen(
        [*command, server.socket.address], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        watchdog = threading.Timer(60, process.kill)
        watchdog.start()
        try:
            play_vectors(server)
            printed, errors = process.communicate(timeout=10)
        finally:
            watchdog.cancel()
            process.kill()
            server.socket.close(linger_ms=100)
    assert process.returncode == 0, printed + errors
    seen.printed = [json.loads(line) for line in printed.splitlines() if line.startswith("{")]
    return seen


def plain(message: Message) -> dict[str, Any]:
    """A message as the JSON beside a vector writes it."""
    encoded = json.dumps(msgspec.to_builtins(message, builtin_types=(bytes,)), default=bytes.hex)
    fields: dict[str, Any] = json.loads(encoded)
    return fields


def close_to(got: Any, wanted: Any) -> bool:
    """Equal, numbers to single precision."""
    if isinstance(wanted, dict):
        return set(got) == set(wanted) and all(close_to(got[key], wanted[key]) for key in wanted)
    if isinstance(wanted, list):
        return len(got) == len(wanted) and all(map(close_to, got, wanted))
    if isinstance(wanted, float):
        return bool(got == pytest.approx(wanted, rel=1e-6, abs=1e-6))
    return bool(got == wanted)


def test_hello_says_what_the_vector_says(exchange: Exchange) -> None:
    (hello,) = exchange.of(Hello)
    assert "rgb8" in hello.pixel_formats
    # A resume's tokens are not a first HELLO's, and not every client decodes JPEG or reads shared memory.
    own = ("session_id", "resume_token", "pixel_formats", "shared_memory", "version_minor")
    assert close_to(
        *(
            {key: value for key, value in said.items() if key not in own}
            for said in (plain(hello), fields_of("hello_full"))
        )
    )


def test_controls_say_what_the_vector_says(exchange: Exchange) -> None:
    controls = exchange.of(Control)
    assert [control.seq for control in controls] == list(range(CONTROLS))
    # Its own: numbers, times, and that there is no ring of WELCOME's name.
    own = ("seq", "t_us", "lateness_us", "frame_received_seq", "shared_frames")
    assert not any(control.shared_frames for control in controls)
    wanted = {key: value for key, value in fields_of("control_full").items() if key not in own}
    for control in controls:
        assert close_to({key: value for key, value in plain(control).items() if key not in own}, wanted)


def test_scene_and_reset_say_what_the_vectors_say(exchange: Exchange) -> None:
    wanted = fields_of("scene_full")
    said = plain(exchange.of(SceneUpdate)[0])
    for update in exchange.of(SceneUpdate)[1:]:  # a client may have one call to hand over a level and one to change it
        said = {**said, **{key: value for key, value in plain(update).items() if key in ("move", "remove")}}
    assert close_to(said, wanted)
    (reset,) = exchange.of(Reset)
    assert plain(reset) == fields_of("reset_full")


def test_ping_is_answered_with_the_vectors_pong(exchange: Exchange) -> None:
    assert plain(exchange.of(Pong)[0]) == fields_of("pong")


def test_frames_are_read_as_the_vectors_say_and_cut_ones_are_not(exchange: Exchange) -> None:
    frames = exchange.lines("frame")
    wanted = [fields_of("frame_rgb8"), {**fields_of("frame_first"), "seq": 8}]
    assert len(frames) == len(wanted)
    for got, want in zip(frames, wanted, strict=True):
        assert len(got) >= 13
        assert close_to(got, {key: want[key] for key in got})
    assert exchange.lines("pixels") == ["ff00000000ff", "000000000000"]


def test_welcome_and_error_are_read_as_the_vectors_say(exchange: Exchange) -> None:
    (welcome,) = exchange.lines("welcome")
    wanted = fields_of("welcome")
    assert close_to(welcome, {key: wanted[key] for key in welcome})
    refused, *_, over = exchange.lines("notice")
    assert refused == "bad_sequence: seq must rise"
    assert "the vectors are over" in over


def test_no_message_type_has_the_wrong_number() -> None:
    """The clients' own tables of types."""
    c = (HERE / "c/helios_bridge.c").read_text(encoding="utf-8")
    names = c.split("enum { HELLO = 1,")[1].split("}")[0]
    assert ["HELLO", *(name.strip().rstrip("_") for name in names.split(","))] == [kind.name for kind in MessageType]
