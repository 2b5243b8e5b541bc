"""The game: a Panda3D scene, its camera, a client, and a card; one tick is one frame of the engine."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from direct.showbase.ShowBase import ShowBase
from panda3d.core import loadPrcFileData

import bridge
from bridge.clock import Clock, MonotonicClock
from bridge.errors import BridgeError, PeerLost
from demos.clients.panda3d.blockout import SceneBlockout, camera_from_panda
from demos.clients.panda3d.card import ExactView, FrameCard
from demos.clients.panda3d.scenes import SCENES, Scene, light

TICK_US = 16_667
VERTICAL_FOV_DEG = 60.0
ACTION = {"walk": "walk around the pillar", "yard": ""}
_SETTLE_US = 1_000_000
_POLL_US = 500
# A GPU where there is one; else Mesa's llvmpipe through EGL, else Panda3D's own software renderer.
_HEADLESS = "load-display p3headlessgl\naux-display p3tinydisplay\nwindow-type offscreen\n"
_QUIET = "audio-library-name null\nnotify-level-display fatal\nnotify-level-device fatal\n"


@dataclass(frozen=True, slots=True, kw_only=True)
class GameOptions:
    address: str
    seconds: float
    scene: str = "walk"
    window: bool = False


@dataclass(slots=True)
class Shown:
    """What became of the frames. exact: shown frames that were read back from the card, all equal to what was sent."""

    trips_us: list[int] = field(default_factory=list)
    in_ring: int = 0
    exact: int = 0
    inexact: int = 0
    last: bridge.Frame | None = None


def open_engine(*, window: bool, width: int = 640, height: int = 384) -> ShowBase:
    """Starts Panda3D, with a window or without."""
    loadPrcFileData("", _QUIET + ("" if window else _HEADLESS) + f"win-size {width} {height}\n")
    base = ShowBase()
    base.disableMouse()
    base.setBackgroundColor(0.62, 0.72, 0.85)
    return base


class Game:
    """Left to itself it plays for `options.seconds`. The engine's own picture is behind the card."""

    def __init__(self, options: GameOptions, base: ShowBase, clock: Clock) -> None:
        self._options = options
        self.base = base
        self._clock = clock
        self.scene: Scene = SCENES[options.scene]()
        self.scene.root.reparentTo(base.render)
        light(self.scene.root)
        base.camLens.setAspectRatio(base.win.getXSize() / base.win.getYSize())
        base.camLens.setMinFov(VERTICAL_FOV_DEG)
        self.blockout = SceneBlockout(self.scene.root, base.render)
        self.moved: list[bridge.PartMove] = []  # in this tick
        self._untold: dict[int, bridge.PartMove] = {}
        self.shown = Shown()
        self.client = bridge.Client(options.address, name="panda3d", credit=8, clock=clock)
        welcome = self.client.welcome
        self.card = FrameCard(welcome.frame_width, welcome.frame_height)
        self._exact: ExactView | None = None
        if options.window:
            self.card.path.reparentTo(base.render2d)
            self.card.path.setPos(-0.5, 0, 0)
            self.card.path.setScale(0.5, 1, 0.5)  # the left half; the engine's own picture stays on the right
        else:
            self._exact = ExactView(base, self.card, welcome.frame_width, welcome.frame_height)

    def play(self, on_tick: Callable[[int], None] = lambda tick: None) -> None:
        """on_tick: called when a tick's frame was rendered. Raises: BridgeError: the session ended."""
        self.client.set_scene(self.blockout.parts, seed=1)
        begin_us = self._clock.now_us()
        end_us = begin_us + round(self._options.seconds * 1e6)
        next_us, tick = begin_us, 0
        while self._clock.now_us() < end_us:
            self.place(tick)
            self.client.send(camera_from_panda(self.base.cam, self.base.render), ACTION[self._options.scene])
            tick += 1
            self.scene.move(tick)
            self._tell_moves()
            next_us = max(next_us + TICK_US, self._clock.now_us())
            self._look(next_us)
            self.base.taskMgr.step()
            self._check_card()
            on_tick(tick)
        settled_us = self._clock.now_us() + _SETTLE_US
        while self.client.counts.unanswered > self.client.counts.refused and self._clock.now_us() < settled_us:
            self._look(self._clock.now_us() + TICK_US)

    def place(self, tick: int) -> None:
        """Puts the engine's camera where the scene says."""
        position, heading_deg = self.scene.camera(tick)
        self.base.camera.setPos(*position)
        self.base.camera.setHpr(heading_deg, 0, 0)

    def _tell_moves(self) -> None:
        """Where parts are now. When the way is full, with the next tick's; `send` notices a lost service."""
        self.moved = self.blockout.moves()
        self._untold.update((move.id, move) for move in self.moved)
        if self._untold:
            with contextlib.suppress(PeerLost):
                self.client.update_scene(move=self._untold.values())
                self._untold.clear()

    def _look(self, until_us: int) -> None:
        """Takes frames as they come until the tick ends."""
        while True:
            frame = self.client.poll()
            if frame is not None:
                self.card.show(frame.pixels)
                self.shown.last = frame
            for answer in self.client.take_answers():
                self.shown.trips_us.append(round(answer.latency_ms * 1e3))
                self.shown.in_ring += answer.header.ring_slot >= 0
            left_us = until_us - self._clock.now_us()
            if left_us <= 0:
                return
            self._clock.sleep_until_us(self._clock.now_us() + min(_POLL_US, left_us))

    def _check_card(self) -> None:
        """Compares what is on show with what was sent, pixel by pixel."""
        if self._exact is None or self.shown.last is None:
            return
        same = np.array_equal(self._exact.read(), self.shown.last.pixels)
        self.shown.exact += same
        self.shown.inexact += not same

    def report(self) -> dict[str, object]:
        """The walk's account of itself."""
        counts, trips = self.client.counts, sorted(self.shown.trips_us) or [0]
        return {
            "client": "panda3d", "controls": counts.controls,
            **{source.value: number for source, number in counts.by_source.items()},
            "refused": counts.refused, "in_ring": self.shown.in_ring, "shown": len(self.shown.trips_us),
            "exact": self.shown.exact, "inexact": self.shown.inexact,
            "round_trip_us_p50": trips[len(trips) // 2], "round_trip_us_p99": trips[len(trips) * 99 // 100],
        }  # fmt: skip


def run(options: GameOptions) -> int:
    """Plays, prints the report. Returns: 0, or 1 when nothing was shown or not what was sent."""
    base = open_engine(window=options.window)
    game = Game(options, base, MonotonicClock())
    try:
        game.play()
    except BridgeError as exc:
        print(f"panda3d: {exc}", file=sys.stderr)
    report = game.report()
    game.client.close()
    print(json.dumps(report))
    return 0 if game.shown.trips_us and not game.shown.inexact else 1
