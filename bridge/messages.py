"""The protocol's messages as typed, immutable values, with their units and bounds.

Here live names, types and limits only. Bytes are codec.py's business, who may say what when is session.py's.
Bounds are checked when bytes are decoded; constructing a message in Python checks nothing (codec.check does).
Fields with a default may be left out on the wire; unknown fields are ignored (codec.py leaves them out for the types
that forbid them, which are those of every tick). The prose is unity_plugin_protocol.md.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final, TypeAlias

from msgspec import Meta, Struct

from bridge.errors import ErrorCode

PROTOCOL_MAGIC: Final = b"HLB1"
VERSION_MAJOR: Final = 1
VERSION_MINOR: Final = 1

MAX_INT: Final = 2**53 - 1  # the largest integer that JavaScript and Lua hold exactly
MAX_TEXT_BYTES: Final = 2048
MAX_NAME_CHARS: Final = 64
MAX_EVENTS: Final = 16
MAX_PARTS: Final = 4096
MAX_MESH_VERTICES: Final = 65536
MAX_MESH_TRIANGLES: Final = 131072
MAX_PICTURES: Final = 128
MAX_PICTURES_BYTES: Final = 4 * 2**20
MAX_SESSION_MESH_BYTES: Final = 32 * 2**20
MAX_FRAME_SIDE_PX: Final = 4096
MAX_CREDIT: Final = 8
MAX_POSITION_M: Final = 1e6
MAX_UNITS_PER_METRE: Final = 1e3

Seq: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT)]
SeqOrNone: TypeAlias = Annotated[int, Meta(ge=-1, le=MAX_INT)]
Count: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT)]
Microseconds: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT)]
SignedMicroseconds: TypeAlias = Annotated[int, Meta(ge=-MAX_INT, le=MAX_INT)]
Seed: TypeAlias = Annotated[int, Meta(ge=0, le=MAX_INT)]
PartId: TypeAlias = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Pixels: TypeAlias = Annotated[int, Meta(ge=1, le=MAX_FRAME_SIDE_PX)]
Degrees: TypeAlias = Annotated[float, Meta(ge=1.0, le=170.0)]
Milliseconds: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e9)]
Rate: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e6)]
Name: TypeAlias = Annotated[str, Meta(max_length=MAX_NAME_CHARS)]
Text: TypeAlias = Annotated[str, Meta(max_length=MAX_TEXT_BYTES)]
Picture: TypeAlias = Annotated[bytes, Meta(max_length=MAX_PICTURES_BYTES)]

# On the wire lengths are in the client's units; after conversion session.py checks MAX_POSITION_M.
_Coordinate: TypeAlias = Annotated[
    float, Meta(ge=-MAX_POSITION_M * MAX_UNITS_PER_METRE, le=MAX_POSITION_M * MAX_UNITS_PER_METRE)
]
_Extent: TypeAlias = Annotated[float, Meta(ge=0.0, le=MAX_POSITION_M * MAX_UNITS_PER_METRE)]
_Component: TypeAlias = Annotated[float, Meta(ge=-1e6, le=1e6)]  # codec.py refuses what is not of unit length
_Angle: TypeAlias = Annotated[float, Meta(ge=0.0, le=180.0)]
_Distance: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e7)]
_Fraction: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]

Vec3: TypeAlias = tuple[_Coordinate, _Coordinate, _Coordinate]
Size3: TypeAlias = tuple[_Extent, _Extent, _Extent]
Colour: TypeAlias = tuple[_Fraction, _Fraction, _Fraction]
Quat: TypeAlias = tuple[_Component, _Component, _Component, _Component]


class MessageType(enum.IntEnum):
    """The one-byte second part of every message."""

    HELLO = 0x01
    WELCOME = 0x02
    CONTROL = 0x03
    FRAME = 0x04
    SCENE = 0x05
    RESET = 0x06
    STATS_REQUEST = 0x07
    STATS = 0x08
    ERROR = 0x09
    BUSY = 0x0A
    BYE = 0x0B
    PING = 0x0C
    PONG = 0x0D
    SAVE = 0x0E
    SAVED = 0x0F


class Axes(enum.Enum):
    """Whose axes a client speaks; axes.py converts. `OPENGL` is ours."""

    OPENGL = "opengl"
    OPENCV = "opencv"
    UNITY = "unity"
    UNREAL = "unreal"
    GODOT = "godot"


class PixelFormat(enum.Enum):
    """How the pixels part of a FRAME is laid out. rgb8: rows from the top, 3 bytes a pixel, no padding."""

    RGB8 = "rgb8"
    JPEG = "jpeg"


class Source(enum.Enum):
    """Where a frame's pixels come from: the network, an older frame bent to the newest camera, or an older frame."""

    GENERATED = "generated"
    REPROJECTED = "reprojected"
    HELD = "held"


