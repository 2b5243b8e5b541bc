"""Limits, bounded types and enums of the messages' fields.

Bounds are checked when bytes are decoded. Constructing a message in Python checks nothing; `codec.encode_checked`
does.
"""

from __future__ import annotations

import enum
from typing import Annotated, Final, TypeAlias

from msgspec import Meta

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
Angle: TypeAlias = Annotated[float, Meta(ge=0.0, le=180.0)]
Distance: TypeAlias = Annotated[float, Meta(ge=0.0, le=1e7)]
Fraction: TypeAlias = Annotated[float, Meta(ge=0.0, le=1.0)]

Vec3: TypeAlias = tuple[_Coordinate, _Coordinate, _Coordinate]
Size3: TypeAlias = tuple[_Extent, _Extent, _Extent]
Colour: TypeAlias = tuple[Fraction, Fraction, Fraction]
Quat: TypeAlias = tuple[_Component, _Component, _Component, _Component]


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
