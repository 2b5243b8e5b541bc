"""Sound messages that tests begin from: each test changes what it is about, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec

from bridge.protocol.messages import FrameHeader, Hello, PixelFormat, Source
from bridge.session.capabilities import ServerCapabilities

OFFER = ServerCapabilities(
    server="test",
    model="synthetic",
    runner="none",
    camera_method="none",
    default_map="courtyard",
    frame_width=2,
    frame_height=1,
    fps=24.0,
    frames_per_chunk=(9,),
)
HELLO = Hello(version_major=1, version_minor=0, client="test", budget_us=16_000)
WELCOME = OFFER.welcome(HELLO, session_id="id", resume_token="secret", credit=2, pixel_format=PixelFormat.RGB8)


def frame_header(seq: int, **changed: Any) -> FrameHeader:
    """The answer to control `seq`: a generated frame of 2 x 1 pixels, seen from the origin."""
    header = FrameHeader(
        seq=seq,
        t_us=0,
        source=Source.GENERATED,
        chunk=0,
        index=0,
        position=(0.0, 0.0, 0.0),
        rotation=(0.0, 0.0, 0.0, 1.0),
        vertical_fov_deg=60.0,
        action="",
        steps=(1, 1, 1),
        rung="full",
        control_age_us=20_000,
        server_us=1_000,
        stage_ms={},
        deadline_met=True,
        width=2,
        height=1,
        pixel_format=PixelFormat.RGB8,
    )
    return msgspec.structs.replace(header, **changed)
