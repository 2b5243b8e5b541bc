"""`python -m demos.clip`: a short animated WebP of the tour, what the service painted beside the game's own renderer.

    python -m demos.clip --seconds 12 --out demos/tour.webp     # starts a service of its own; --connect takes another

Frames are kept as a player saw them, through the real service; the reference is rendered afterwards.
"""

from __future__ import annotations

import argparse
import sys
from contextlib import ExitStack
from dataclasses import dataclass

import cv2
import numpy as np

from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.clock import Clock, MonotonicClock
from bridge.config import CONNECT_WAIT_S, ServeConfig
from bridge.errors import BridgeError
from demos.headless import connect
from demos.options import PlayOptions
from demos.recording import Picture, write_animation
from demos.report import Shot
from demos.session import BridgeSession, Ticker
from demos.tour import follow
from demos.world import ReferenceRenderer, World
from model.cli_args import output_file

MOST_BYTES = 3_000_000
_CAPTION_PX, _GAP_PX = 18, 4
_WARM_UP_S = 2.0  # before the first picture: the first chunks of a session come late


@dataclass(frozen=True, slots=True, kw_only=True)
class ClipConfig:
    """seconds of the tour from `from_s` on, `fps` pictures of each."""

    seconds: float = 12.0
    from_s: float = 0.0
    fps: float = 12.0


def main(arguments: list[str] | None = None) -> int:
    """Makes the clip. Returns the exit status."""
    options = _parser().parse_args(arguments)
    config = ClipConfig(seconds=options.seconds, from_s=options.from_s, fps=options.fps)
    try:
        with ExitStack() as stack:
            address = options.connect
            if address is None:
                address = stack.enter_context(LocalService(ServeConfig(bind=FREE_PORT, model=options.model))).address
            pictures = make_clip(PlayOptions(connect=address, headless=True, wait_s=options.wait), config)
        quality = write_animation(options.out, pictures, fps=config.fps, most_bytes=options.most_bytes)
    except BridgeError as exc:
        print(f"demos.clip: {exc}", file=sys.stderr)
        return 1
    size = options.out.stat().st_size
    print(f"wrote {options.out}: {len(pictures)} pictures, {size / 1e6:.2f} MB at WebP quality {quality}")
    return 0


def make_clip(options: PlayOptions, config: ClipConfig) -> list[Picture]:
    """Plays the tour against the service at `options.connect`, and sets each picture beside its reference.

    Raises: BridgeError: the service is not there, or the session ended.
    """
    clock, world = MonotonicClock(), World.load()
    with connect(options, clock) as client:
        client.set_scene(world.scene, seed=options.seed)
        shots = _play(BridgeSession(client, clock, budget_ms=options.budget_ms), world, clock, config, options.tick_hz)
    renderer = ReferenceRenderer(world.level.blockout)
    return [side_by_side(shot.frame.pixels, shot.reference(renderer), shot.frame.header.action) for shot in shots]


def _play(session: BridgeSession, world: World, clock: Clock, config: ClipConfig, tick_hz: float) -> list[Shot]:
    """What is on show `config.fps` times a second. The tour stands still until the service has warmed up."""
    shots: list[Shot] = []
    tick = Ticker(clock, tick_hz)
    while len(shots) < round(config.seconds * config.fps):
        played_s = max(0.0, tick.elapsed_s - _WARM_UP_S)
        follow(world, config.from_s + played_s, tick.dt_s)
        session.exchange(world.view.camera, world.action, until_us=tick.deadline_us(1.0))
        frame = session.newest
        if frame is not None and tick.elapsed_s >= _WARM_UP_S + len(shots) / config.fps:
            shots.append(Shot(frame=frame, conditions=session.applied.conditions, time_s=world.time_s))
        tick.next()
    session.settle()
    return shots


def side_by_side(shown: Picture, reference: Picture, action: str) -> Picture:
    """The two under a caption each; `action` is the newest text whose effect is shown."""
    height, width = shown.shape[:2]
    canvas = np.full((height + _CAPTION_PX, 2 * width + _GAP_PX, 3), 24, np.uint8)
    canvas[_CAPTION_PX:, :width], canvas[_CAPTION_PX:, width + _GAP_PX :] = shown, reference
    said = f'network: "{action}"' if action else "network"
    for text, left in ((said, 4), ("the game's own renderer", width + _GAP_PX + 4)):
        cv2.putText(
            canvas, text, (left, _CAPTION_PX - 5), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (225, 228, 232), 1, cv2.LINE_AA
        )  # fmt: skip
    return canvas


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m demos.clip", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--out", type=output_file, default="out/tour.webp", metavar="FILE.webp")
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--from", dest="from_s", type=float, default=0.0, help="where in the tour to begin, seconds")
    parser.add_argument("--fps", type=float, default=12.0, help="pictures a second")
    parser.add_argument("--most-bytes", type=int, default=MOST_BYTES, help="quality falls until the file is smaller")
    parser.add_argument("--connect", metavar="ADDRESS", help="a running service (default: one of its own)")
    parser.add_argument("--wait", type=float, default=CONNECT_WAIT_S, metavar="SECONDS", help="for it (%(default)g)")
    parser.add_argument("--model", default="demo", help="of the service that is started")
    return parser


if __name__ == "__main__":
    sys.exit(main())
