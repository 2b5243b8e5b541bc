"""One engine process, and the two threads that move messages between it and the server.

Threads, because writing to the pipe of a stopped process blocks, and reading a state of megabytes takes time.
supervisor.py interprets the messages; process.py decides when a process is replaced.
"""

from __future__ import annotations

import multiprocessing
import os
import queue
import socket
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from multiprocessing.connection import Connection

from bridge.engine.ipc_messages import Command, Report, Stop
from bridge.engine.worker import run


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineConfig:
    """Which engine, and how patient to be with it.

    factory: "module:attribute", called in the engine process with `settings`. threads: OMP_NUM_THREADS there, 0 leaves
    it alone. slots: chunks the ring holds; the server raises it to what its sessions need. A step counts as a hang when
    it takes longer than `step_timeout_us`, and than several chunks of the engine's own warm-up. `start_attempts`
    processes that die before one was ever ready, or `world_attempts` in a row over one world, are enough.
    """

    factory: str = "bridge.backends.synthetic:create"
    settings: Mapping[str, object] = field(default_factory=dict)
    threads: int = 0
    slots: int = 4
    start_timeout_us: int = 180_000_000
    step_timeout_us: int = 20_000_000
    first_backoff_us: int = 100_000
    longest_backoff_us: int = 5_000_000
    start_attempts: int = 3
    world_attempts: int = 3


@dataclass(frozen=True, slots=True)
class Ended:
    """A process's pipe ended."""

    reason: str


class Wake:
    """A descriptor that becomes readable when another thread has something to say."""

    def __init__(self) -> None:
        self._read, self._write = socket.socketpair()
        self._read.setblocking(False)
        self._write.setblocking(False)

    def fileno(self) -> int:
        return self._read.fileno()

    def set(self) -> None:
        try:
            self._write.send(b"\0")
        except OSError:
            return  # full: a wake-up is already pending; closed: nobody listens any more

    def clear(self) -> None:
        try:
            while self._read.recv(4096):
                pass
        except BlockingIOError:
            return

    def close(self) -> None:
        self._read.close()
        self._write.close()


Inbox = queue.SimpleQueue[tuple["EnginePipe", Report | Ended]]


class EnginePipe:
    """One engine process and the two threads that talk with it."""

    def __init__(self, config: EngineConfig, inbox: Inbox, wake: Wake) -> None:
        self._config = config
        self._inbox = inbox
        self._wake = wake
        self._outbox: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        context = multiprocessing.get_context("spawn")
        self._ours, self._theirs = context.Pipe()
        self.process = context.Process(
            target=run, args=(self._theirs, config.factory, dict(config.settings)), name="engine", daemon=True
        )
        self._thread = threading.Thread(target=self._live, name="engine-link", daemon=True)
        self._thread.start()

    def send(self, command: Command) -> None:
        self._outbox.put(command)

    def kill(self) -> None:
        if self.process.pid is not None:
            self.process.kill()

    def finish(self, patience_s: float) -> None:
        """Ends the process, by force after `patience_s`. Blocks; for shutdown only."""
        self._outbox.put(Stop())
        self._thread.join(patience_s)
        if self._thread.is_alive():
            self.kill()
            self._thread.join(5.0)

    def _live(self) -> None:
        try:
            _start_with_threads(self.process, self._config.threads)
        except OSError as exc:  # no memory, too many processes: the supervisor tries again later
            self._ours.close()
            self._post(Ended(f"it cannot be started: {exc}"))
            return
        finally:
            self._theirs.close()
        writer = threading.Thread(target=_write_commands, args=(self._ours, self._outbox), daemon=True)
        writer.start()
        try:
            while True:
                self._post(self._ours.recv())
        except (EOFError, OSError):
            pass
        self._outbox.put(None)
        writer.join()
        self._ours.close()
        self.process.join()
        self._post(Ended(f"exit code {self.process.exitcode}"))

    def _post(self, word: Report | Ended) -> None:
        self._inbox.put((self, word))
        self._wake.set()


def _write_commands(connection: Connection, outbox: queue.SimpleQueue[Command | None]) -> None:
    while (command := outbox.get()) is not None:
        try:
            connection.send(command)
        except OSError:
            return  # the reader learns of the end as well, and reports it


_environment_lock = threading.Lock()


def _start_with_threads(process: multiprocessing.process.BaseProcess, threads: int) -> None:
    """Starts `process` with its own OMP_NUM_THREADS: numpy reads it when it is loaded, before any code of ours runs."""
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS") if threads > 0 else ()
    with _environment_lock:
        before = {name: os.environ.get(name) for name in names}
        os.environ.update(dict.fromkeys(names, str(threads)))
        try:
            process.start()
        finally:
            for name, value in before.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value
