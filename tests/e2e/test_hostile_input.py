"""What hostile or broken clients send, over raw sockets: a typed ERROR for them, nothing for anyone else."""

from __future__ import annotations

import random
import struct
import threading
import time
from collections.abc import Iterator
from typing import Any

import msgpack
import pytest
import zmq

from bridge import Camera, Client
from bridge.protocol.codec import decode
from bridge.protocol.messages import ErrorMessage, FrameHeader, Message, MessageType, Welcome

HELLO = {"version_major": 1, "version_minor": 0, "client": "hostile"}
CONTROL: dict[str, Any] = {
    "seq": 1000,  # above all that are accepted, so that nothing but the fault at hand is wrong
    "t_us": 1,
    "position": [0.0, 0.0, 0.0],
    "rotation": [0.0, 0.0, 0.0, 1.0],
    "vertical_fov_deg": 60.0,
}
PART = {"id": 1, "shape": "box", "position": [0.0, 0.0, 0.0]}
TRIANGLE = struct.pack("<9f", 0, 0, 0, 1, 0, 0, 0, 1, 0)
FIRST_THREE = struct.pack("<3I", 0, 1, 2)


class Raw:
    """A peer that sends whatever bytes it likes."""

    def __init__(self, address: str) -> None:
        self.context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.linger = 0
        self.socket.connect(address)

    def send(self, kind: int, body: object, *more: bytes) -> None:
        packed = body if isinstance(body, bytes) else msgpack.packb(body)
        self.socket.send_multipart([b"HLB1", bytes([kind]), packed, *more])

    def prefetch_prompt(self, kind: type[Message], timeout_s: float = 5.0) -> Any:
        deadline = time.monotonic() + timeout_s
        while (left := deadline - time.monotonic()) > 0:
            if self.socket.poll(int(left * 1000) + 1):
                message = decode(self.socket.recv_multipart()).message
                if isinstance(message, kind):
                    return message
        raise AssertionError(f"no {kind.__name__} within {timeout_s} s")

    def close(self) -> None:
        self.socket.close(0)
        self.context.term()


@pytest.fixture
def friend(shared_service: Any) -> Iterator[Client]:
    """A well-behaved player; whatever happens, it is answered as before."""
    with shared_service.client() as client:
        client.step(Camera(position=(0, 0, 0)))
        yield client
        before = client.counts.controls
        for _ in range(5):
            client.step(Camera(position=(0, 0, 0)))
        assert client.counts.unanswered == 0
        assert client.counts.controls == before + 5
        assert client.errors == ()


@pytest.fixture
def raw(shared_service: Any) -> Iterator[Raw]:
    peer = Raw(shared_service.address)
    yield peer
    peer.close()


def with_field(**changes: object) -> dict[str, Any]:
    return {**CONTROL, **changes}


def nested(depth: int) -> object:
    value: object = 0
    for _ in range(depth):
        value = [value]
    return value


def mesh(vertices: bytes, triangles: bytes) -> dict[str, Any]:
    return {"replace": True, "add": [{**PART, "shape": "mesh", "vertices": vertices, "triangles": triangles}]}


PACKED = msgpack.packb(CONTROL)
INF, NAN = float("inf"), float("nan")
C, S = MessageType.CONTROL, MessageType.SCENE

