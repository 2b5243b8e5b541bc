"""Small PNGs that say how a training goes: curves of its losses, and sheets of labelled pictures."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]
"""(H, W, 3) RGB."""

_PANEL_W, _PANEL_H = 480, 200
_LEFT, _RIGHT, _TOP, _BOTTOM = 58, 12, 26, 24
_INK, _FAINT, _LINE = (40, 40, 40), (215, 215, 215), (30, 90, 180)
_LABEL_PX, _MARGIN_PX = 18, 6


def draw_curves(table: Path, picture: Path) -> None:
    """Every column of a losses table over its steps, one panel each; logarithmic where all values are positive."""
    with table.open() as file:
        rows = list(csv.DictReader(file))
    names = [name for name in rows[0] if name not in ("step", "seconds")]
    panels = []
    for name in names:
        known = [(float(row["step"]), float(row[name])) for row in rows if row[name]]
        panels.append(_panel(name, np.array(known).reshape(-1, 2)))
    write_png(picture, np.concatenate(panels, 0))


def picture_sheet(rows: Sequence[Sequence[tuple[str, Picture]]]) -> Picture:
    """Rows of labelled pictures of one size."""
    height, width = rows[0][0][1].shape[:2]
    columns = max(len(row) for row in rows)
    cell_h, cell_w = height + _LABEL_PX + _MARGIN_PX, width + _MARGIN_PX
    sheet = np.full((len(rows) * cell_h + _MARGIN_PX, columns * cell_w + _MARGIN_PX, 3), 24, np.uint8)
    for j, row in enumerate(rows):
        for i, (label, picture) in enumerate(row):
            top, left = _MARGIN_PX + j * cell_h, _MARGIN_PX + i * cell_w
            _write(sheet, label, left + 2, top + 13, (225, 228, 232))
            sheet[top + _LABEL_PX : top + _LABEL_PX + height, left : left + width] = picture
    return sheet


def write_png(path: Path, picture: Picture) -> None:
    """Raises: OSError: the file cannot be written."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not cv2.imwrite(str(path), picture[:, :, ::-1]):
        raise OSError(f"cannot write a picture to {path}")


def _panel(name: str, points: NDArray[np.float64]) -> Picture:
    canvas = np.full((_PANEL_H, _PANEL_W, 3), 255, dtype=np.uint8)
    if len(points) == 0:
        return canvas
    steps, values = points[:, 0], points[:, 1]
    logarithmic = bool((values > 0).all()) and float(values.max()) > 3 * float(values.min())
    heights = np.log10(values) if logarithmic else values
    low, high = float(heights.min()), float(heights.max())
    span = max(high - low, 1e-9)
    xs = _LEFT + (steps - steps[0]) / max(steps[-1] - steps[0], 1.0) * (_PANEL_W - _LEFT - _RIGHT)
    ys = _PANEL_H - _BOTTOM - (heights - low) / span * (_PANEL_H - _TOP - _BOTTOM)
    for share in (0.0, 0.5, 1.0):
        y = round(_PANEL_H - _BOTTOM - share * (_PANEL_H - _TOP - _BOTTOM))
        level = low + share * span
        cv2.line(canvas, (_LEFT, y), (_PANEL_W - _RIGHT, y), _FAINT, 1)
        _write(canvas, f"{10**level if logarithmic else level:.4g}", 4, y + 4, _INK)
    line = np.stack([xs, ys], 1).round().astype(np.int32)
    cv2.polylines(canvas, [line], False, _LINE, 1, cv2.LINE_AA)
    _write(canvas, f"{name}: {values[0]:.4g} -> {values[-1]:.4g}{' (log)' if logarithmic else ''}", _LEFT, 16, _INK)
    _write(canvas, f"step {steps[0]:.0f}", _LEFT, _PANEL_H - 8, _INK)
    _write(canvas, f"{steps[-1]:.0f}", _PANEL_W - 60, _PANEL_H - 8, _INK)
    return canvas


def _write(canvas: Picture, text: str, left: int, baseline: int, colour: tuple[int, int, int]) -> None:
    cv2.putText(canvas, text, (left, baseline), cv2.FONT_HERSHEY_SIMPLEX, 0.4, colour, 1, cv2.LINE_AA)
