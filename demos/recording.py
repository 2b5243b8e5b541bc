"""Video files, animations and contact sheets, from RGB pictures."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError

VIDEO_FPS = 24
_MOST_PENDING = 24  # pictures that wait for the encoder: a second; beyond it pictures are left out
_WEBP_QUALITIES = (90, 80, 70, 60, 50, 40, 30, 20, 10)
_LABEL_PX = 20
_MARGIN_PX = 6

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB, row 0 at the top."""


class VideoFile:
    """An MP4 being written by a thread of its own, so that a game loop never waits for the encoder.

    left_out: pictures dropped because the encoder could not follow.
    Raises: ConfigError: the file cannot be written.
    """

    def __init__(self, path: Path, size: tuple[int, int]) -> None:
        """size: height and width of every picture."""
        self.path = path
        self.left_out = 0
        self._writer = _open(path, size)
        self._encoder = ThreadPoolExecutor(max_workers=1, thread_name_prefix="video")
        self._pending: list[Future[None]] = []
        self._written = 0

    def wants(self, at_s: float) -> bool:
        """Whether a picture is due `at_s` after the recording's start."""
        return int(at_s * VIDEO_FPS) + 1 > self._written

    def add(self, picture: Picture, at_s: float) -> None:
        """Shows `picture`, which must not change any more, from the last one's end until `at_s`."""
        times = int(at_s * VIDEO_FPS) + 1 - self._written
        self._pending = [job for job in self._pending if not job.done()]
        if times <= 0 or len(self._pending) >= _MOST_PENDING:
            self.left_out += times > 0
            return
        self._written += times
        self._pending.append(self._encoder.submit(_write, self._writer, picture, times))

    def close(self, *, wait: bool = True) -> None:
        """Finishes the file, with what still waits for the encoder; on its thread when `wait` is False."""
        self._encoder.submit(self._writer.release)
        self._encoder.shutdown(wait=wait)


def write_video(path: Path, pictures: Sequence[Picture]) -> None:
    """Writes pictures taken at VIDEO_FPS. Raises: ConfigError: the file cannot be written."""
    height, width = pictures[0].shape[:2]
    writer = _open(path, (height, width))
    for picture in pictures:
        _write(writer, picture, 1)
    writer.release()


def write_animation(path: Path, pictures: Sequence[Picture], *, fps: float, most_bytes: int) -> int:
    """Writes an endless WebP, at the best quality that keeps it under `most_bytes`. Returns that quality (0..100).

    Raises: ConfigError: it would be larger at any quality, or the file cannot be written.
    """
    animation = cv2.Animation()
    animation.frames = [np.ascontiguousarray(picture[:, :, ::-1]) for picture in pictures]
    animation.durations = [round(1000 / fps)] * len(pictures)
    for quality in _WEBP_QUALITIES:
        done, data = cv2.imencodeanimation(".webp", animation, [cv2.IMWRITE_WEBP_QUALITY, quality])
        if done and data.nbytes < most_bytes:
            make_folder_for(path)
            try:
                path.write_bytes(data.tobytes())
            except OSError as exc:
                raise ConfigError(f"cannot write an animation to {path}: {exc.strerror}") from exc
            return quality
    raise ConfigError(
        f"an animation of {len(pictures)} pictures does not fit into {most_bytes} bytes; take fewer of them"
    )  # fmt: skip


def make_folder_for(path: Path) -> None:
    """Raises: ConfigError: the folder that `path` is to be in cannot be made."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise ConfigError(f"cannot make the folder {path.parent}: {exc.strerror}") from exc


def _open(path: Path, size: tuple[int, int]) -> cv2.VideoWriter:
    make_folder_for(path)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), VIDEO_FPS, (size[1], size[0]))
    if not writer.isOpened():
        raise ConfigError(f"record: cannot write a video to {path}; expected a file name that ends in .mp4")
    return writer


def _write(writer: cv2.VideoWriter, picture: Picture, times: int) -> None:
    bgr = np.ascontiguousarray(picture[:, :, ::-1])
    for _ in range(times):
        writer.write(bgr)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One column of a contact sheet: what was shown over what the game's own renderer makes of the same camera."""

    shown: Picture
    reference: Picture
    title: str
    subtitle: str


def contact_sheet(pairs: Sequence[Pair], *, columns: int = 4) -> Picture:
    """Rows of pairs with their labels. All pictures have one size."""
    height, width = pairs[0].shown.shape[:2]
    cell_h, cell_w = 2 * height + 2 * _LABEL_PX + 2 * _MARGIN_PX, width + _MARGIN_PX
    rows = -(-len(pairs) // columns)
    sheet = np.full((rows * cell_h + _MARGIN_PX, columns * cell_w + _MARGIN_PX, 3), 24, np.uint8)
    for number, pair in enumerate(pairs):
        top = _MARGIN_PX + number // columns * cell_h
        left = _MARGIN_PX + number % columns * cell_w
        for picture, label, at in (
            (pair.shown, pair.title, top),
            (pair.reference, pair.subtitle, top + height + _LABEL_PX),
        ):
            _write_label(sheet, label, left, at + 14)
            sheet[at + _LABEL_PX : at + _LABEL_PX + height, left : left + width] = picture
    return sheet


def write_png(path: Path, picture: Picture) -> None:
    """Raises: ConfigError: the file cannot be written."""
    make_folder_for(path)
    if not cv2.imwrite(str(path), picture[:, :, ::-1]):
        raise ConfigError(f"cannot write a picture to {path}")


def _write_label(sheet: Picture, text: str, left: int, baseline: int) -> None:
    cv2.putText(
        sheet, text, (left + 2, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.42, (225, 228, 232), 1, cv2.LINE_AA
    )  # fmt: skip
