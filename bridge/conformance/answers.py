"""What a sound server says: the WELCOME and the FRAMEs that scripts for clients send, or break."""

from __future__ import annotations

from typing import Final

from bridge.conformance.fake_frames import fake_header
from bridge.protocol.messages import Control, FrameHeader, Hello, PixelFormat, Welcome
from bridge.session.capabilities import ServerCapabilities

WIDTH: Final = 64
HEIGHT: Final = 48
PIXELS: Final = bytes((x * 4, y * 5, 128)[c] for y in range(HEIGHT) for x in range(WIDTH) for c in range(3))
_OFFER: Final = ServerCapabilities(
    server="conform",
    model="conform",
    runner="none",
    camera_method="none",
    default_map="none",
    frame_width=WIDTH,
    frame_height=HEIGHT,
    fps=24.0,
    frames_per_chunk=(9,),
    capabilities=("scene", "stats", "resume"),
)


def valid_welcome(hello: Hello, *, credit: int, resumed: bool, last_seq: int, ring: str) -> Welcome:
    """The answer to HELLO. ring: name of the session's shared memory, "" for none."""
    return _OFFER.welcome(
        hello,
        session_id="0123456789abcdef0123456789abcdef",
        resume_token="fedcba9876543210fedcba9876543210",
        resumed=resumed,
        last_seq=last_seq,
        credit=credit,
        pixel_format=PixelFormat.RGB8,
        ring=ring,
    )


def valid_header(control: Control) -> FrameHeader:
    """The answer to a control: `PIXELS` follow it."""
    return fake_header(
        control, width=WIDTH, height=HEIGHT, control_age_us=20_000, server_us=1_000, stage_ms={"answer": 0.5}
    )
