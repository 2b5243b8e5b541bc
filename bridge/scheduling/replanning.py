"""Decides when a chunk on show is worth replacing: the player left the predicted path, or something happened.

Pure decisions. A token bucket bounds the compute that is thrown away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ReplanConfig:
    """A prediction is left behind when the camera is `angle_deg` or `distance_m` off it. `waste_share`: of all time, at
    most so much of the engine's may go into frames that are never shown; 0 for none.

    While the prediction holds, a chunk is replaced all the same when newer controls would make a fresher one, as long
    as half of the allowance is left. A cut must bring new frames at least `least_gain_us` earlier than waiting for the
    tail to end would.
    """

    angle_deg: float = 6.0
    distance_m: float = 0.4
    waste_share: float = 0.5
    least_gain_us: int = 80_000


class ReplanTokenBucket:
    """Compute that may be thrown away: a bucket that `waste_share` of every second flows into, and that holds as much.

    A chunk costs what it costs, so one that begins while something is left may take more, and the next waits until that
    is made up for.
    """

    def __init__(self, config: ReplanConfig, now_us: int) -> None:
        self._share = config.waste_share
        self._most_us = config.waste_share * 1e6
        self._left_us = self._most_us
        self._at_us = now_us
        self.wasted_us = 0

    def allows(self, now_us: int, *, urgent: bool) -> bool:
        """Whether something may be thrown away now. urgent: what is on show is wrong, not only old."""
        self._refill(now_us)
        return self._left_us > (0 if urgent else self._most_us / 2)

    def spend(self, now_us: int, waste_us: int) -> None:
        self._refill(now_us)
        self._left_us -= waste_us
        self.wasted_us += waste_us

    def _refill(self, now_us: int) -> None:
        gained_us = max(0, now_us - self._at_us) * self._share
        self._left_us = min(self._left_us + gained_us, self._most_us)
        self._at_us = now_us


def has_left(config: ReplanConfig, *, error_deg: float, error_m: float, changes: bool) -> bool:
    """Whether what is still to be shown is wrong by enough. news: an event or another action text came."""
    return changes or error_deg > config.angle_deg or error_m > config.distance_m


def cut_point(config: ReplanConfig, *, boundaries_us: Sequence[int], ready_us: int, end_us: int) -> int | None:
    """The latent frame's beginning at which to cut, if that is worth it.

    The last one before new frames are there: what is there is shown on until then, and the new frames' first ones,
    whose time is over, are not. Waiting for the next one would show new frames up to a latent frame later. Where none
    is left before, the first one after.

    boundaries_us: where the unplayed frames may be cut, ascending. ready_us: when new frames can be shown. end_us:
    when the frames that are there run out.
    """
    before = [boundary_us for boundary_us in boundaries_us if boundary_us <= ready_us]
    at_us = before[-1] if before else next(iter(boundaries_us), None)
    return at_us if at_us is not None and end_us - max(at_us, ready_us) >= config.least_gain_us else None
