"""Draws a simulation's figures: control age over time, the sources of each trace's frames, and what waste buys.

Uses OpenCV, which the service needs anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from bridge.errors import ConfigError
from bridge.protocol.messages import Source

Colour = tuple[int, int, int]  # red, green, blue
_OURS: Colour = (40, 120, 215)
_PEERS: tuple[Colour, ...] = ((222, 110, 66), (158, 104, 200))
_SHADES: tuple[Colour, ...] = ((160, 202, 242), (104, 166, 230), (40, 120, 215), (14, 66, 140))
_SOURCES: Mapping[Source, Colour] = {
    Source.GENERATED: (96, 200, 140),
    Source.REPROJECTED: (98, 164, 246),
    Source.HELD: (238, 148, 92),
}
_INK: Colour = (40, 44, 52)
_FAINT: Colour = (120, 126, 136)
_GRID: Colour = (222, 226, 232)
_HEAD_PX, _ROW_PX, _PLOT_PX = 96, 136, 104  # heights: above the rows, of a row, of the age in it
_LEFT_PX, _WIDE_PX, _GAP_PX, _BAR_PX = 250, 620, 70, 240  # widths: before the age, of it, after it, of the sources
_TRADE_PX = 300
_SHARP = 2  # pixels a unit: thin lines and small letters survive being shown smaller
WINDOW_US = 20_000_000
"""So much of a trace is drawn."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One trace. ages: (moment, control age) in microseconds by who it is, ours first; sources: of our answers.
    delivery and age_ms (p50, None while nothing is shown): of the whole trace, in the order of `ages`."""

    title: str
    ages: Mapping[str, Sequence[tuple[int, int]]]
    sources: Mapping[Source, float]
    delivery: Sequence[float]
    age_ms: Sequence[float | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trade:
    """What the longest chunks alone can do: curves of (share of engine time thrown away, control age p50 in ms), by
    name; and half of each peer's age, below which controls show twice as soon."""

    title: str
    curves: Mapping[str, Sequence[tuple[float, float]]]
    half_ms: Mapping[str, float]


def draw(title: str, rows: Sequence[Row], trade: Trade | None = None) -> NDArray[np.uint8]:
    """The picture, (H, W, 3) uint8 RGB."""
    width = _LEFT_PX + _WIDE_PX + _GAP_PX + _BAR_PX + 20
    height = _HEAD_PX + len(rows) * _ROW_PX + (_TRADE_PX if trade else 0) + 30
    canvas = _Canvas(width, height)
    canvas.write(title, 14, 24, scale=0.5)
    x = float(_LEFT_PX)
    for name, colour in zip(rows[0].ages, (_OURS, *_PEERS), strict=False):
        canvas.line([(x, 50), (x + 22, 50)], colour, 2)
        x = canvas.write(name, x + 28, 54) + 22
    canvas.write("control age, ms, over the first 20 s", _LEFT_PX, 76, colour=_FAINT)
    canvas.write("delivered", 110, 76, colour=_FAINT)
    canvas.write("age p50", 186, 76, colour=_FAINT)
    x = float(_LEFT_PX + _WIDE_PX + _GAP_PX)
    for source, colour in _SOURCES.items():
        canvas.box(x, 46, x + 10, 56, colour)
        x = canvas.write(source.value, x + 15, 54) + 14
    canvas.write("share of our frames", _LEFT_PX + _WIDE_PX + _GAP_PX, 76, colour=_FAINT)
    for number, row in enumerate(rows):
        _draw_row(canvas, row, _HEAD_PX + number * _ROW_PX)
    if trade is not None:
        _draw_trade(canvas, trade, _HEAD_PX + len(rows) * _ROW_PX + 24)
    return canvas.pixels


