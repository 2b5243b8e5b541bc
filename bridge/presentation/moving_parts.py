"""Tracks which parts of a blockout have moved since a frame was made, and how, for the late warp.

Values only, in our axes. Parts that never moved cost nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TypeAlias

import numpy as np

from bridge.geometry import conjugate, multiply, normalise, rotated
from bridge.input.scene_state import SceneState
from bridge.presentation.reprojection import MovedPart
from bridge.protocol.fields import Quat, Vec3
from bridge.protocol.messages import SceneUpdate

Place: TypeAlias = tuple[Vec3, Quat]
Places: TypeAlias = Mapping[int, Place]
"""Position and rotation by part id."""


class MovingParts:
    """Where the parts that ever moved are, and where they were first."""

    def __init__(self) -> None:
        self._now: dict[int, Place] = {}
        self._first: dict[int, Place] = {}

    def note(self, update: SceneUpdate, before: SceneState) -> None:
        """Takes an update in. before: the blockout without it."""
        if update.replace:
            self._now.clear()
            self._first.clear()
        for part_id in (*update.remove, *(part.id for part in update.add)):
            self._now.pop(part_id, None)
            self._first.pop(part_id, None)
        for move in update.move:
            part = before.part(move.id)
            if part is not None and move.id not in self._first:
                self._first[move.id] = (part.position, part.rotation)
            if move.id in self._first:
                self._now[move.id] = (move.position, move.rotation)

    @property
    def places(self) -> Places:
        """Where the parts that ever moved are now."""
        return dict(self._now)

    def since(self, places: Places) -> list[MovedPart]:
        """The motions of the parts that are not where they were at `places`; others had not moved then."""
        return [
            _motion_of(part_id, then, now)
            for part_id, now in self._now.items()
            if (then := places.get(part_id, self._first[part_id])) != now
        ]


def _motion_of(part_id: int, then: Place, now: Place) -> MovedPart:
    """x -> q x + offset takes the part from `then` to `now`."""
    turn = normalise(multiply(np.array(now[1], np.float64), conjugate(np.array(then[1], np.float64))))
    return MovedPart(
        part=part_id, rotation=turn, offset=np.array(now[0]) - rotated(turn, np.array(then[0], np.float64))
    )
