"""The messages that servers send: WELCOME, FRAME, STATS, SAVED, ERROR, BUSY."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from bridge.errors import ErrorCode
from bridge.protocol.fields import (
    MAX_CREDIT,
    MAX_INT,
    Angle,
    Axes,
    Count,
    Degrees,
    Distance,
    Fraction,
    Microseconds,
    Milliseconds,
    Name,
    PixelFormat,
    Pixels,
    Quat,
    Rate,
    Seq,
    SeqOrNone,
    SignedMicroseconds,
    Source,
    Text,
    Vec3,
)


class Welcome(Struct, frozen=True, kw_only=True):
    """Server: the session is open. `last_seq` is the highest seq it accepted before a resume, -1 for none.

    fps: frames a second of the model's video. heartbeat_us: a silent peer is asked (PING) after this time.
    frames_per_chunk: every chunk length the engine can make. camera_method: how a pose reaches the pixels. ring: name
    of the session's shared memory, "" for none.
    """

    version_major: Annotated[int, Meta(ge=0, le=65535)]
    version_minor: Annotated[int, Meta(ge=0, le=65535)]
    server: Name
    session_id: Name
    resume_token: Name
    resumed: bool
    last_seq: SeqOrNone
    capabilities: Annotated[tuple[Name, ...], Meta(max_length=64)]
    axes: Axes
    model: Name
    runner: Name
    camera_method: Name
    default_map: Name
    frame_width: Pixels
    frame_height: Pixels
    fps: Annotated[float, Meta(ge=1.0, le=1000.0)]
    frames_per_chunk: Annotated[tuple[Annotated[int, Meta(ge=1, le=1024)], ...], Meta(min_length=1, max_length=32)]
    heartbeat_us: Microseconds
    credit: Annotated[int, Meta(ge=1, le=MAX_CREDIT)]
    pixel_format: PixelFormat
    ring: Name = ""


class FrameHeader(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Server: the answer to the control `seq`; the pixels travel as the message's last part.

    chunk, index: which generated frame the pixels come from (chunk -1: none was made yet). position, rotation,
    vertical_fov_deg: the pose these pixels show, in the client's axes. control_age_us: display time minus the time
    of the newest control that shaped the pixels. server_us: from receipt of the control to sending. stage_ms: named
    timings. control_t_us: that newest control's `t_us`, -1 for none. server_t_us: the server's clock at sending, whose
    zero means nothing; with `server_us` it tells when the control arrived.
    ring_slot, ring_sequence: where in the ring the pixels lie, as rgb8, and its lock's number; slot -1: in the message.
    """

    seq: Seq
    t_us: Microseconds
    source: Source
    chunk: SeqOrNone
    index: Count
    position: Vec3
    rotation: Quat
    vertical_fov_deg: Degrees
    action: Text
    steps: Annotated[tuple[Annotated[int, Meta(ge=0, le=1000)], ...], Meta(max_length=16)]
    rung: Name
    control_age_us: Microseconds
    server_us: Microseconds
    stage_ms: Annotated[dict[Name, Milliseconds], Meta(max_length=32)]
    deadline_met: bool
    width: Pixels
    height: Pixels
    pixel_format: PixelFormat
    control_t_us: Annotated[int, Meta(ge=-1, le=MAX_INT)] = -1
    server_t_us: Microseconds = 0
    ring_slot: Annotated[int, Meta(ge=-1, le=MAX_CREDIT + 1)] = -1
    ring_sequence: Count = 0


class Stats(Struct, frozen=True, kw_only=True):
    """Server: the session's ledger. controls = answered + dropped + refused + waiting;
    answered = generated + reprojected + held.

    late: answers sent after their deadline. dropped: controls that a newer one replaced, having come with them or while
    the client had no credit, or whose frame could not be handed over. refused: controls answered by an ERROR.
    waiting: 1 while the newest control waits for credit. sessions, engine_restarts: of the whole server.

    accounts: every control in exactly one; their sum is `controls`. delivery: the share of those not waiting for which
    their own frame or a newer control's was sent by their deadline. underruns: how often no frame was left to show, by
    cause; gap_us: for how long in all.
    margin_us: how much earlier than its cost's 95th percentile a chunk is begun. earliness_us_p50: how long chunks lie
    ready; needless_starts: how many lay too long. prediction_*: the player's camera against the predicted one, when
    shown. wasted_us: engine time that went into frames cut off unseen.
    """

    controls: Count = 0
    answered: Count = 0
    generated: Count = 0
    reprojected: Count = 0
    held: Count = 0
    late: Count = 0
    dropped: Count = 0
    refused: Count = 0
    waiting: Count = 0
    chunks: Count = 0
    replans: Count = 0
    generated_fps: Rate = 0.0
    chunk_ms_p50: Milliseconds = 0.0
    chunk_ms_p95: Milliseconds = 0.0
    control_age_us_p50: Microseconds = 0
    control_age_us_p95: Microseconds = 0
    server_us_p50: Microseconds = 0
    server_us_p95: Microseconds = 0
    client_lateness_us_p95: SignedMicroseconds = 0
    rung: Name = ""
    sessions: Count = 0
    engine_restarts: Count = 0
    accounts: Annotated[dict[Name, Count], Meta(max_length=32)] = {}
    delivery: Fraction = 0.0
    underruns: Annotated[dict[Name, Count], Meta(max_length=32)] = {}
    gap_us: Microseconds = 0
    margin_us: Microseconds = 0
    earliness_us_p50: Microseconds = 0
    needless_starts: Count = 0
    prediction_deg_p50: Angle = 0.0
    prediction_deg_p95: Angle = 0.0
    prediction_m_p50: Distance = 0.0
    prediction_m_p95: Distance = 0.0
    wasted_us: Microseconds = 0
    chunk_frames: Count = 0


class Saved(Struct, frozen=True, kw_only=True):
    """Server: the state of SAVE is kept."""

    name: Name
    size_bytes: Count


class ErrorMessage(Struct, frozen=True, kw_only=True):
    """Server: a message was refused. fatal: the session is over. in_reply_to: the refused type's name, "" when unknown.

    seq: the refused control's, -1 when it is not about one.
    """

    code: ErrorCode
    text: Text
    fatal: bool = False
    seq: SeqOrNone = -1
    in_reply_to: Name = ""


class Busy(Struct, frozen=True, kw_only=True):
    """Server: no session is free."""

    text: Text
    retry_after_us: Microseconds = 1_000_000
