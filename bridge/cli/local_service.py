"""Starts `helios-bridge serve` as a child process on a free port, for `play`, `bench` and `doctor`."""

from __future__ import annotations

import subprocess
import sys
import threading
from types import TracebackType

from bridge.cli.model_options import arguments_of
from bridge.config import ServeConfig
from bridge.errors import EngineUnavailable

FREE_PORT = "tcp://127.0.0.1:*"
LISTENING = "listening on "
"""What `serve` prints before its address, on a line of its own, once clients are answered."""
LOADING = "loading "
"""What it prints before its model, while it loads that."""


class LocalService:
    """Starts the service, waits until it answers, and ends it with the `with` block.

    Raises: EngineUnavailable: the service ended before it listened; the message is what it said last.
    """

    def __init__(self, config: ServeConfig) -> None:
        command = [
            sys.executable, "-m", "bridge", "serve", "--bind", config.bind, "--model", config.model,
            "--runner", config.runner, "--fps", str(config.fps), "--max-sessions", str(config.max_sessions),
            "--seed", str(config.seed), "--quality", config.quality, "--waste", str(config.waste),
            "--precision", config.precision,
        ]  # fmt: skip
        command += arguments_of(config.form)
        if config.states is not None:
            command += ["--states", str(config.states)]
        if config.curve is not None:
            command += ["--curve", str(config.curve)]
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        self.address = self._wait_until_listening()
        self._log = threading.Thread(target=self._pass_on_log, name="service-log", daemon=True)
        self._log.start()

    def __enter__(self) -> LocalService:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self.close()

    def close(self, patience_s: float = 10.0) -> None:
        """Ends the service; by force when it does not stop by itself."""
        self._process.terminate()
        try:
            self._process.wait(patience_s)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._log.join()

    def _wait_until_listening(self) -> str:
        assert self._process.stdout is not None
        said = ""
        for line in self._process.stdout:
            if line.startswith(LISTENING):
                return line.removeprefix(LISTENING).strip()
            if line.startswith(LOADING):
                sys.stderr.write(line)
            said = line.strip() or said
        self._process.wait()
        raise EngineUnavailable(f"the service did not start: {said.removeprefix('helios-bridge: ')}")

    def _pass_on_log(self) -> None:
        """What the service says while it runs goes where our own errors go; an unread pipe would stop it."""
        assert self._process.stdout is not None
        with self._process.stdout as log:
            for line in log:
                sys.stderr.write(line)
