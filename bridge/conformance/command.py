"""`helios-bridge conform client | server`: plays the scripts, prints the table, writes JUnit XML."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from bridge.clock import Clock, MonotonicClock
from bridge.conformance import client_scripts, server_scripts
from bridge.conformance.client_stage import ClientStage
from bridge.conformance.outcome import Outcome, exit_status, judge, junit_xml, require, row, summary
from bridge.conformance.server_stage import Connection
from bridge.errors import ConfigError
from bridge.transport.curve_keys import ClientKeys, load_client_keys


def conform_client(
    *, bind: str, command: Sequence[str], only: Sequence[str], patience_s: float, junit: Path | None
) -> int:
    """Plays a server to the client that `command` starts, or that comes to `bind` by itself. Returns 0 or 1."""
    names = _chosen(only, client_scripts.SCRIPTS)
    return _report("conform client", _client_outcomes(bind, command, names, patience_s), junit)


def conform_server(
    *, address: str, curve: Path | None, only: Sequence[str], patience_s: float, junit: Path | None
) -> int:
    """Plays a client to the server at `address`. curve: the client's folder of keys. Returns 0 or 1."""
    keys = None if curve is None else load_client_keys(curve)
    names = _chosen(only, server_scripts.SCRIPTS)
    return _report("conform server", _server_outcomes(address, keys, names, patience_s), junit)


def _server_outcomes(
    address: str, keys: ClientKeys | None, names: Iterable[str], patience_s: float
) -> Iterator[Outcome]:
    clock = MonotonicClock()
    for name in names:
        script = server_scripts.SCRIPTS[name]
        with contextlib.ExitStack() as connections:

            def connect(connections: contextlib.ExitStack = connections) -> Connection:
                connection = Connection(address, patience_us=round(patience_s * 1e6), clock=clock, keys=keys)
                connections.callback(connection.close)
                return connection

            yield judge(clock, name, _about(script), functools.partial(script, connect))


def _about(script: Callable[..., str]) -> str:
    return (script.__doc__ or "").rstrip(".")


def _client_outcomes(bind: str, command: Sequence[str], names: Iterable[str], patience_s: float) -> Iterator[Outcome]:
    clock = MonotonicClock()
    address = bind
    for name in names:
        stage = ClientStage(bind=address, command=command, patience_us=round(patience_s * 1e6), clock=clock)
        if address != stage.address:
            address = stage.address  # a free port was asked for; the other scripts play there too
            print(f"waiting for the client at {address}", flush=True)
        yield _play(stage, name, clock)


def _play(stage: ClientStage, name: str, clock: Clock) -> Outcome:
    script = client_scripts.SCRIPTS[name]

    def run() -> str:
        try:
            seen = script(stage)
            require(not stage.crashed, stage.crashed)
            return seen
        finally:
            stage.close()

    return judge(clock, name, _about(script), run)


def _chosen(only: Sequence[str], known: Iterable[str]) -> list[str]:
    names = list(known)
    for name in only:
        if name not in names:
            raise ConfigError(f"--only: got {name!r}, expected some of {', '.join(names)}")
    return [name for name in names if not only or name in only]


def _report(suite: str, outcomes: Iterable[Outcome], junit: Path | None) -> int:
    seen = []
    for outcome in outcomes:
        print(row(outcome), flush=True)
        seen.append(outcome)
    print(summary(seen))
    if junit is not None:
        junit.parent.mkdir(parents=True, exist_ok=True)
        junit.write_bytes(junit_xml(suite, seen))
    return exit_status(seen)