class Shape(enum.Enum):
    """What a part of the blockout is. MESH alone reads `vertices` and `triangles`."""

    BOX = "box"
    SPHERE = "sphere"
    CYLINDER = "cylinder"
    PLANE = "plane"
    MESH = "mesh"


class Hello(Struct, frozen=True, kw_only=True):
    """Client: opens a session, or resumes one by `session_id` and `resume_token`.

    units_per_metre: how many of the client's length units make a metre (Unreal: 100). credit: wished number of
    frames that may be under way unread. budget_us: how long after a control its answer is useful. pixel_formats:
    what the client can show, best first; unknown names are ignored. max_speed, max_turn_deg_per_s: the fastest that
    its camera moves (client units a second) and turns; 0 leaves it to the server. shared_memory: the client is on the
    server's machine and would read pixels from a ring in shared memory.
    """

    version_major: Annotated[int, Meta(ge=0, le=65535)]
    version_minor: Annotated[int, Meta(ge=0, le=65535)]
    client: Name
    axes: Axes = Axes.OPENGL
    units_per_metre: Annotated[float, Meta(ge=1e-3, le=MAX_UNITS_PER_METRE)] = 1.0
    pixel_formats: Annotated[tuple[Name, ...], Meta(min_length=1, max_length=8)] = ("rgb8",)
    credit: Annotated[int, Meta(ge=1, le=MAX_CREDIT)] = 2
    budget_us: Annotated[int, Meta(ge=1000, le=10_000_000)] = 16667
    tick_hz: Annotated[float, Meta(ge=1.0, le=1000.0)] = 60.0
    session_id: Name = ""
    resume_token: Name = ""
    max_speed: Annotated[float, Meta(ge=0.0, le=1e6)] = 0.0
    max_turn_deg_per_s: Annotated[float, Meta(ge=0.0, le=36000.0)] = 0.0
    shared_memory: bool = False


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


