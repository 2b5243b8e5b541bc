"""The result of a simulated session: every answer as its client received it, and the server's own accounts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from bridge.protocol.messages import Source, Stats
from bridge.session.flow_control import Account


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """One FRAME as its client got it, times on the server's clock.

    control_us: when the newest control that shaped the pixels was sent, None before the first. camera_us: when the
    control was sent whose camera the picture shows.
    """

    seq: int
    sent_us: int
    arrived_us: int
    source: Source
    control_us: int | None
    camera_us: int
    rung: str


@dataclass(slots=True)
class Outcome:
    """What became of a trace. totals_held: after every event, the ledger's accounts summed up to its controls."""

    answers: list[Answered] = field(default_factory=list)
    ledger: Stats = field(default_factory=Stats)
    accounts: Mapping[Account, int] = field(default_factory=dict)
    totals_held: bool = True
    busy_us: int = 0
    wasted_us: int = 0
    rungs: list[tuple[int, int]] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    together: list[int] = field(default_factory=list)  # of how many sessions each chunk was made at once
