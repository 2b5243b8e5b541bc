"""What a server without a model answers: `conform client` plays one, `bench transport` measures with one."""

from __future__ import annotations

from collections.abc import Mapping

from bridge.protocol.messages import Control, FrameHeader, PixelFormat, Source


def fake_header(
    control: Control,
    *,
    width: int,
    height: int,
    control_age_us: int,
    server_us: int,
    stage_ms: Mapping[str, float],
    pixel_format: PixelFormat = PixelFormat.RGB8,
) -> FrameHeader:
    """An answer to `control` as sound and as long as a model's: a frame made for just this camera, nine to a chunk."""
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
        control_age_us=control_age_us,
        server_us=server_us,
        stage_ms=dict(stage_ms),
        deadline_met=True,
        width=width,
        height=height,
        pixel_format=pixel_format,
    )
