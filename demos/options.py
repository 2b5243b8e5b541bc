"""What `helios-bridge play` can be told."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from bridge.config import CONNECT_WAIT_S, check_address
from bridge.errors import ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class PlayOptions:
    """connect: a service's address. seconds: how long to play, None until the player quits (headless: 20 s).

    record, report: files to write, None for none (headless: in `out_dir`). out_dir takes pictures and recordings.
    curve: folder of the client's keys, for a service that asks for them. wait_s: how long the service may take to
    answer.
    """

    connect: str
    headless: bool = False
    tour: bool = False
    seconds: float | None = None
    tick_hz: float = 60.0
    seed: int = 0
    record: Path | None = None
    report: Path | None = None
    out_dir: Path = Path("out")
    curve: Path | None = None
    wait_s: float = CONNECT_WAIT_S

    def __post_init__(self) -> None:
        check_address(self.connect, name="connect")
        if self.seconds is not None and not (math.isfinite(self.seconds) and self.seconds > 0):
            raise ConfigError(f"seconds: got {self.seconds}, expected more than 0")
        if not (math.isfinite(self.wait_s) and self.wait_s > 0):
            raise ConfigError(f"wait_s: got {self.wait_s}, expected more than 0")
        if not 1 <= self.tick_hz <= 1000:
            raise ConfigError(f"tick_hz: got {self.tick_hz}, expected 1 to 1000")
        if not 0 <= self.seed < 2**53:
            raise ConfigError(f"seed: got {self.seed}, expected 0 to 2**53 - 1")

    @property
    def budget_ms(self) -> float:
        """How long after a control its answer is useful: one tick."""
        return 1000 / self.tick_hz
