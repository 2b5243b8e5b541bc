"""A small client for the conformance kit to be tested on: sound, or with one fault that a script must find.

python conform_subject.py ADDRESS [FAULT]
"""

from __future__ import annotations

import os
import pathlib
import signal
import struct
import sys
import time
from typing import Any

import msgpack
import zmq

HELLO, WELCOME, CONTROL, FRAME, ERROR, BUSY, BYE, PING, PONG = 1, 2, 3, 4, 9, 10, 11, 12, 13
FAULT = sys.argv[2] if len(sys.argv) > 2 else ""
NEEDED = {PING: {"t_us": int}, ERROR: {"code": str, "text": str}, BUSY: {"text": str}, BYE: {}}
NEEDED[WELCOME] = {"session_id": str, "resume_token": str, "last_seq": int, "resumed": bool}
NEEDED[FRAME] = {"seq": int, "width": int, "height": int, "pixel_format": str}


class Over(Exception):
    pass


class Subject:
    def __init__(self, address: str) -> None:
        self.socket = zmq.Context.instance().socket(zmq.DEALER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.connect(address)
        self.seq, self.newest, self.welcome = 0, -1, {}
        self.playing = self.waiting = False
        self.ring: bytes | None = None

    def send(self, kind: int, **fields: Any) -> None:
        self.socket.send_multipart([b"HLB1", bytes([kind]), msgpack.packb(fields)])

    def hello(self) -> None:
        formats = ["jpeg"] if FAULT == "no rgb8" else ["rgb8"]
        major = 2 if FAULT == "another version" else 1
        again = {} if FAULT != "a token of its own" or not self.welcome else {"session_id": "x", "resume_token": "y"}
        if self.welcome and not again:
            again = {name: self.welcome[name] for name in ("session_id", "resume_token")}
        again["shared_memory"] = True
        self.send(HELLO, version_major=major, version_minor=1, client="subject", pixel_formats=formats, **again)
        self.waiting = True

    def read(self) -> None:
        parts = self.socket.recv_multipart()
        try:
            magic, (kind,), body, *pixels = parts
            fields = msgpack.unpackb(body)
            sound = magic == b"HLB1" and all(type(fields[name]) is of for name, of in NEEDED[kind].items())
            if kind == FRAME:
                sound = sound and 0 <= fields["seq"] < 2**53 and fields["pixel_format"] == "rgb8"
                if fields.get("ring_slot", -1) >= 0:
                    if self.ring is None or pixels[0]:
                        return
                    self.look_into_ring(fields["ring_slot"], fields["ring_sequence"])
                elif FAULT != "pixels unchecked":
                    sound = sound and len(pixels[0]) == 3 * max(1, fields["width"]) * fields["height"] > 0
            elif pixels:
                sound = False
        except (ValueError, KeyError, TypeError, IndexError, msgpack.UnpackException):
            if FAULT == "dies of broken bytes":
                os.kill(os.getpid(), signal.SIGSEGV)
            return
        if sound:
            self.act(kind, fields)

    def open_ring(self, name: str) -> None:
        """By the document alone: a file in /dev/shm, its head, then slots."""
        path = pathlib.Path("/dev/shm") / name
        self.ring = path.read_bytes() if name and path.exists() else None
        self.path = path
        if self.ring is not None and self.ring[:8] != b"HLBRING1":
            self.ring = None

    def claims_ring(self) -> bool:
        return FAULT == "claims any ring" or (self.ring is not None and FAULT != "never claims a ring")

    def look_into_ring(self, slot: int, sequence: int) -> None:
        slots, stride = struct.unpack_from("<II", self.path.read_bytes(), 8)
        (held,) = struct.unpack_from("<Q", self.path.read_bytes(), 64 + slot * stride)
        if slot >= slots or held != sequence:
            self.ring = None
            if FAULT == "gives up when a frame is gone":
                raise Over

    def act(self, kind: int, fields: dict[str, Any]) -> None:
        if kind == PING and FAULT != "no pong":
            self.send(PONG, t_us=fields["t_us"] & 0xFFFFFFFF if FAULT == "32-bit pong" else fields["t_us"])
        elif kind == FRAME:
            if fields["seq"] < self.seq or FAULT == "takes unsent frames":
                self.newest = fields["seq"] if FAULT == "names any frame" else max(self.newest, fields["seq"])
        elif kind == WELCOME:
            if not fields["resumed"]:
                self.newest = -1
            self.welcome, self.playing, self.waiting = fields, True, False
            self.open_ring(fields.get("ring", ""))
            if FAULT != "ignores last_seq":
                self.seq = max(self.seq, fields["last_seq"] + 1)
        elif kind == BYE and FAULT != "ignores bye":
            raise Over
        elif kind == BUSY:
            if FAULT != "impatient":
                raise Over
            self.hello()
        elif kind == ERROR and fields.get("fatal") and FAULT != "ignores errors":
            if fields["code"] not in ("session_expired", "unexpected_message"):
                raise Over
            if not self.waiting:
                self.playing = False
                self.hello()

    def play(self) -> None:
        if FAULT != "no hello":
            self.hello()
        self.playing = FAULT in ("no hello", "hasty")
        tick = 0.001 if FAULT == "too fast" else 1 / 60
        while True:
            if self.playing:
                named = -1 if FAULT == "names no frame" else self.newest
                named += 5 * (FAULT == "names a frame too many")
                rotation = [0.0, 0.0, 0.0, 1.5 if FAULT == "long quaternion" else 1.0]
                self.send(
                    CONTROL, seq=self.seq, t_us=time.monotonic_ns() // 1000, position=[0.0, 0.0, 0.0],
                    rotation=rotation, vertical_fov_deg=60.0, frame_received_seq=named,
                    shared_frames=self.claims_ring(),
                )  # fmt: skip
                self.seq += FAULT != "seq stands still"
            ends = time.monotonic() + tick
            if FAULT == "waits for frames" and self.playing:
                self.socket.poll(5000)
            while (left := ends - time.monotonic()) > 0 and self.socket.poll(left * 1000):
                self.read()


if __name__ == "__main__":
    try:
        Subject(sys.argv[1]).play()
    except Over:
        sys.exit(0)
