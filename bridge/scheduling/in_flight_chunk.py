"""A chunk between its start and its arrival, and the result of its arrival. Plain values."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import ControlWindow, Plan
from bridge.engine.ipc_messages import ArrivingChunk
from bridge.presentation.frame_buffer import StoredChunk
from bridge.presentation.moving_parts import Places
from bridge.scheduling.edf import ScheduledChunk
from bridge.scheduling.start_margin import UnderrunCause


@dataclass(slots=True, kw_only=True)
class InFlightChunk:
    """A chunk that the engine was asked for: the request, and how much of it has arrived.

    Attributes:
        number: counts the session's chunks.
        epoch: the timeline's, which grows when the camera jumps.
        asked_us: when the engine was asked.
        keep: how many frames of the chunk before it stay; None for all.
        follows_us: when the frames that are there run out; None when there are none.
        cause: what a gap before it would be blamed on.
        control_t_us: the client's time stamp of the newest control that shapes it.
        places: where the parts that ever moved stand for it.
        frames_ready: how many of its first frames are there.
        lead_us: from `asked_us` to the moment from which it can be shown without running dry.
    """

    number: int
    epoch: int
    asked_us: int
    start: ScheduledChunk
    window: ControlWindow
    keep: int | None
    follows_us: int | None
    cause: UnderrunCause
    control_t_us: int
    places: Places
    frames_ready: int = 0
    lead_us: int = 0

    def arrived(self, frames_ready: int, now_us: int) -> None:
        """Its first `frames_ready` frames are there: shown from `lead_us` on, none of them would have come too late."""
        needed_us = now_us - self.asked_us - self.frames_ready * self.start.frame_us
        self.lead_us = max(self.lead_us, needed_us) if self.frames_ready else needed_us
        self.frames_ready = frames_ready

    @property
    def plan(self) -> Plan:
        return self.start.plan

    def stored(self, came: ArrivingChunk, *, made: int, parts: NDArray[np.uint32] | None) -> StoredChunk:
        """What has come of it, with `made` frames there, for the frame store."""
        assert came.frames is not None, "the supervisor fills in the views"
        return StoredChunk(
            number=self.number,
            start_us=self.start.display_us,
            fps=1e6 / self.start.frame_us,
            frames=came.frames,
            depth=came.depth,
            window=self.window,
            actions=came.actions,
            plan=self.plan,
            stage_ms={},
            slot=came.slot,
            made=made,
            control_t_us=self.control_t_us,
            parts=parts,
            places=self.places,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ChunkResult:
    """The verdict on a chunk that arrived.

    Attributes:
        useful: it can be shown; else its slot is the caller's to release.
        lead_us: as in `InFlightChunk`.
        underrun: the frames before it had run out by then; None when nothing was shown before it.
    """

    useful: bool
    lead_us: int
    underrun: bool | None = None
