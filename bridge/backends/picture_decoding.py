"""Decodes the pictures that a session starts from to frames of the model's size.

Runs in the engine's process, so that a slow or broken picture disturbs no other session.
"""

from __future__ import annotations

import struct
from typing import Final

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import Pictures
from bridge.errors import EngineError
from bridge.protocol.messages import PixelFormat

# Start-of-frame markers of ITU-T T.81, table B.1: a height and a width follow. C4, C8 and CC are something else.
_START_OF_FRAME: Final = frozenset({*range(0xC0, 0xD0)} - {0xC4, 0xC8, 0xCC})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xDA)})


def frames_from_pictures(pictures: Pictures, width: int, height: int) -> NDArray[np.uint8]:
    """(N, height, width, 3) RGB; scaled where need be, whatever the shape, as the reference pipeline scales.

    Raises: EngineError: a picture cannot be read, or is not of the size it is said to have.
    """
    frames = [_decoded(pictures, index) for index in range(len(pictures.data))]
    if (pictures.width, pictures.height) != (width, height):
        shrinks = pictures.width * pictures.height > width * height
        method = cv2.INTER_AREA if shrinks else cv2.INTER_LANCZOS4
        frames = [np.asarray(cv2.resize(frame, (width, height), interpolation=method), np.uint8) for frame in frames]
    return np.stack(frames)


def jpeg_size(data: bytes) -> tuple[int, int] | None:
    """(width, height) from a JPEG's header, without decoding it; None when it has none."""
    place = 2
    while place + 4 <= len(data):
        if data[place] != 0xFF:
            return None
        marker = data[place + 1]
        if marker == 0xFF or marker in _WITHOUT_LENGTH:
            place += 1 if marker == 0xFF else 2
            continue
        (length,) = struct.unpack_from(">H", data, place + 2)
        if marker in _START_OF_FRAME:
            if place + 9 > len(data):
                return None
            height, width = struct.unpack_from(">HH", data, place + 5)
            return width, height
        place += 2 + length
    return None


def _decoded(pictures: Pictures, index: int) -> NDArray[np.uint8]:
    data, shape = pictures.data[index], (pictures.height, pictures.width, 3)
    if pictures.pixel_format is PixelFormat.RGB8:
        return np.frombuffer(data, np.uint8).reshape(shape)
    size = jpeg_size(data)
    if size != (pictures.width, pictures.height):  # before decoding: a header may claim gigabytes
        got = "no JPEG that can be read" if size is None else f"{size[0]}x{size[1]}"
        raise EngineError(f"picture {index}: got {got}, expected {pictures.width}x{pictures.height}")
    decoded = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    if decoded is None or decoded.shape != shape:
        raise EngineError(f"picture {index} is a JPEG that cannot be decoded")
    return np.asarray(cv2.cvtColor(decoded, cv2.COLOR_BGR2RGB), np.uint8)
