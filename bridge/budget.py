"""What time costs and where every control went: cost estimates and the deadline ledger.

Pure values; times come from the caller. No scheduling (see `scheduler.py`), no socket. Single-threaded.
"""

from __future__ import annotations

import enum
from collections import Counter
from dataclasses import dataclass, field

from bridge.engine import Plan
from bridge.metrics import RollingWindow


@dataclass(frozen=True, slots=True, kw_only=True)
class CostConfig:
    """`prior_us` stands for a chunk's cost until one has been made. Estimates older than `keep_us` are forgotten, so
    that a chunk length once found too slow is tried again when the machine may have become faster."""

    prior_us: int = 300_000
    samples: int = 40
    keep_us: int = 30_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Microseconds from asking for a chunk to having it. `measured` is False for a guess."""

    p50_us: int
    p95_us: int
    measured: bool


@dataclass(slots=True)
class _Samples:
    window: RollingWindow
    warmup_us: float | None = None


class CostEstimator:
    """Running p50 and p95 of chunk cost for every rung and chunk length.

    The first chunk after `restart` pays for allocation and caches; it counts only until a second one is known.
    """

    def __init__(self, config: CostConfig | None = None) -> None:
        self._config = config or CostConfig()
        self._samples: dict[tuple[str, int], _Samples] = {}
        self._cold = True

    def restart(self) -> None:
        """The engine process was replaced: the next chunk is a warm-up again."""
        self._cold = True

    def observe(self, now_us: int, plan: Plan, cost_us: float) -> None:
        key = (plan.rung, plan.frames)
        samples = self._samples.get(key)
        if samples is None:
            window = RollingWindow(capacity=self._config.samples, keep_us=self._config.keep_us)
            samples = self._samples[key] = _Samples(window=window)
        if self._cold:
            self._cold = False
            samples.warmup_us = cost_us
        else:
            samples.warmup_us = None
            samples.window.add(now_us, cost_us)

    def cost(self, now_us: int, plan: Plan) -> Cost:
        """What `plan` costs: measured, else scaled from another length of its rung, else the prior."""
        own = self._measured(now_us, plan.rung, plan.frames)
        if own is not None:
            return own
        for rung, frames in sorted(self._samples, key=lambda key: abs(key[1] - plan.frames)):
            other = self._measured(now_us, rung, frames) if rung == plan.rung else None
            if other is not None:
                scale = plan.frames / frames
                return Cost(p50_us=int(other.p50_us * scale), p95_us=int(other.p95_us * scale), measured=False)
        return Cost(p50_us=self._config.prior_us, p95_us=self._config.prior_us, measured=False)

    def _measured(self, now_us: int, rung: str, frames: int) -> Cost | None:
        samples = self._samples.get((rung, frames))
        if samples is None:
            return None
        found = samples.window.percentiles(now_us, (0.5, 0.95))
        if found is None:
            if samples.warmup_us is None:
                return None
            found = (samples.warmup_us, samples.warmup_us)
        return Cost(p50_us=int(found[0]), p95_us=int(found[1]), measured=True)


class Account(enum.Enum):
    """Where a control can end. WAITING is the only one it can leave again."""

    GENERATED = "generated"
    REPROJECTED = "reprojected"
    HELD = "held"
    DROPPED = "dropped"
    REFUSED = "refused"
    WAITING = "waiting"


@dataclass(slots=True)
class Ledger:
    """Every control received stands in exactly one account, at every instant.

    An answer is also `late` when it left after the client's budget; that is a flag beside its account.
    """

    received: int = 0
    late: int = 0
    accounts: Counter[Account] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)

    @property
    def answered(self) -> int:
        return self.accounts[Account.GENERATED] + self.accounts[Account.REPROJECTED] + self.accounts[Account.HELD]

    @property
    def in_budget(self) -> int:
        return self.answered - self.late

    def receive(self) -> None:
        """A control came in and waits for its answer."""
        self.received += 1
        self.accounts[Account.WAITING] += 1

    def answer(self, account: Account, *, late: bool) -> None:
        """A waiting control was answered. Raises: ValueError: none waits, or the account is no answer."""
        if account not in (Account.GENERATED, Account.REPROJECTED, Account.HELD):
            raise ValueError(f"ledger: got {account.value} as an answer, expected generated, reprojected or held")
        self._settle(account)
        self.late += late

    def drop(self, reason: str) -> None:
        """A waiting control will never be answered, for a reason on our side or the network's."""
        self._settle(Account.DROPPED)
        self.reasons[reason] += 1

    def refuse(self, reason: str) -> None:
        """A waiting control was answered by an ERROR."""
        self._settle(Account.REFUSED)
        self.reasons[reason] += 1

    def _settle(self, account: Account) -> None:
        if self.accounts[Account.WAITING] <= 0:
            raise ValueError(f"ledger: got {account.value} for a control, but none waits; call receive first")
        self.accounts[Account.WAITING] -= 1
        self.accounts[account] += 1
