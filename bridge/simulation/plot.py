"""The figures of a simulation as one picture: control age over time, and where each trace's frames came from.

Drawn with OpenCV, which the service needs anyway.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from bridge.messages import Source

Colour = tuple[int, int, int]  # red, green, blue
_OURS: Colour = (70, 150, 240)
_PEERS: tuple[Colour, ...] = ((228, 120, 80), (170, 120, 210))
_SOURCES: Mapping[Source, Colour] = {
    Source.GENERATED: (96, 200, 140),
    Source.REPROJECTED: (98, 164, 246),
    Source.HELD: (238, 148, 92),
}
_INK: Colour = (40, 44, 52)
_GRID: Colour = (222, 226, 232)
_PLOT_PX, _BAR_PX, _ROW_PX, _LEFT_PX, _GAP_PX = 620, 240, 150, 150, 60
_WINDOW_US = 20_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace. ages: (moment, control age) in microseconds by who it is, ours first; sources: of our answers."""

    title: str
    ages: Mapping[str, Sequence[tuple[int, int]]]
    sources: Mapping[Source, float]
    notes: Sequence[str]


def draw(rows: Sequence[Row]) -> NDArray[np.uint8]:
    """The picture, (H, W, 3) uint8 RGB."""
    head = 46
    width = _LEFT_PX + _PLOT_PX + _GAP_PX + _BAR_PX + 20
    canvas = np.full((head + len(rows) * _ROW_PX + 20, width, 3), 255, np.uint8)
    x = _LEFT_PX
    for name, colour in zip(rows[0].ages, (_OURS, *_PEERS), strict=False):
        cv2.line(canvas, (x, 20), (x + 22, 20), colour, 2, cv2.LINE_AA)
        x = _write(canvas, f"{name}: control age, ms", x + 28, 24) + 18
    x = _LEFT_PX + _PLOT_PX + _GAP_PX
    for source, colour in _SOURCES.items():
        cv2.rectangle(canvas, (x, 14), (x + 10, 24), colour, -1)
        x = _write(canvas, source.value, x + 14, 24) + 10
    for number, row in enumerate(rows):
        _draw_row(canvas, row, head + number * _ROW_PX)
    return canvas


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Raises: ConfigError: the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[:, :, ::-1]):
        raise ConfigError(f"cannot write a picture to {path}; expected a file name that ends in .png")


def _draw_row(canvas: NDArray[np.uint8], row: Row, top: int) -> None:
    bottom = top + _ROW_PX - 34
    _write(canvas, row.title, 10, top + 16)
    for number, note in enumerate(row.notes):
        _write(canvas, note, 10, top + 38 + 17 * number, scale=0.36)
    shown = [age_us for points in row.ages.values() for at_us, age_us in points if at_us <= _WINDOW_US]
    highest_us = max([*shown, 1])
    step_ms = _step(highest_us / 1e3)
    for tick in range(int(highest_us / 1e3 / step_ms) + 1):
        y = round(bottom - tick * step_ms * 1e3 / highest_us * (bottom - top))
        cv2.line(canvas, (_LEFT_PX, y), (_LEFT_PX + _PLOT_PX, y), _GRID, 1)
        _write(canvas, f"{tick * step_ms:g}", _LEFT_PX + _PLOT_PX + 4, y + 4, scale=0.34)
    for points, colour in reversed(list(zip(row.ages.values(), (_OURS, *_PEERS), strict=False))):
        _line(canvas, points, colour, top, bottom, highest_us)
    left = _LEFT_PX + _PLOT_PX + _GAP_PX
    x = float(left)
    for source, colour in _SOURCES.items():
        wide = row.sources.get(source, 0.0) * _BAR_PX
        cv2.rectangle(canvas, (round(x), top + 10), (round(x + wide), top + 34), colour, -1)
        x += wide
    shares = "  ".join(f"{100 * row.sources.get(source, 0.0):.1f} %" for source in _SOURCES)
    _write(canvas, shares, left, top + 52, scale=0.38)


def _line(
    canvas: NDArray[np.uint8],
    points: Sequence[tuple[int, int]],
    colour: Colour,
    top: int,
    bottom: int,
    highest_us: int,
) -> None:
    """One age over the first seconds; broken where nothing new was on show for longer than a few ticks."""
    pixels = [
        (
            round(_LEFT_PX + at_us / _WINDOW_US * _PLOT_PX),
            round(bottom - age_us / highest_us * (bottom - top)),
        )
        for at_us, age_us in points
        if at_us <= _WINDOW_US
    ]
    if len(pixels) > 1:
        cv2.polylines(canvas, [np.array(pixels, np.int32)], False, colour, 1, cv2.LINE_AA)


def _step(highest: float) -> float:
    """A round distance between lines that gives two to five of them."""
    power = 10.0 ** np.floor(np.log10(highest / 2))
    return float(next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 5))


def _write(canvas: NDArray[np.uint8], text: str, x: int, baseline: int, *, scale: float = 0.42) -> int:
    """Returns: where the text ends."""
    cv2.putText(canvas, text, (x, baseline), cv2.FONT_HERSHEY_SIMPLEX, scale, _INK, 1, cv2.LINE_AA)
    (width, _), _ = cv2.getTextSize(text, cv2.FONT_HERSHEY_SIMPLEX, scale, 1)
    return x + int(width)
