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


@dataclass(frozen=True, slots=True, kw_only=True)
class InFlightChunk:
    """A chunk under way: what was asked, when, and why then.

    keep: how many frames of the chunk before it stay, None for all. follows_us: when the frames that are there run out,
    None when there are none. cause: what a gap before it would be blamed on. control_t_us: the client's time stamp of
    the newest control that shapes it. places: where the parts that ever moved stand for it.
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
    """A chunk that arrived. useful: it can be shown; else its slot is the caller's. lead_us: from asking for it to the
    moment from which it can be shown without running dry. underrun: the frames before it had run out by then; None when
    nothing was shown before it."""

    useful: bool
    lead_us: int
    underrun: bool | None = None


@dataclass(slots=True)
class ChunkProgress:
    """How much of the chunk asked for is there. lead_us: from asking to when it may begin without running dry."""

    made: int = 0
    lead_us: int = 0

    def came(self, in_flight: InFlightChunk, made: int, now_us: int) -> None:
        """Of the chunk asked for `made` frames are there: when may it begin, so that those did not come too late?"""
        needed_us = now_us - in_flight.asked_us - self.made * in_flight.start.frame_us
        self.lead_us = max(self.lead_us, needed_us) if self.made else needed_us
        self.made = made
