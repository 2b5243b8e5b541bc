"""Painted frames held against the reference renderer: how right they look, where their camera is, what they show."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from model.demo.evaluation.figures import Picture, psnr_db, sharpness, ssim
from model.demo.evaluation.painting import PaintedChunk
from model.demo.evaluation.pose_search import PoseError, find_pose_error
from model.demo.evaluation.tours import Change, Tour
from model.demo.training.clips import FPS
from model.demo.world.conditions import SLOTS, Conditions
from model.demo.world.renderer import render

CHUNKS_WATCHED = 3
"""How many chunks after a text are looked at for its effect."""

_TOLD_APART = 0.003  # share of pixels by which two looks must differ, or a frame cannot tell which it shows
_SEEN_LEVELS = 12  # of 255, in any colour: a difference that shows


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameFigures:
    """One painted frame. pose: None where it was not searched for."""

    map_name: str
    frame: int
    conditions: Conditions
    psnr_db: float
    ssim: float
    sharpness: float
    pose: PoseError | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ChangeFigures:
    """Whether each of the first chunks after a text shows what it asked for, at its end; None where the picture would
    look the same either way (the door is not in view)."""

    map_name: str
    change: Change
    shows: tuple[bool | None, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A painted frame and its reference, for the sheet."""

    figures: FrameFigures
    shown: Picture
    reference: Picture


class Judge:
    """Looks at a tour's chunks as they come, at some of their frames."""

    def __init__(self, tour: Tour, *, every: int, pose_every: int) -> None:
        """every, pose_every: how many frames lie between two that are compared, and whose camera is searched for."""
        self.frames: list[FrameFigures] = []
        self.pairs: list[Pair] = []
        self._tour, self._every, self._pose_every = tour, every, pose_every
        self._shows: dict[Change, list[bool | None]] = {}

    @property
    def changes(self) -> list[ChangeFigures]:
        return [
            ChangeFigures(map_name=self._tour.map_name, change=change, shows=tuple(shows))
            for change, shows in self._shows.items()
        ]

    def see(self, chunk: PaintedChunk) -> None:
        """Compares the chunk's frames whose turn it is, and what its last one shows if a text came shortly before."""
        for index, shown in enumerate(chunk.frames):
            frame = chunk.first + index
            if frame % self._every == 0:
                self._compare(frame, shown)
        said = [change for change in self._tour.changes if change.frame <= chunk.first]
        if said and chunk.first - said[-1].frame < CHUNKS_WATCHED * len(chunk.frames):
            last = chunk.first + len(chunk.frames) - 1
            self._shows.setdefault(said[-1], []).append(self._shows_change(said[-1], last, chunk.frames[-1]))

    def _compare(self, frame: int, shown: Picture) -> None:
        now, camera = self._tour.conditions(frame), self._tour.camera(frame)
        rendered = render(np, self._tour.parts, camera, now.vector(), frame / FPS)
        reference = _bytes(rendered.colour)
        pose = None
        if frame % self._pose_every == 0:
            pose = find_pose_error(shown, reference, rendered.depth, camera)
        figures = FrameFigures(
            map_name=self._tour.map_name, frame=frame, conditions=now, psnr_db=psnr_db(shown, reference),
            ssim=ssim(shown, reference), sharpness=sharpness(shown, reference), pose=pose,
        )  # fmt: skip
        self.frames.append(figures)
        self.pairs.append(Pair(figures=figures, shown=shown, reference=reference))

    def _shows_change(self, change: Change, frame: int, shown: Picture) -> bool | None:
        now = self._tour.conditions(frame)
        looks = {
            value: self._look(frame, now.replace(change.slot, value)) for value in SLOTS[change.slot]
        }  # fmt: skip
        return nearest_look(shown, looks, change.value)

    def _look(self, frame: int, conditions: Conditions) -> Picture:
        camera = self._tour.camera(frame)
        return _bytes(
            render(np, self._tour.parts, camera, conditions.vector(), frame / FPS, smooth=False).colour
        )  # fmt: skip


def nearest_look(shown: Picture, looks: dict[str, Picture], wanted: str) -> bool | None:
    """Whether `shown` is nearer to the wanted look than to any other, over the pixels in which the two differ.

    Returns: None if it cannot tell, because another look is all but the same.
    """
    verdict = True
    for value, other in looks.items():
        if value == wanted:
            continue
        apart = np.abs(other.astype(np.int16) - looks[wanted]).max(-1) > _SEEN_LEVELS
        if apart.mean() < _TOLD_APART:
            return None
        right, wrong = (
            float(np.square(shown[apart].astype(np.float32) - look[apart]).sum()) for look in (looks[wanted], other)
        )
        verdict &= right < wrong
    return verdict


def _bytes(colour: np.ndarray[tuple[int, ...], np.dtype[np.float32]]) -> Picture:
    picture: Picture = np.round(colour * 255).astype(np.uint8)
    return picture