CASES: list[tuple[str, int, object, set[str]]] = [
    ("empty body", C, b"", {"malformed"}),
    ("truncated", C, PACKED[:-5], {"malformed"}),
    ("trailing bytes", C, PACKED + b"\x00", {"malformed"}),
    ("not a map", C, [1, 2, 3], {"malformed"}),
    ("nothing in it", C, {}, {"invalid_field"}),
    ("oversized body", C, with_field(events=[{"kind": "x", "value": "y" * 2000}] * 40), {"too_large"}),
    ("too many events", C, with_field(events=[{"kind": "x"}] * 17), {"invalid_field"}),
    ("nested 30 deep", C, with_field(unknown=nested(30)), {"too_deep"}),
    ("nested 3000 deep", C, b"\x91" * 3000 + b"\x00", {"too_deep", "malformed"}),
    ("array that lies about its length", C, b"\xdd\xff\xff\xff\xff", {"too_large", "malformed"}),
    ("wrong type", C, with_field(position="here"), {"invalid_field"}),
    ("bool as number", C, with_field(seq=True), {"invalid_field"}),
    ("text as bytes", C, with_field(action=b"walk"), {"invalid_field"}),
    ("broken utf-8", C, b"\x81\xa6action\xa2\xff\xfe", {"malformed"}),
    ("NaN position", C, with_field(position=[NAN, 0.0, 0.0]), {"invalid_field"}),
    ("infinite position", C, with_field(position=[0.0, INF, 0.0]), {"invalid_field"}),
    ("position out of reach", C, with_field(position=[1e8, 0.0, 0.0]), {"invalid_field"}),
    ("NaN rotation", C, with_field(rotation=[NAN, 0.0, 0.0, 1.0]), {"invalid_field", "bad_rotation"}),
    ("non-unit rotation", C, with_field(rotation=[0.0, 0.0, 0.0, 2.0]), {"bad_rotation"}),
    ("zero rotation", C, with_field(rotation=[0.0, 0.0, 0.0, 0.0]), {"bad_rotation"}),
    ("field of view of 180", C, with_field(vertical_fov_deg=180.0), {"invalid_field"}),
    ("NaN field of view", C, with_field(vertical_fov_deg=NAN), {"invalid_field"}),
    ("text over 2 KB", C, with_field(action="x" * 2049), {"text_too_long"}),
    ("text over 2 KB in UTF-8", C, with_field(action="\u00e4" * 1025), {"text_too_long"}),
    ("negative seq", C, with_field(seq=-1), {"invalid_field"}),
    ("replayed seq", C, with_field(seq=3), {"bad_sequence"}),
    ("seq from the past", C, with_field(seq=1), {"bad_sequence"}),
    ("acknowledging what was never sent", C, with_field(frame_received_seq=99), {"bad_sequence"}),
    ("unknown type", 0x77, {}, {"unknown_type"}),
    ("a server's message", MessageType.WELCOME, {}, {"unexpected_message", "invalid_field"}),
    ("second hello", MessageType.HELLO, HELLO, {"unexpected_message"}),
    ("a blockout of a million parts", S, b"\x81\xa3add\xdd\x00\x0f\x42\x40" + b"\x80" * 1_000_000,
     {"too_many_parts", "too_large"}),
    ("parts over the limit", S, {"replace": True, "add": [{**PART, "id": i} for i in range(4097)]},
     {"too_many_parts"}),
    ("one id twice", S, {"replace": True, "add": [PART, PART]}, {"invalid_field"}),
    ("moving what is not there", S, {"replace": True, "move": [{"id": 9, "position": [0.0] * 3}]}, {"unknown_part"}),
    ("mesh without triangles", S, mesh(TRIANGLE, b""), {"bad_mesh"}),
    ("mesh with half a vertex", S, mesh(TRIANGLE[:-2], FIRST_THREE), {"bad_mesh"}),
    ("mesh that names a missing vertex", S, mesh(TRIANGLE, struct.pack("<3I", 0, 1, 3)), {"bad_mesh"}),
    ("mesh of no area", S, mesh(TRIANGLE, struct.pack("<3I", 1, 1, 1)), {"bad_mesh"}),
    ("mesh with a NaN", S, mesh(struct.pack("<9f", NAN, *[0.0] * 8), FIRST_THREE), {"bad_mesh"}),
    ("box without extent", S, {"replace": True, "add": [{**PART, "size": [0.0, 0.0, 0.0]}]}, {"invalid_field"}),
]  # fmt: skip


def test_every_bad_message_is_refused_by_name_and_the_session_lives(friend: Client, raw: Raw) -> None:
    raw.send(MessageType.HELLO, HELLO)
    raw.prefetch_prompt(Welcome)
    raw.send(C, with_field(seq=3))
    raw.prefetch_prompt(FrameHeader)
    for seq, (name, kind, body, codes) in enumerate(CASES, start=4):
        raw.send(kind, body)
        error = raw.prefetch_prompt(ErrorMessage)
        assert error.code.value in codes, (name, error)
        assert not error.fatal, name
        raw.send(C, with_field(seq=seq, frame_received_seq=seq - 1))
        assert raw.prefetch_prompt(FrameHeader).seq == seq, name
        friend.step(Camera(position=(0, 0, 0)))


@pytest.mark.parametrize(
    "parts",
    [
        [b""],
        [b"GET / HTTP/1.1"],
        [b"HLB1", b"\x01"],
        [b"HLB2", b"\x01", msgpack.packb(HELLO)],
        [b"HLB1", b"\x01\x02", msgpack.packb(HELLO)],
        [b"HLB1", b"\x03", PACKED, b"extra"],
        [b"HLB1"] + [b"\x03"] * 50,
    ],
    ids=["empty", "http", "two parts", "other magic", "long type", "extra part", "many parts"],
)
def test_bad_framing_from_a_stranger_is_answered(friend: Client, raw: Raw, parts: list[bytes]) -> None:
    raw.socket.send_multipart(parts)
    error = raw.prefetch_prompt(ErrorMessage)
    assert error.code.value == "bad_framing"
    assert error.fatal


