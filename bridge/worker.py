"""The engine process: what runs in it, and the words it exchanges with its supervisor.

Frames travel through the shared ring; over the pipe go commands, small results and each session's newest state. The
process ends when its pipe does, so it outlives no server. Restarting it is `supervisor.py`'s business.
"""

from __future__ import annotations

import importlib
import logging
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray

from bridge.chunk_ring import RingLayout, SharedFrameRing
from bridge.engine import (
    After,
    BatchingEngine,
    BegunStep,
    ControlWindow,
    Engine,
    EngineInfo,
    FrameChunk,
    HearingEngine,
    OverlappingStep,
    Plan,
    SessionStart,
    State,
    StepAsked,
    StreamingEngine,
)
from bridge.errors import ConfigError, EngineError, StepFailed
from bridge.statefile import read_state, write_state

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attach:
    """Chunks go into this ring from now on."""

    layout: RingLayout


@dataclass(frozen=True, slots=True, kw_only=True)
class Open:
    """Begin a world. `world` names it in every later word; it is never used twice."""

    world: int
    start: SessionStart


@dataclass(frozen=True, slots=True, kw_only=True)
class Adopt:
    """Go on with a world of an earlier process."""

    world: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """Make a chunk and put it into `slot`.

    keep: go on after so many frames of the world's newest chunk, one of the `cuts` that `Made` told; None: after all.
    """

    world: int
    window: ControlWindow
    plan: Plan
    slot: int
    keep: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Together:
    """Obey several `Step`s of one plan at once, each a world's; each gets its own answers."""

    steps: tuple[Step, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hear:
    """A chunk of this world will soon be told `action`, under a new prompt or (None) the one it has. No answer."""

    world: int
    prompt: str | None
    action: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Save:
    """Write a world's state to a file."""

    world: int
    path: Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Forget:
    world: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """End cleanly."""


Command = Attach | Open | Adopt | Step | Together | Hear | Save | Forget | Stop


@dataclass(frozen=True, slots=True, kw_only=True)
class Ready:
    info: EngineInfo


@dataclass(frozen=True, slots=True, kw_only=True)
class Unusable:
    """The engine cannot be made here; trying again would not help."""

    error: EngineError | ConfigError


@dataclass(frozen=True, slots=True, kw_only=True)
class Began:
    world: int
    state: State


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """`Open` was refused by the engine."""

    world: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """A chunk of `frames` frames lies in the slot that `Step` named. cuts: what the next `Step` may keep of it.

    missing: how many of them, the last ones, do not yet; the engine is free all the same, and `Growing` tells of them.
    """

    world: int
    slot: int
    frames: int
    with_depth: bool
    actions: tuple[str, ...]
    stage_ms: Mapping[str, float]
    state: State
    missing: int = 0
    cuts: tuple[int, ...] = ()
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveDone:
    """`Save` was obeyed; text: why not, "" when it was."""

    world: int
    path: Path
    size_bytes: int
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Growing:
    """Of a chunk of `frames` frames the first `made` lie in the slot that `Step` named. `Made` or `Failed` follows, or
    has come already."""

    world: int
    slot: int
    frames: int
    made: int
    with_depth: bool
    actions: tuple[str, ...]
    parts: NDArray[np.uint32] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """`Step` was refused by the engine; the world is as before it."""

    world: int
    slot: int
    text: str


Report = Ready | Unusable | Began | Refused | SaveDone | Growing | Made | Failed


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
    commands: queue.SimpleQueue[Command] = queue.SimpleQueue()
    heard: queue.SimpleQueue[Hear] = queue.SimpleQueue()
    threading.Thread(target=_read_commands, args=(connection, commands, heard), name="commands", daemon=True).start()
    try:
        engine = load_factory(factory)(**settings)
    except (EngineError, ConfigError) as exc:
        connection.send(Unusable(error=exc))
        return
    connection.send(Ready(info=engine.info))
    states: dict[int, State] = {}
    if isinstance(engine, HearingEngine):
        threading.Thread(target=_listen, args=(engine, heard, states), name="listener", daemon=True).start()
    sending = threading.Lock()

    def report(word: Report) -> None:
        with sending:
            connection.send(word)

    try:
        _obey(engine, commands, report, states)
    except BrokenPipeError:
        _log.warning("server.gone pid=%d", os.getpid())
    finally:
        engine.close()


def _read_commands(
    connection: Connection, commands: queue.SimpleQueue[Command], heard: queue.SimpleQueue[Hear]
) -> None:
    while True:
        try:
            command = cast("Command", connection.recv())
            if isinstance(command, Hear):
                heard.put(command)  # past the chunk that is being made: that is what it is for
            else:
                commands.put(command)
        except (EOFError, OSError):
            # The server is gone. A step may be running for seconds; nobody will see it.
            os._exit(0)


def _listen(engine: HearingEngine, heard: queue.SimpleQueue[Hear], states: Mapping[int, State]) -> None:
    while True:
        told = heard.get()
        state = states.get(told.world)
        if state is not None:
            engine.hear(state, told.prompt, told.action)


def _obey(
    engine: Engine,
    commands: queue.SimpleQueue[Command],
    report: Callable[[Report], None],
    states: dict[int, State],
) -> None:
    earlier: dict[int, Mapping[int, State]] = {}  # inside each world's newest chunk
    ring: SharedFrameRing | None = None
    handing_out: HandingOut | None = None
    while True:
        match commands.get():
            case Attach(layout=layout):
                ring = SharedFrameRing.attach(layout)
                handing_out = HandingOut(ring, report)
            case Open(world=world, start=start):
                try:
                    restore = start.restore
                    states[world] = engine.open(start) if restore is None else read_state(restore, engine.info)
                except EngineError as exc:
                    report(Refused(world=world, text=str(exc)))
                else:
                    report(Began(world=world, state=states[world]))
            case Adopt(world=world, state=state):
                states[world] = state
            case Step() as step:
                assert ring is not None, "Attach comes before the first Step"
                made = make_chunk(engine, states, earlier, ring, step, report, handing_out)
                if made is not None:
                    report(made)
            case Together(steps=steps):
                assert ring is not None, "Attach comes before the first Step"
                make_together(engine, states, earlier, ring, steps, report)
            case Save(world=world, path=path):
                report(_saved(engine.info, states, world, path))
            case Forget(world=world):
                states.pop(world, None)
                earlier.pop(world, None)
            case Hear():
                raise AssertionError("what is heard has a thread of its own")
            case Stop():
                return


def _saved(info: EngineInfo, states: Mapping[int, State], world: int, path: Path) -> SaveDone:
    if world not in states:
        return SaveDone(world=world, path=path, size_bytes=0, text="there is nothing to save yet")
    try:
        size_bytes = write_state(path, states[world], info)
    except EngineError as exc:
        return SaveDone(world=world, path=path, size_bytes=0, text=str(exc))
    return SaveDone(world=world, path=path, size_bytes=size_bytes, text="")


def make_chunk(
    engine: Engine,
    states: dict[int, State],
    earlier: dict[int, Mapping[int, State]],
    ring: SharedFrameRing,
    step: Step,
    report: Callable[[Report], None] = lambda _: None,
    handing_out: HandingOut | None = None,
) -> Made | Failed | None:
    """Obeys a `Step`. states: each world's newest; earlier: those inside its newest chunk. Both are updated.

    report: is told of frames that are made before the chunk is, by an engine that hands them out. handing_out: takes
    over a chunk whose frames come beside the next one, and tells of it; then this returns None.
    """
    try:
        before = _state_before(states, earlier, step)
        if isinstance(engine, StreamingEngine):
            begun = engine.begin(before, step.window, step.plan)
            after = begun.after() if handing_out is not None and isinstance(begun, OverlappingStep) else None
            if after is not None:
                assert handing_out is not None
                states[step.world], earlier[step.world] = after.state, after.earlier
                handing_out.take(step, begun, after)
                return None
            for _ in _stream(begun, ring, step, report):
                pass
            chunk, state = begun.finish()
        else:
            chunk, state = engine.step(before, step.window, step.plan)
            ring.write(step.slot, chunk)
    except EngineError as exc:
        return Failed(world=step.world, slot=step.slot, text=str(exc))
    return _made(states, earlier, step, chunk, state)


def make_together(
    engine: Engine,
    states: dict[int, State],
    earlier: dict[int, Mapping[int, State]],
    ring: SharedFrameRing,
    steps: Sequence[Step],
    report: Callable[[Report], None],
) -> None:
    """Obeys several `Step`s at once, or in turn where they cannot be begun so: one that fails shall fail alone.

    Their frames are handed out in turns, a run of each.
    """
    try:
        if not isinstance(engine, BatchingEngine):
            raise StepFailed("this engine makes one chunk at a time")
        asked = [
            StepAsked(state=_state_before(states, earlier, step), window=step.window, plan=step.plan) for step in steps
        ]
        begun = engine.begin_together(asked)
    except EngineError:
        for step in steps:
            made = make_chunk(engine, states, earlier, ring, step, report)
            assert made is not None, "nobody else hands it out"
            report(made)
        return
    streams: list[Iterator[int] | None] = [
        _stream(one, ring, step, report) for one, step in zip(begun, steps, strict=True)
    ]
    while any(stream is not None for stream in streams):
        for index, (one, step) in enumerate(zip(begun, steps, strict=True)):
            stream = streams[index]
            if stream is None:
                continue
            try:
                if next(stream, None) is None:
                    streams[index] = None
                    report(_made(states, earlier, step, *one.finish()))
            except EngineError as exc:
                streams[index] = None
                report(Failed(world=step.world, slot=step.slot, text=str(exc)))


def _state_before(states: Mapping[int, State], earlier: Mapping[int, Mapping[int, State]], step: Step) -> State:
    """What `step` continues. Raises: StepFailed: it is not there."""
    if step.keep is None:
        return states[step.world]
    known = earlier.get(step.world, {}).get(step.keep)
    if known is None:
        raise StepFailed(f"cannot go on after {step.keep} frames: this process did not make the chunk they are of")
    return known


def _made(
    states: dict[int, State], earlier: dict[int, Mapping[int, State]], step: Step, chunk: FrameChunk, state: State
) -> Made:
    states[step.world] = state
    earlier[step.world] = chunk.earlier
    return Made(
        world=step.world,
        slot=step.slot,
        frames=len(chunk.frames),
        with_depth=chunk.depth is not None,
        actions=chunk.actions,
        stage_ms=chunk.stage_ms,
        state=state,
        cuts=tuple(sorted(chunk.earlier)),
        parts=chunk.parts,
    )


def _stream(begun: BegunStep, ring: SharedFrameRing, step: Step, report: Callable[[Report], None]) -> Iterator[int]:
    """Writes a chunk's frames as they come, and tells of all but the last, which `Made` tells of. Yields: as
    `_written`."""
    parts = begun.parts
    for made in _written(begun, ring, step):
        if made < step.plan.frames:
            report(_growing(begun, step, made, parts))
        parts = None
        yield made


def _written(begun: BegunStep, ring: SharedFrameRing, step: Step) -> Iterator[int]:
    """Writes a chunk's frames as they come. Yields: how many lie in the ring by then."""
    ring.write_depth(step.slot, begun.depth, frames=step.plan.frames)
    for run in begun.runs():
        ring.write_run(step.slot, run)
        yield run.first + len(run.frames)


def _growing(begun: BegunStep, step: Step, made: int, parts: NDArray[np.uint32] | None = None) -> Growing:
    return Growing(
        world=step.world,
        slot=step.slot,
        frames=step.plan.frames,
        made=made,
        with_depth=begun.depth is not None,
        actions=begun.actions,
        parts=parts,
    )


class HandingOut:
    """Writes chunks whose frames come beside the next chunk, one chunk after the other, on a thread of its own.

    A chunk is told as `Made` when its first frames are there: from then on the engine is free for the next, and the
    frames that follow are told as `Growing`. By then its world has gone on, and what cannot be decoded cannot be made
    anew from here: the process ends, and another takes its place.
    """

    def __init__(self, ring: SharedFrameRing, report: Callable[[Report], None]) -> None:
        self._ring, self._report = ring, report
        self._chunks: queue.SimpleQueue[tuple[Step, BegunStep, After]] = queue.SimpleQueue()
        threading.Thread(target=self._work, name="handing-out", daemon=True).start()

    def take(self, step: Step, begun: BegunStep, after: After) -> None:
        """Returns at once."""
        self._chunks.put((step, begun, after))

    def _work(self) -> None:
        while True:
            step, begun, after = self._chunks.get()
            try:
                self._hand_out(step, begun, after)
            except EngineError as exc:
                _log.error("engine.decode_failed error=%s", exc)
                os._exit(1)
            except BrokenPipeError:
                return  # the server is gone; the commands' thread sees to the end

    def _hand_out(self, step: Step, begun: BegunStep, after: After) -> None:
        told = False
        for made in _written(begun, self._ring, step):
            if told:
                self._report(_growing(begun, step, made))
                continue
            told = True
            self._report(
                Made(
                    world=step.world,
                    slot=step.slot,
                    frames=step.plan.frames,
                    missing=step.plan.frames - made,
                    with_depth=begun.depth is not None,
                    actions=begun.actions,
                    stage_ms=after.stage_ms,
                    state=after.state,
                    cuts=tuple(sorted(after.earlier)),
                    parts=begun.parts,
                )
            )
