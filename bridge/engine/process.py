"""Keeps an engine process running: kills one that hangs, starts another, and waits longer after each that ends.

pipe.py is one process and its pipe; supervisor.py knows what it was asked.
"""

from __future__ import annotations

import enum
import logging
import queue
from collections.abc import Iterator

from bridge.clock import Clock
from bridge.engine.ipc_messages import Command, Report
from bridge.engine.pipe import Ended, EngineConfig, EnginePipe, Inbox, Wake
from bridge.errors import EngineUnavailable

_HANG_CHUNKS = 6
"""A step that takes as long as so many of the warm-up's slowest chunk hangs: chunks of four sessions may be made at
once, on a machine that the game shares."""
_log = logging.getLogger(__name__)


class _Phase(enum.Enum):
    STARTING = "starting"
    READY = "ready"
    WAITING = "waiting"
    ENDED = "ended"


class EngineProcess:
    """Starts at once. restarts: how often it was started again. All methods but `wake` are for one thread."""

    def __init__(self, config: EngineConfig, clock: Clock) -> None:
        self.restarts = 0
        self._config = config
        self._clock = clock
        self._wake = Wake()
        self._inbox: Inbox = queue.SimpleQueue()
        self._was_ready = False
        self._failed_starts = 0
        self._backoff_us = config.first_backoff_us
        self._step_timeout_us = config.step_timeout_us
        self._again_us = 0
        self._start()

    def fileno(self) -> int:
        """Readable when `reports` has something to say."""
        return self._wake.fileno()

    def wake(self) -> None:
        """Makes `fileno` readable; may be called from any thread and from signal handlers."""
        self._wake.set()

    @property
    def is_ready(self) -> bool:
        """True from `came_up` to `ended`: only then is there somebody to `send` to."""
        return self._phase is _Phase.READY

    def send(self, command: Command) -> None:
        self._pipe.send(command)

    def reports(self) -> Iterator[Report | Ended]:
        """What this process said since the last call; what an earlier one said is passed over. Never blocks."""
        self._wake.clear()
        while True:
            try:
                pipe, word = self._inbox.get_nowait()
            except queue.Empty:
                return
            if pipe is self._pipe and self._phase is not _Phase.ENDED:
                yield word

    def came_up(self, chunk_us: int) -> None:
        """It said that it can be asked for something. chunk_us: as in `EngineInfo`."""
        self._phase = _Phase.READY
        self._step_timeout_us = max(self._config.step_timeout_us, _HANG_CHUNKS * chunk_us)
        self._was_ready = True
        self._failed_starts = 0

    def proved(self) -> None:
        """It did whole what it was asked for: should it end, it is started again soon."""
        self._backoff_us = self._config.first_backoff_us

    def ended(self, reason: str) -> str:
        """It ended, and is started again in a while. Returns: why it ended.

        Raises: EngineUnavailable: it was never ready, and was started often enough.
        """
        reason = self._kill_reason or reason
        if self._phase is _Phase.STARTING:
            self._failed_starts += 1
            # Once it has worked, games depend on it: then it is tried for ever, at a growing distance.
            if not self._was_ready and self._failed_starts >= self._config.start_attempts:
                text = f"engine: the process ended {self._failed_starts} times while starting ({reason}); see its log"
                raise EngineUnavailable(text)
        self._phase = _Phase.WAITING
        self._again_us = self._clock.now_us() + self._backoff_us
        _log.warning("engine.down reason=%s again_ms=%d", reason, self._backoff_us // 1000)
        self._backoff_us = min(2 * self._backoff_us, self._config.longest_backoff_us)
        return reason

    def next_timeout_us(self, busy_since_us: int | None) -> int | None:
        """When `tick` next has something to do. busy_since_us: since when it owes an answer, None when it does not."""
        if self._phase is _Phase.WAITING:
            return self._again_us
        if self._kill_reason:
            return None
        if self._phase is _Phase.STARTING:
            return self._started_us + self._config.start_timeout_us
        if self._phase is _Phase.READY and busy_since_us is not None:
            return busy_since_us + self._step_timeout_us
        return None

    def tick(self, busy_since_us: int | None) -> None:
        """Starts it again, or kills it because it hangs, when it is time."""
        timeout_us, now_us = self.next_timeout_us(busy_since_us), self._clock.now_us()
        if timeout_us is None or now_us < timeout_us:
            return
        if self._phase is _Phase.WAITING:
            self.restarts += 1
            self._start()
        else:
            self._kill_reason = "hung"
            self._pipe.kill()

    def give_up(self) -> None:
        """Ends it for good; nothing more is reported."""
        self._pipe.finish(0.5)
        self._phase = _Phase.ENDED

    def stop(self, patience_s: float) -> None:
        """Ends it for good, and closes `fileno`. Blocks shortly. May be called twice."""
        if self._phase is not _Phase.ENDED:
            self._pipe.finish(patience_s)
        self._phase = _Phase.ENDED
        self._wake.close()

    @property
    def pid(self) -> int | None:
        return self._pipe.process.pid

    def _start(self) -> None:
        self._phase = _Phase.STARTING
        self._kill_reason = ""
        self._started_us = self._clock.now_us()
        self._pipe = EnginePipe(self._config, self._inbox, self._wake)
