"""The messages that clients send: HELLO, CONTROL, SCENE, RESET, SAVE, STATS_REQUEST, and the values inside them."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from bridge.protocol.fields import (
    MAX_CREDIT,
    MAX_EVENTS,
    MAX_FRAME_SIDE_PX,
    MAX_MESH_TRIANGLES,
    MAX_MESH_VERTICES,
    MAX_PARTS,
    MAX_PICTURES,
    MAX_UNITS_PER_METRE,
    Axes,
    Colour,
    Degrees,
    Microseconds,
    Name,
    PartId,
    Picture,
    PixelFormat,
    Quat,
    Seed,
    Seq,
    SeqOrNone,
    Shape,
    SignedMicroseconds,
    Size3,
    Text,
    Vec3,
)


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


class StatsRequest(Struct, frozen=True, kw_only=True):
    """Client: asks for STATS."""
