"""The reference client: walk through the demo world while a neural network paints it.

`play` is the example to read: all that a game has to do with the bridge stands there. World, window and account live in
files of their own; none of them knows the protocol.
"""

from __future__ import annotations

import os
import sys
from contextlib import ExitStack, closing
from dataclasses import replace

from bridge.clock import MonotonicClock
from demos.engine_status import EngineWatch
from demos.headless import STATS_TIMEOUT_S, Take, compare, connect, run_headless
from demos.options import PlayOptions as PlayOptions
from demos.report import build_report, summary, write_report
from demos.session import BridgeSession, Ticker
from demos.tour import follow
from demos.world import ReferenceRenderer, World

os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
import pygame  # its greeting is silenced first

from demos.window import Window

_WAIT_SHARE = 0.6  # of a tick, for the answer; the rest is for drawing. A later answer is shown with the next tick


def run(options: PlayOptions) -> int:
    """Plays in a window, or headless when asked to or when there is no display. Returns: the exit status.

    Raises: BridgeError: the service is not there, or the session ended.
    """
    if options.headless:
        return run_headless(options)
    reason = _open_display()
    if reason is not None:
        print(f"no display ({reason}): playing the scripted tour without a window instead")
        return run_headless(replace(options, headless=True, tour=True))
    try:
        return play(options)
    finally:
        pygame.quit()


def play(options: PlayOptions) -> int:
    """The game loop. Each tick: input, the game's own step, one exchange with the bridge, a picture."""
    clock = MonotonicClock()
    world = World.load()
    with ExitStack() as stack:
        client = stack.enter_context(connect(options, clock))
        client.set_scene(world.scene, seed=options.seed)  # the level's grey-box, once; from here on camera and text
        session = BridgeSession(client, clock, budget_ms=options.budget_ms)
        watch = EngineWatch(client, clock)
        window = stack.enter_context(closing(Window(world, client.welcome, clock, options.out_dir)))
        if options.record is not None:
            window.toggle_recording(options.record)
        take = Take(keeps_film=False)
        tick = Ticker(clock, options.tick_hz)
        while window.is_open and (options.seconds is None or tick.elapsed_s < options.seconds):
            intent = window.controls.read(world.walk)
            if options.tour:
                follow(world, tick.elapsed_s, tick.dt_s)
            else:
                world.step(intent, tick.dt_s)
            while window.controls.said:
                world.say(window.controls.said.pop(0))

            session.exchange(world.view.camera, world.action, until_us=tick.deadline_us(_WAIT_SHARE))

            window.show(session, world)
            watch.look(session)
            if options.report is not None:
                take.see(session, tick.elapsed_s, world.time_s)
            tick.next()
        session.settle()
        stats, took_s = client.stats(STATS_TIMEOUT_S), tick.elapsed_s
    if options.report is not None:
        _, psnrs = compare(take.shots, ReferenceRenderer(world.level.blockout))
        report = build_report(
            session.counts, session.figures, client.welcome, began_us=session.began_us, seconds=took_s,
            tick_hz=options.tick_hz, budget_ms=options.budget_ms, psnrs_db=psnrs, ledger=stats,
        )  # fmt: skip
        write_report(options.report, report)
        print(summary(report))
    return 0


def _open_display() -> str | None:
    """Readies pygame for a window. Returns: why there can be none, None when there can."""
    driver = os.environ.get("SDL_VIDEODRIVER", "")
    has_server = bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))
    if sys.platform.startswith("linux") and not has_server and driver != "dummy":
        return "neither DISPLAY nor WAYLAND_DISPLAY is set"
    try:
        pygame.display.init()
    except pygame.error as exc:
        return str(exc)
    return None
