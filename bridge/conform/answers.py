"""What a sound server says: the WELCOME and the FRAMEs that scripts for clients send, or break."""

from __future__ import annotations

from typing import Final

from bridge.messages import (
    VERSION_MAJOR,
    VERSION_MINOR,
    Control,
    FrameHeader,
    Hello,
    PixelFormat,
    Source,
    Welcome,
)

WIDTH: Final = 64
HEIGHT: Final = 48
PIXELS: Final = bytes((x * 4, y * 5, 128)[c] for y in range(HEIGHT) for x in range(WIDTH) for c in range(3))


def sound_welcome(hello: Hello, *, credit: int, resumed: bool, last_seq: int, ring: str) -> Welcome:
    """The answer to HELLO. ring: name of the session's shared memory, "" for none."""
    return Welcome(
        version_major=VERSION_MAJOR,
        version_minor=VERSION_MINOR,
        server="conform",
        session_id="0123456789abcdef0123456789abcdef",
        resume_token="fedcba9876543210fedcba9876543210",
        resumed=resumed,
        last_seq=last_seq,
        capabilities=("scene", "stats", "resume"),
        axes=hello.axes,
        model="conform",
        runner="none",
        camera_method="none",
        default_map="none",
        frame_width=WIDTH,
        frame_height=HEIGHT,
        fps=24.0,
        frames_per_chunk=(9,),
        heartbeat_us=1_000_000,
        credit=credit,
        pixel_format=PixelFormat.RGB8,
        ring=ring,
    )


def sound_header(control: Control) -> FrameHeader:
    """The answer to a control: `PIXELS` follow it."""
    return FrameHeader(
        seq=control.seq,
        t_us=control.t_us,
        source=Source.GENERATED,
        chunk=control.seq // 9,
        index=control.seq % 9,
        position=control.position,
        rotation=control.rotation,
        vertical_fov_deg=control.vertical_fov_deg,
        action=control.action,
        steps=(1, 1, 1),
        rung="full",
        control_age_us=20_000,
        server_us=1_000,
        stage_ms={"answer": 0.5},
        deadline_met=True,
        width=WIDTH,
        height=HEIGHT,
        pixel_format=PixelFormat.RGB8,
    )
