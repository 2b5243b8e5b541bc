"""A client's pictures as frames: raw and JPEG, scaled, and refused before a header's promise is believed."""

from __future__ import annotations

import struct

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from bridge.backends.picture_decoding import frames_from_pictures, jpeg_size
from bridge.client.pixels import reset_with
from bridge.engine.interface import Pictures
from bridge.errors import ConfigError, EngineError
from bridge.protocol.fields import MAX_PICTURES_BYTES
from bridge.protocol.messages import PixelFormat

WIDTH, HEIGHT = 48, 32


def picture(width: int = WIDTH, height: int = HEIGHT) -> NDArray[np.uint8]:
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack([x, y, np.full_like(x, 90)], -1).astype(np.uint8)


def jpeg(frame: NDArray[np.uint8], *options: int) -> bytes:
    return cv2.imencode(".jpg", cv2.cvtColor(frame, cv2.COLOR_RGB2BGR), [cv2.IMWRITE_JPEG_QUALITY, 95, *options])[
        1
    ].tobytes()


def sent(*data: bytes, jpegs: bool = False, width: int = WIDTH, height: int = HEIGHT) -> Pictures:
    kind = PixelFormat.JPEG if jpegs else PixelFormat.RGB8
    return Pictures(data=data, pixel_format=kind, width=width, height=height)


def test_raw_pictures_are_themselves() -> None:
    frames = frames_from_pictures(sent(picture().tobytes(), picture().tobytes()), WIDTH, HEIGHT)
    np.testing.assert_array_equal(frames, np.stack([picture()] * 2))


@pytest.mark.parametrize("options", [(), (cv2.IMWRITE_JPEG_PROGRESSIVE, 1), (cv2.IMWRITE_JPEG_RST_INTERVAL, 1)])
def test_jpegs_are_decoded_in_the_right_order_of_colours(options: tuple[int, ...]) -> None:
    data = jpeg(picture(), *options)
    assert jpeg_size(data) == (WIDTH, HEIGHT)
    frames = frames_from_pictures(sent(data, jpegs=True), WIDTH, HEIGHT)
    assert np.abs(frames[0].astype(int) - picture()).mean() < 3


@pytest.mark.parametrize(("width", "height"), [(96, 64), (24, 16), (60, 60)])
def test_other_sizes_are_scaled(width: int, height: int) -> None:
    frames = frames_from_pictures(sent(picture(width, height).tobytes(), width=width, height=height), WIDTH, HEIGHT)
    assert frames.shape == (1, HEIGHT, WIDTH, 3)
    assert np.abs(frames[0].astype(int) - picture()).mean() < 6


def test_a_header_that_promises_too_much_is_not_believed() -> None:
    data = bytearray(jpeg(picture()))
    place = data.index(b"\xff\xc0") + 5
    data[place : place + 4] = struct.pack(">HH", 65535, 65535)
    with pytest.raises(EngineError, match="picture 0: got 65535x65535, expected 48x32"):
        frames_from_pictures(sent(bytes(data), jpegs=True), WIDTH, HEIGHT)


@pytest.mark.parametrize("keep", [2, 3, 20, 200])
def test_what_is_cut_short_is_refused(keep: int) -> None:
    with pytest.raises(EngineError, match="picture 0"):
        frames_from_pictures(sent(jpeg(picture())[:keep], jpegs=True), WIDTH, HEIGHT)


def test_no_bytes_make_the_header_reader_fail() -> None:
    generator = np.random.default_rng(0)
    for _ in range(300):
        jpeg_size(b"\xff\xd8" + generator.integers(0, 256, 40, np.uint8).tobytes())
        jpeg_size(b"\xff\xd8" + generator.choice([0xFF, 0xC0, 0, 4], 40).astype(np.uint8).tobytes())


def test_a_client_sends_raw_what_fits_and_jpeg_what_does_not() -> None:
    image = reset_with(picture(), seed=3, prompt="x")
    assert (image.picture_format, image.picture_width, image.picture_height) == (PixelFormat.RGB8, WIDTH, HEIGHT)
    assert image.pictures == (picture().tobytes(),)
    assert (image.seed, image.prompt, image.restore) == (3, "x", "")
    clip = np.stack([picture(640, 384)] * 9)
    large = reset_with(clip, seed=None, prompt=None)
    assert large.picture_format is PixelFormat.JPEG
    assert sum(map(len, large.pictures)) < MAX_PICTURES_BYTES < clip.nbytes
    data = sent(*large.pictures, jpegs=True, width=640, height=384)
    assert np.abs(frames_from_pictures(data, 640, 384).astype(int) - clip).mean() < 3


@pytest.mark.parametrize("shape", [(4,), (4, 4), (4, 4, 4), (0, 4, 4, 3), (1, 1, 4, 4, 3)])
def test_a_client_is_told_what_pictures_are(shape: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match="expected"):
        reset_with(np.zeros(shape, np.uint8), seed=None, prompt=None)