class Event(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Something that happened in the game once; unlike a control's state it is never superseded."""

    kind: Name
    value: Text = ""


class Control(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Client: one tick. State (camera, action) is latest-wins, `events` are kept.

    t_us: the client's own clock, echoed. rotation: camera-to-world unit quaternion xyzw. teleport: the camera
    jumped, do not bend older frames to it. lateness_us: how late the last answer came by the client's clock,
    negative when early. frame_received_seq: the newest FRAME seq read so far, -1 for none; it gives the credit
    back. shared_frames: WELCOME's ring is open here, the answer's pixels may lie in it.
    """

    seq: Seq
    t_us: Microseconds
    position: Vec3
    rotation: Quat
    vertical_fov_deg: Degrees
    action: Text = ""
    events: Annotated[tuple[Event, ...], Meta(max_length=MAX_EVENTS)] = ()
    teleport: bool = False
    lateness_us: SignedMicroseconds = 0
    frame_received_seq: SeqOrNone = -1
    shared_frames: bool = False


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


class Part(Struct, frozen=True, kw_only=True):
    """One piece of the blockout.

    size: full extents along the part's own axes (a sphere is the ellipsoid of these diameters; a cylinder stands
    along its own up axis; a plane lies across its own up axis and ignores that extent; a mesh's
    vertices are multiplied by it). colour: linear 0..1 multiplier. vertices: float32 little-endian xyz triples in the
    part's own axes. triangles: uint32 little-endian index triples; cross(b-a, c-a) points outwards.
    """

    id: PartId
    shape: Shape
    position: Vec3
    rotation: Quat = (0.0, 0.0, 0.0, 1.0)
    size: Size3 = (1.0, 1.0, 1.0)
    material: Name = ""
    colour: Colour = (1.0, 1.0, 1.0)
    vertices: Annotated[bytes, Meta(max_length=12 * MAX_MESH_VERTICES)] = b""
    triangles: Annotated[bytes, Meta(max_length=12 * MAX_MESH_TRIANGLES)] = b""


class PartMove(Struct, frozen=True, kw_only=True):
    """A new pose for the part `id`."""

    id: PartId
    position: Vec3
    rotation: Quat = (0.0, 0.0, 0.0, 1.0)


class SceneUpdate(Struct, frozen=True, kw_only=True):
    """Client (SCENE): prompt, seed and blockout. None means unchanged.

    replace: drop every part first (a session's first blockout must say so: it leaves the default map). Order:
    replace, remove, add, move. Adding an id that exists replaces that part.
    """

    prompt: Text | None = None
    seed: Seed | None = None
    replace: bool = False
    add: Annotated[tuple[Part, ...], Meta(max_length=MAX_PARTS)] = ()
    move: Annotated[tuple[PartMove, ...], Meta(max_length=MAX_PARTS)] = ()
    remove: Annotated[tuple[PartId, ...], Meta(max_length=MAX_PARTS)] = ()


class Reset(Struct, frozen=True, kw_only=True):
    """Client: forget the video so far and begin again in the same blockout. None means unchanged.

    pictures: what the video continues: one is an image, the frames of the longest chunk or more are a clip, oldest
    first; all are `picture_width` by `picture_height` pixels in `picture_format`. restore: the name of a state saved
    by SAVE, which is gone on with instead; it stands alone.
    """

    seed: Seed | None = None
    prompt: Text | None = None
    pictures: Annotated[tuple[Picture, ...], Meta(max_length=MAX_PICTURES)] = ()
    picture_format: PixelFormat = PixelFormat.RGB8
    picture_width: Annotated[int, Meta(ge=0, le=MAX_FRAME_SIDE_PX)] = 0
    picture_height: Annotated[int, Meta(ge=0, le=MAX_FRAME_SIDE_PX)] = 0
    restore: Name = ""


class Save(Struct, frozen=True, kw_only=True):
    """Client: keep the session's state as it is after its newest chunk, under a name, in one file on the server."""

    name: Name


class Saved(Struct, frozen=True, kw_only=True):
    """Server: the state of SAVE is kept."""

    name: Name
    size_bytes: Count


class StatsRequest(Struct, frozen=True, kw_only=True):
    """Client: asks for STATS."""


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
    delivery: _Fraction = 0.0
    underruns: Annotated[dict[Name, Count], Meta(max_length=32)] = {}
    gap_us: Microseconds = 0
    margin_us: Microseconds = 0
    earliness_us_p50: Microseconds = 0
    needless_starts: Count = 0
    prediction_deg_p50: _Angle = 0.0
    prediction_deg_p95: _Angle = 0.0
    prediction_m_p50: _Distance = 0.0
    prediction_m_p95: _Distance = 0.0
    wasted_us: Microseconds = 0
    chunk_frames: Count = 0


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


class Bye(Struct, frozen=True, kw_only=True):
    """Either side: the session is over."""

    reason: Text = ""


class Ping(Struct, frozen=True, kw_only=True):
    """Either side: are you there? t_us is the sender's clock."""

    t_us: Microseconds


class Pong(Struct, frozen=True, kw_only=True):
    """Either side: answers PING with its t_us."""

    t_us: Microseconds


Message: TypeAlias = (
    Hello
    | Welcome
    | Control
    | FrameHeader
    | SceneUpdate
    | Reset
    | StatsRequest
    | Stats
    | ErrorMessage
    | Busy
    | Bye
    | Ping
    | Pong
    | Save
    | Saved
)

STRUCT_OF_TYPE: Final[dict[MessageType, type[Message]]] = {
    MessageType.HELLO: Hello,
    MessageType.WELCOME: Welcome,
    MessageType.CONTROL: Control,
    MessageType.FRAME: FrameHeader,
    MessageType.SCENE: SceneUpdate,
    MessageType.RESET: Reset,
    MessageType.STATS_REQUEST: StatsRequest,
    MessageType.STATS: Stats,
    MessageType.ERROR: ErrorMessage,
    MessageType.BUSY: Busy,
    MessageType.BYE: Bye,
    MessageType.PING: Ping,
    MessageType.PONG: Pong,
    MessageType.SAVE: Save,
    MessageType.SAVED: Saved,
}
TYPE_OF_STRUCT: Final[dict[type[Message], MessageType]] = {struct: kind for kind, struct in STRUCT_OF_TYPE.items()}
