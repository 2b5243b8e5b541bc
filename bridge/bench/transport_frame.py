"""The control and the frame that `bench transport` sends, and a message's parts joined to one piece of bytes.

Shared by our servers and the peers, so that every row carries the same bytes through the same codec.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.conformance.fake_frames import fake_header
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import Control, FrameHeader, Hello, PixelFormat, Welcome
from bridge.session.capabilities import ServerCapabilities

WIDTH: Final = 640
HEIGHT: Final = 384
_LENGTH: Final = struct.Struct(">I")

OFFER: Final = ServerCapabilities(
    server="bench",
    model="a still picture",
    runner="none",
    camera_method="none",
    default_map="none",
    frame_width=WIDTH,
    frame_height=HEIGHT,
    fps=60.0,
    frames_per_chunk=(9,),
)


def picture() -> NDArray[np.uint8]:
    """(384, 640, 3) uint8: smooth noise, which compresses about as a rendered frame does (84 KB at quality 85)."""
    coarse = np.random.default_rng(7).integers(0, 256, (HEIGHT // 6, WIDTH // 6, 3), np.uint8)
    smooth = cv2.resize(coarse, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.uint8)


def header_for(control: Control, pixel_format: PixelFormat) -> FrameHeader:
    """An answer's header, as long as a real one."""
    return fake_header(
        control,
        width=WIDTH,
        height=HEIGHT,
        control_age_us=41_000,
        server_us=200,
        stage_ms={"transformer": 20.5, "decoder": 10.25, "answer": 0.1},
        pixel_format=pixel_format,
    )


def welcome_for(hello: Hello, pixel_format: PixelFormat, ring: str) -> Welcome:
    """The answer of a server that keeps no sessions."""
    return OFFER.welcome(
        hello, session_id="none", resume_token="none", credit=hello.credit, pixel_format=pixel_format, ring=ring
    )


def joined(parts: Sequence[Buffer]) -> bytes:
    """A message's parts as one piece, each behind its length: for transports that know no parts."""
    return b"".join(piece for part in parts for piece in (_LENGTH.pack(len(part)), part))


def split(data: bytes) -> list[Buffer]:
    """The parts again, not copied."""
    view, at = memoryview(data), 0
    parts: list[Buffer] = []
    while at < len(data):
        (length,) = _LENGTH.unpack_from(data, at)
        parts.append(view[at + 4 : at + 4 + length])
        at += 4 + length
    return parts
