"""The scripted tour without a window: a steady tick, a report, a video and a contact sheet.

While it runs, only references to shown frames are kept; rendering, comparing and encoding wait until it is over, so
that measuring takes nothing from what is measured.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

import bridge
from bridge.clock import Clock, MonotonicClock
from bridge.errors import ConfigError
from demos.engine_status import EngineWatch
from demos.options import PlayOptions
from demos.recording import VIDEO_FPS, Pair, contact_sheet, write_png, write_video
from demos.report import Json, Shot, build_report, summary, write_report
from demos.session import BridgeSession, Ticker
from demos.tour import follow
from demos.world import ReferenceRenderer, World
from model.cli_args import check_writable
from model.demo.evaluation.figures import psnr_db

DEFAULT_SECONDS = 20.0
_PROMPTLY_S = 2.0  # a service that has loaded its model answers sooner; one that has not is told to be waited for
STATS_TIMEOUT_S = 10.0  # a run shall not be lost to a moment of waiting at its end
_CREDIT = 4  # frames: a machine that stalls for less than four ticks leaves no control without an answer
_MOST_COMPARED = 240  # frames a run is judged by, at least half as many in a run of any length
_SHEET_PAIRS = 12
_MOST_VIDEO_BYTES = 400 * 2**20  # 90 s at 192x320


@dataclass(slots=True, kw_only=True)
class Take:
    """What was kept of a run. film: the frame on show, VIDEO_FPS times a second, if `keeps_film`.

    shots: every n-th new answer of the network's, spread evenly over the run however long it is.
    """

    keeps_film: bool
    film: list[bridge.Frame] = field(default_factory=list)
    shots: list[Shot] = field(default_factory=list)
    _film_bytes: int = 0
    _every: int = 1
    _answers: int = 0
    _last: bridge.Frame | None = None

    def see(self, session: BridgeSession, at_s: float, world_time_s: float) -> None:
        """Looks at what is on show at a tick, `at_s` after the start."""
        frame = session.newest
        if frame is None:
            return
        if self.keeps_film and len(self.film) <= at_s * VIDEO_FPS and self._film_bytes < _MOST_VIDEO_BYTES:
            self.film.append(frame)
            self._film_bytes += frame.pixels.nbytes
        if frame is self._last or frame.header.chunk < 0:
            return
        self._last = frame
        if self._answers % self._every == 0:
            self.shots.append(Shot(frame=frame, conditions=session.applied.conditions, time_s=world_time_s))
        self._answers += 1
        if len(self.shots) > _MOST_COMPARED:
            self.shots, self._every = self.shots[::2], 2 * self._every


def fly(
    session: BridgeSession,
    world: World,
    clock: Clock,
    *,
    seconds: float,
    tick_hz: float,
    watch: EngineWatch | None = None,
) -> Take:
    """Plays the tour: the loop of a game without a player."""
    take = Take(keeps_film=True)
    tick = Ticker(clock, tick_hz)
    while tick.elapsed_s < seconds:
        follow(world, tick.elapsed_s, tick.dt_s)
        session.exchange(world.view.camera, world.action, until_us=tick.deadline_us(1.0))
        take.see(session, tick.elapsed_s, world.time_s)
        if watch is not None:
            watch.look(session)
        tick.next()
    session.settle()
    return take


def run_headless(options: PlayOptions) -> int:
    """Plays the tour against the service at `options.connect`; writes report, video and contact sheet.

    Raises: BridgeError: the service is not there, the session ended, or, before it began, a file cannot be written.
    """
    for path in _outputs(options):
        try:
            check_writable(path)
        except OSError as exc:
            raise ConfigError(f"cannot write {path}: {exc.strerror} ({exc.filename})") from exc
    clock = MonotonicClock()
    seconds = DEFAULT_SECONDS if options.seconds is None else options.seconds
    world = World.load()
    with connect(options, clock) as client:
        client.set_scene(world.scene, seed=options.seed)
        session = BridgeSession(client, clock, budget_ms=options.budget_ms)
        welcome = client.welcome
        print(f"playing the scripted tour for {seconds:g} s on {welcome.model} ({welcome.runner})", flush=True)
        watch = EngineWatch(client, clock)
        take = fly(session, world, clock, seconds=seconds, tick_hz=options.tick_hz, watch=watch)
        took_s = (clock.now_us() - session.began_us) / 1e6
        ledger = client.stats(STATS_TIMEOUT_S)
    pairs, psnrs = compare(take.shots, ReferenceRenderer(world.level.blockout))
    report = build_report(
        session.counts, session.figures, welcome, began_us=session.began_us, seconds=took_s, tick_hz=options.tick_hz,
        budget_ms=options.budget_ms, psnrs_db=psnrs, ledger=ledger,
    )  # fmt: skip
    finish(options, take, pairs, report)
    return 0


def connect(options: PlayOptions, clock: Clock) -> bridge.Client:
    """A session with the service. Says so when it has to be waited for. Raises: ConnectTimeout: for too long."""
    where, wait_s = options.connect, options.wait_s
    text = f"waiting for {where}, up to {wait_s:g} s: a service that is loading its model answers when that is done"
    notice = threading.Timer(_PROMPTLY_S, print, [text], {"flush": True})
    notice.start()
    try:
        return bridge.Client(
            where, budget_ms=options.budget_ms, tick_hz=options.tick_hz, connect_timeout_s=wait_s,
            name="helios-bridge play", credit=_CREDIT, curve=options.curve, clock=clock,
        )  # fmt: skip
    except bridge.ConnectTimeout as exc:
        keys = "pass --curve FOLDER if it asks for keys" if options.curve is None else "does it know these keys?"
        raise bridge.ConnectTimeout(
            f"no answer from {where} within {wait_s:g} s: is the service (helios-bridge serve) running there? If it is "
            f"still loading, --wait longer; {keys}"
        ) from exc
    finally:
        notice.cancel()


def compare(shots: Sequence[Shot], renderer: ReferenceRenderer) -> tuple[list[Pair], list[float]]:
    """Holds shots against the reference: a few as pairs for the contact sheet, all of them as PSNR in dB."""
    picked = set(np.linspace(0, len(shots) - 1, min(_SHEET_PAIRS, len(shots))).round().astype(int).tolist())
    pairs, psnrs = [], []
    for index, shot in enumerate(shots):
        reference, header = shot.reference(renderer), shot.frame.header
        psnrs.append(psnr_db(shot.frame.pixels, reference))
        if index in picked:
            now = shot.conditions
            title = f"{shot.time_s:.1f} s  {header.source.value}  {psnrs[-1]:.1f} dB"
            subtitle = f"reference: {now.time}, {now.weather}, lamps {now.lamps}"
            pairs.append(Pair(shown=shot.frame.pixels, reference=reference, title=title, subtitle=subtitle))
    return pairs, psnrs


def finish(options: PlayOptions, take: Take, pairs: Sequence[Pair], report: Json) -> None:
    """Writes what came of a tour, and says where."""
    report_path, video_path, sheet_path = _outputs(options)
    write_report(report_path, report)
    written = [report_path]
    if take.film:
        write_video(video_path, [frame.pixels for frame in take.film])
        written.append(video_path)
    if pairs:
        write_png(sheet_path, contact_sheet(pairs))
        written.append(sheet_path)
    print(summary(report))
    print("wrote " + ", ".join(map(str, written)))


def _outputs(options: PlayOptions) -> tuple[Path, Path, Path]:
    """Report, video and contact sheet."""
    folder = options.out_dir
    return options.report or folder / "report.json", options.record or folder / "tour.mp4", folder / "tour.png"