def write_png(path: Path, picture: NDArray[np.uint8]) -> None:
    """Raises: ConfigError: the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[:, :, ::-1]):
        raise ConfigError(f"cannot write a picture to {path}; expected a file name that ends in .png")


class _Canvas:
    """White paper with a ruler: places are in units of `_SHARP` pixels."""

    def __init__(self, width: int, height: int) -> None:
        self.pixels: NDArray[np.uint8] = np.full((height * _SHARP, width * _SHARP, 3), 255, np.uint8)

    def line(self, points: Iterable[tuple[float, float]], colour: Colour, thickness: float = 1.0) -> None:
        pixels = np.array([(round(x * _SHARP), round(y * _SHARP)) for x, y in points], np.int32)
        if len(pixels) > 1:
            cv2.polylines(self.pixels, [pixels], False, colour, round(thickness * _SHARP), cv2.LINE_AA)

    def dashes(self, x: float, y: float, until: float, colour: Colour) -> None:
        while x < until:
            self.line([(x, y), (min(x + 6, until), y)], colour)
            x += 10

    def dot(self, x: float, y: float, colour: Colour) -> None:
        cv2.circle(self.pixels, (round(x * _SHARP), round(y * _SHARP)), 3 * _SHARP, colour, -1, cv2.LINE_AA)

    def box(self, x: float, y: float, right: float, bottom: float, colour: Colour) -> None:
        corners = [(round(a * _SHARP), round(b * _SHARP)) for a, b in ((x, y), (right, bottom))]
        cv2.rectangle(self.pixels, corners[0], corners[1], colour, -1)

    def write(
        self, text: str, x: float, baseline: float, *, scale: float = 0.4, colour: Colour = _INK, right: bool = False
    ) -> float:
        """right: `x` is where the text ends. Returns: where it ends."""
        font, size = cv2.FONT_HERSHEY_SIMPLEX, scale * _SHARP
        (width, _), _ = cv2.getTextSize(text, font, size, 1)
        left = x * _SHARP - (width if right else 0)
        cv2.putText(self.pixels, text, (round(left), round(baseline * _SHARP)), font, size, colour, 1, cv2.LINE_AA)
        return float(left + width) / _SHARP


def _draw_row(canvas: _Canvas, row: Row, top: float) -> None:
    bottom = top + _PLOT_PX
    canvas.write(row.title, 14, top + 14, scale=0.44)
    for number, (colour, share, age_ms) in enumerate(zip((_OURS, *_PEERS), row.delivery, row.age_ms, strict=False)):
        baseline = top + 38 + 20 * number
        canvas.line([(80, baseline - 4), (98, baseline - 4)], colour, 2)
        canvas.write(f"{100 * share:.1f} %", 166, baseline, right=True)
        canvas.write("-" if age_ms is None else f"{age_ms:.0f} ms", 234, baseline, right=True)
    shown = [age_us for points in row.ages.values() for at_us, age_us in points if at_us <= WINDOW_US]
    highest_us = max([*shown, 1])
    _ruler(canvas, highest_us / 1e3, top, bottom)
    for second in range(0, WINDOW_US // 1_000_000 + 1, 5):
        x = _LEFT_PX + second * 1e6 / WINDOW_US * _WIDE_PX
        canvas.line([(x, bottom), (x, bottom + 4)], _FAINT)
        canvas.write(f"{second} s", x + 3, bottom + 13, scale=0.32, colour=_FAINT)
    for points, colour in reversed(list(zip(row.ages.values(), (_OURS, *_PEERS), strict=False))):
        canvas.line(
            (
                (_LEFT_PX + at_us / WINDOW_US * _WIDE_PX, bottom - age_us / highest_us * (bottom - top))
                for at_us, age_us in points
                if at_us <= WINDOW_US
            ),
            colour,
        )
    left = _LEFT_PX + _WIDE_PX + _GAP_PX
    x = float(left)
    for number, (source, colour) in enumerate(_SOURCES.items()):
        share = row.sources.get(source, 0.0)
        canvas.box(x, top + 20, x + share * _BAR_PX, top + 46, colour)
        x += share * _BAR_PX
        canvas.write(f"{100 * share:.1f} %", left + 62 + 80 * number, top + 64, right=True)


def _draw_trade(canvas: _Canvas, trade: Trade, top: float) -> None:
    bottom, right = top + _TRADE_PX - 70, _LEFT_PX + _WIDE_PX
    canvas.write(trade.title, 14, top, scale=0.44)
    canvas.write("control age p50, ms, by the share of engine time thrown away", _LEFT_PX, top + 18, colour=_FAINT)
    top += 30
    highest_ms = 1.1 * max(age_ms for points in trade.curves.values() for _, age_ms in points)
    widest = 1.05 * max(share for points in trade.curves.values() for share, _ in points)

    def place(share: float, age_ms: float) -> tuple[float, float]:
        return _LEFT_PX + share / widest * _WIDE_PX, bottom - age_ms / highest_ms * (bottom - top)

    _ruler(canvas, highest_ms, top, bottom)
    for percent in range(0, int(100 * widest) + 1, 10):
        x, y = place(percent / 100, 0.0)
        canvas.line([(x, y), (x, y + 4)], _FAINT)
        canvas.write(f"{percent} %", x + 3, y + 13, scale=0.32, colour=_FAINT)
    baseline = top + 20
    for (name, half_ms), colour in zip(trade.half_ms.items(), _PEERS, strict=False):
        _, y = place(0.0, half_ms)
        canvas.dashes(_LEFT_PX, y, right, colour)
        canvas.line([(right + _GAP_PX, baseline - 4), (right + _GAP_PX + 22, baseline - 4)], colour, 1)
        canvas.write(f"half of '{name}'", right + _GAP_PX + 28, baseline)
        baseline += 20
    for (name, points), colour in zip(trade.curves.items(), _SHADES, strict=False):
        places = [place(*point) for point in points]
        canvas.line(places, colour, 1.5)
        for x, y in places:
            canvas.dot(x, y, colour)
        canvas.line([(right + _GAP_PX, baseline - 4), (right + _GAP_PX + 22, baseline - 4)], colour, 2)
        canvas.write(name, right + _GAP_PX + 28, baseline)
        baseline += 20


def _ruler(canvas: _Canvas, highest: float, top: float, bottom: float) -> None:
    """Lines at round values from 0 to `highest`."""
    step = _step(highest)
    for tick in range(int(highest / step) + 1):
        y = bottom - tick * step / highest * (bottom - top)
        canvas.line([(_LEFT_PX, y), (_LEFT_PX + _WIDE_PX, y)], _GRID)
        canvas.write(f"{tick * step:g}", _LEFT_PX + _WIDE_PX + 6, y + 4, scale=0.34, colour=_FAINT)


def _step(highest: float) -> float:
    """A round distance between lines that gives two to five of them."""
    power = 10.0 ** np.floor(np.log10(highest / 2))
    return float(next(power * factor for factor in (1, 2, 5, 10) if highest / (power * factor) <= 5))
