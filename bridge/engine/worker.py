"""The main loop of the engine's process: executes its supervisor's commands (ipc_messages.py).

step_executor.py executes steps. The process ends when its pipe closes, so it never outlives the server. process.py
restarts it.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

from bridge.engine.chunk_pool import ChunkPool
from bridge.engine.interface import Engine, EngineInfo, PromptPrefetchingEngine, SessionStart, State
from bridge.engine.ipc_messages import (
    Adopt,
    Attach,
    Command,
    Forget,
    Open,
    PrefetchPrompt,
    Ready,
    Report,
    Save,
    SessionOpened,
    SessionRefused,
    StateSaved,
    Step,
    StepBatch,
    Stop,
    Unusable,
)
from bridge.engine.state_file import read_state, write_state
from bridge.engine.step_executor import FrameStreamer, make_batch, make_chunk
from bridge.errors import ConfigError, EngineError

_log = logging.getLogger(__name__)


def load_factory(name: str) -> Callable[..., Engine]:
    """The engine factory called "module:attribute". Raises: ConfigError: there is none."""
    module_name, _, attribute = name.partition(":")
    try:
        found: object = getattr(importlib.import_module(module_name), attribute)
    except (ImportError, AttributeError, ValueError) as exc:
        raise ConfigError(f"engine: got {name!r}, expected an importable 'module:attribute' ({exc})") from exc
    return cast("Callable[..., Engine]", found)


def run(connection: Connection, factory: str, settings: Mapping[str, object]) -> None:
    """The engine process's main function: obeys commands until `Stop`, or until the pipe ends."""
    # Ctrl-C reaches the whole process group; ending this process is the server's decision.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s engine %(name)s %(message)s")
    _keep_bars_to_this_process()
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    heard: queue.SimpleQueue[PrefetchPrompt] = queue.SimpleQueue()
    threading.Thread(target=_read_commands, args=(connection, commands, heard), name="commands", daemon=True).start()
    try:
        engine = load_factory(factory)(**settings)
    except (EngineError, ConfigError) as exc:
        connection.send(Unusable(error=exc))
        return
    connection.send(Ready(info=engine.info))
    states: dict[int, State] = {}
    if isinstance(engine, PromptPrefetchingEngine):
        threading.Thread(target=_listen, args=(engine, heard, states), name="listener", daemon=True).start()
    sending = threading.Lock()

    def report(word: Report) -> None:
        with sending:
            connection.send(word)

    with ExitStack() as closing:
        closing.callback(engine.close)
        try:
            _obey(engine, commands, report, states, closing)
        except BrokenPipeError:
            _log.warning("server.gone pid=%d", os.getpid())


def _keep_bars_to_this_process() -> None:
    """tqdm's own lock is for child processes too: a named semaphore, which stays behind when this process is killed."""
    if importlib.util.find_spec("tqdm") is not None:
        importlib.import_module("tqdm").tqdm.set_lock(threading.RLock())


def _read_commands(
    connection: Connection, commands: queue.SimpleQueue[Command], heard: queue.SimpleQueue[PrefetchPrompt]
) -> None:
    while True:
        try:
            command = cast("Command", connection.recv())
            if isinstance(command, PrefetchPrompt):
                heard.put(command)  # past the chunk that is being made: that is what it is for
            else:
                commands.put(command)
        except (EOFError, OSError):
            # The server is gone. A step may be running for seconds; nobody will see it.
            os._exit(0)


def _listen(
    engine: PromptPrefetchingEngine, heard: queue.SimpleQueue[PrefetchPrompt], states: Mapping[int, State]
) -> None:
    while True:
        told = heard.get()
        state = states.get(told.engine_session)
        if state is not None:
            engine.prefetch_prompt(state, told.prompt, told.action)


def _obey(
    engine: Engine,
    commands: queue.SimpleQueue[Command],
    report: Callable[[Report], None],
    states: dict[int, State],
    closing: ExitStack,
) -> None:
    """Returns at `Stop`. closing: what shall end before the engine is closed is put there."""
    earlier: dict[int, Mapping[int, State]] = {}  # inside each session's newest chunk
    ring: ChunkPool | None = None
    handing_out: FrameStreamer | None = None
    while True:
        match commands.get():
            case Attach(layout=layout):
                ring = ChunkPool.attach(layout)
                handing_out = FrameStreamer(ring, report)
                closing.callback(handing_out.finish)
            case Open(engine_session=engine_session, start=start):
                try:
                    report(_began(engine, states, engine_session, start))
                except EngineError as exc:
                    report(SessionRefused(engine_session=engine_session, text=str(exc)))
            case Adopt(engine_session=engine_session, state=state):
                states[engine_session] = state
            case Step() as step:
                assert ring is not None, "Attach comes before the first Step"
                made = make_chunk(engine, states, earlier, ring, step, report, handing_out)
                if made is not None:
                    report(made)
            case StepBatch(steps=steps):
                assert ring is not None, "Attach comes before the first Step"
                make_batch(engine, states, earlier, ring, steps, report)
            case Save(engine_session=engine_session, path=path):
                report(_saved(engine.info, states, engine_session, path))
            case Forget(engine_session=engine_session):
                states.pop(engine_session, None)
                earlier.pop(engine_session, None)
            case PrefetchPrompt():
                raise AssertionError("what is heard has a thread of its own")
            case Stop():
                return


def _began(engine: Engine, states: dict[int, State], engine_session: int, start: SessionStart) -> SessionOpened:
    """Raises: EngineError: it cannot begin so."""
    if start.restore is None:
        states[engine_session] = engine.open(start)
        return SessionOpened(engine_session=engine_session, state=states[engine_session])
    state = read_state(start.restore, engine.info)
    scene = engine.scene_of(state)
    states[engine_session] = state
    return SessionOpened(engine_session=engine_session, state=state, scene=scene)


def _saved(info: EngineInfo, states: Mapping[int, State], engine_session: int, path: Path) -> StateSaved:
    if engine_session not in states:
        return StateSaved(engine_session=engine_session, path=path, size_bytes=0, text="there is nothing to save yet")
    try:
        size_bytes = write_state(path, states[engine_session], info)
    except EngineError as exc:
        return StateSaved(engine_session=engine_session, path=path, size_bytes=0, text=str(exc))
    return StateSaved(engine_session=engine_session, path=path, size_bytes=size_bytes, text="")