@pytest.mark.parametrize(
    ("kind", "body", "code"),
    [
        (MessageType.CONTROL, CONTROL, "unexpected_message"),
        (MessageType.SCENE, {"replace": True}, "unexpected_message"),
        (MessageType.STATS_REQUEST, {}, "unexpected_message"),
        (MessageType.HELLO, {**HELLO, "version_major": 2}, "version_mismatch"),
        (MessageType.HELLO, {**HELLO, "pixel_formats": ["av1"]}, "unsupported"),
        (MessageType.HELLO, {**HELLO, "axes": "sideways"}, "invalid_field"),
    ],
)
def test_a_wrong_beginning_is_refused(friend: Client, raw: Raw, kind: int, body: object, code: str) -> None:
    raw.send(kind, body)
    error = raw.prefetch_prompt(ErrorMessage)
    assert (error.code.value, error.fatal) == (code, True)


def test_another_session_cannot_be_taken_without_its_token(friend: Client, raw: Raw) -> None:
    raw.send(MessageType.HELLO, {**HELLO, "session_id": friend.welcome.session_id, "resume_token": "guess"})
    welcome = raw.prefetch_prompt(Welcome)
    assert not welcome.resumed
    assert welcome.session_id != friend.welcome.session_id


def test_a_part_beyond_every_limit_ends_only_that_connection(friend: Client, raw: Raw) -> None:
    raw.send(MessageType.HELLO, HELLO)
    raw.prefetch_prompt(Welcome)
    raw.send(S, b"\x00" * (32 << 20))
    friend.step(Camera(position=(0, 0, 0)))


def test_a_flood_of_rubbish_ends_that_session_alone(friend: Client, raw: Raw) -> None:
    raw.send(MessageType.HELLO, HELLO)
    raw.prefetch_prompt(Welcome)
    codes = []
    for _ in range(65):
        raw.send(0x77, {})
        codes.append(raw.prefetch_prompt(ErrorMessage).code.value)
    assert codes == ["unknown_type"] * 64 + ["too_many_errors"]
    for _ in range(500):
        raw.send(0x77, {})
    friend.step(Camera(position=(0, 0, 0)))


def test_random_bytes_never_stop_the_service(friend: Client, raw: Raw) -> None:
    dice = random.Random(20260101)
    for _ in range(400):
        mutated = bytearray(PACKED)
        for _ in range(dice.randint(1, 6)):
            mutated[dice.randrange(len(mutated))] = dice.randrange(256)
        raw.socket.send_multipart([b"HLB1", bytes([dice.randrange(16)]), bytes(mutated)])
        if dice.random() < 0.2:
            raw.socket.send_multipart([dice.randbytes(dice.randrange(40)) for _ in range(dice.randint(1, 5))])
    friend.step(Camera(position=(0, 0, 0)))


def test_scenes_without_end_do_not_keep_others_waiting(shared_service: Any, raw: Raw) -> None:
    """Controls are handled between SCENEs, not one behind each: else the lag would grow by 70 ms a control."""
    raw.send(MessageType.HELLO, HELLO)
    raw.prefetch_prompt(Welcome)
    boxes = [{**PART, "id": number} for number in range(4096)]
    scene = msgpack.packb({"replace": True, "add": boxes})
    enough = threading.Event()

    def flood() -> None:
        while not enough.wait(0.01):
            raw.send(S, scene)

    flooder = threading.Thread(target=flood)
    with shared_service.client(credit=4) as render_session:
        flooder.start()
        try:
            time.sleep(0.5)  # by now SCENEs wait in the service
            newest = -1
            for _ in range(90):
                sent = render_session.send(Camera(position=(0, 0, 0)))
                newest = frame.seq if (frame := render_session.poll()) is not None else newest
                time.sleep(1 / 60)
        finally:
            enough.set()
            flooder.join()
        assert sent - newest < 30
        assert render_session.step(Camera(position=(0, 0, 0)), timeout_s=5.0).seq > sent


def test_a_client_that_vanishes_leaves_the_others_alone(friend: Client, raw: Raw) -> None:
    raw.send(MessageType.HELLO, HELLO)
    raw.prefetch_prompt(Welcome)
    for seq in range(10):
        raw.send(C, with_field(seq=seq))
    raw.socket.close(0)
    for _ in range(10):
        friend.step(Camera(position=(0, 0, 0)))
