"""The rates and times of one session's frames, for STATS. Pure values; times come from the caller. Single-threaded."""

from __future__ import annotations

import msgspec

from bridge.protocol.messages import Stats
from bridge.rolling_stats import RateMeter, RollingWindow


class SessionMetrics:
    """What one session's STATS say beyond its ledger.

    `generated` meets every distinct network frame once, when it first enters an answer, as it is or bent.
    """

    def __init__(self) -> None:
        self.rung = ""
        self.chunk_frames = 0
        self.generated = RateMeter()
        self.chunk_ms = RollingWindow()
        self.control_age_us = RollingWindow()
        self.server_us = RollingWindow()
        self.client_lateness_us = RollingWindow()

    def fill(self, stats: Stats, now_us: int) -> Stats:
        """`stats` with the rates and times of the last moments; zeros where nothing was seen."""
        chunk_ms = self.chunk_ms.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        control_age_us = self.control_age_us.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        server_us = self.server_us.percentiles(now_us, (0.5, 0.95)) or (0.0, 0.0)
        (lateness_us,) = self.client_lateness_us.percentiles(now_us, (0.95,)) or (0.0,)
        return msgspec.structs.replace(
            stats,
            generated_fps=self.generated.per_second(now_us),
            chunk_ms_p50=chunk_ms[0],
            chunk_ms_p95=chunk_ms[1],
            control_age_us_p50=int(control_age_us[0]),
            control_age_us_p95=int(control_age_us[1]),
            server_us_p50=int(server_us[0]),
            server_us_p95=int(server_us[1]),
            client_lateness_us_p95=int(lateness_us),
            rung=self.rung,
            chunk_frames=self.chunk_frames,
        )
