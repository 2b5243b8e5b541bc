"""Decodes a FRAME's pixels, and encodes a game's image or clip for RESET.

Pixels travel raw or as JPEG; only JPEG needs OpenCV.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError, ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_PICTURES_BYTES
from bridge.protocol.messages import FrameHeader, PixelFormat, Reset

_QUALITY = 92  # the model sees it through an encoder that blurs far more


def decode_pixels(header: FrameHeader, data: bytes) -> NDArray[np.uint8]:
    """A FRAME's pixels part as (H, W, 3) uint8 RGB, read-only."""
    shape = (header.height, header.width, 3)
    if header.pixel_format is PixelFormat.RGB8:
        return np.frombuffer(data, dtype=np.uint8).reshape(shape)  # (H, W, 3)
    try:
        import cv2  # a game on the same machine takes rgb8 and never needs it
    except ImportError as exc:
        raise ConfigError("JPEG frames need OpenCV: pip install opencv-python-headless, or ask for rgb8") from exc
    bgr = cv2.imdecode(np.frombuffer(data, dtype=np.uint8), cv2.IMREAD_COLOR)
    if bgr is None or bgr.shape != shape:
        raise RemoteProtocolError(ErrorCode.BAD_FRAMING, f"FRAME: the pixels are not a JPEG of {shape[1]} x {shape[0]}")
    rgb: NDArray[np.uint8] = np.ascontiguousarray(bgr[:, :, ::-1])
    rgb.flags.writeable = False
    return rgb


def reset_with(pictures: NDArray[np.uint8], *, seed: int | None, prompt: str | None) -> Reset:
    """pictures: (H, W, 3) RGB for an image, (N, H, W, 3) for a clip, oldest first.

    Raises: ConfigError: the array is of another kind, or a clip is too large without OpenCV here.
    """
    frames = pictures[None] if pictures.ndim == 3 else pictures
    if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8 or not frames.size:
        raise ConfigError(f"pictures: got {pictures.shape} {pictures.dtype}, expected (H, W, 3) or (N, H, W, 3) uint8")
    fits = frames.nbytes <= MAX_PICTURES_BYTES
    return Reset(
        seed=seed,
        prompt=prompt,
        pictures=tuple(frame.tobytes() if fits else _jpeg(frame) for frame in frames),
        picture_format=PixelFormat.RGB8 if fits else PixelFormat.JPEG,
        picture_width=frames.shape[2],
        picture_height=frames.shape[1],
    )


def _jpeg(frame: NDArray[np.uint8]) -> bytes:
    try:
        import cv2  # only what does not fit as it is needs it
    except ImportError as exc:
        raise ConfigError("a clip this large is sent as JPEG: pip install opencv-python-headless") from exc
    encoded, data = cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    assert encoded, "an array of 8-bit pixels"
    return np.asarray(data).tobytes()
