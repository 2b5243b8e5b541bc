"""Describes the camera's motion through a chunk as a clause of the prompt, for models without another input."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from model.scene.camera import matrix_from_quaternion

_LEAST_M_PER_S, _LEAST_DEG_PER_S = 0.15, 4.0
_SLOW_M_PER_S, _FAST_M_PER_S = 1.0, 4.0
_SLOW_DEG_PER_S, _FAST_DEG_PER_S = 20.0, 90.0


def motion_clause(positions: NDArray[np.float64], rotations: NDArray[np.float64], seconds: float) -> str:
    """What the camera does, in the words of video captions: "The camera moves forward and pans left slowly."

    positions: (N, 3) metres. rotations: (N, 4) unit quaternions xyzw, camera-to-world. seconds: from the first to the
    last, positive. A camera that stands still is said to: silence would let the model invent a motion.
    """
    axes = matrix_from_quaternion(rotations[[0, -1]])
    step = (positions[-1] - positions[0]) @ axes[0] / seconds  # right, up, back
    ahead = -axes[1][:, 2] @ axes[0]  # the last view's direction in the first view's axes
    pan = math.degrees(math.atan2(ahead[0], -ahead[2])) / seconds
    tilt = math.degrees(math.asin(float(np.clip(ahead[1], -1, 1)))) / seconds
    moves = [
        _said(-step[2], "moves forward", "moves backward", _LEAST_M_PER_S, _SLOW_M_PER_S, _FAST_M_PER_S),
        _said(step[0], "moves right", "moves left", _LEAST_M_PER_S, _SLOW_M_PER_S, _FAST_M_PER_S),
        _said(step[1], "rises", "sinks", _LEAST_M_PER_S, _SLOW_M_PER_S, _FAST_M_PER_S),
        _said(pan, "pans right", "pans left", _LEAST_DEG_PER_S, _SLOW_DEG_PER_S, _FAST_DEG_PER_S),
        _said(tilt, "tilts up", "tilts down", _LEAST_DEG_PER_S, _SLOW_DEG_PER_S, _FAST_DEG_PER_S),
    ]
    said = [move for move in moves if move]
    if not said:
        return "The camera stands still."
    listed = said[0] if len(said) == 1 else f"{', '.join(said[:-1])} and {said[-1]}"
    return f"The camera {listed}."


def with_clause(text: str, clause: str) -> str:
    """`text` and the clause after it."""
    text = text.strip()
    if not text:
        return clause
    return f"{text} {clause}" if text[-1] in ".!?" else f"{text}. {clause}"


def _said(rate: float, ahead: str, back: str, least: float, slow: float, fast: float) -> str:
    size = abs(rate)
    if size < least:
        return ""
    words = ahead if rate > 0 else back
    return f"{words} slowly" if size < slow else f"{words} fast" if size > fast else words
