"""python -m demos.clients.panda3d [ADDRESS [SECONDS]] [--scene walk|yard] [--window] [--picture FILE.png]"""

from __future__ import annotations

import argparse
import sys

from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.config import ServeConfig
from demos.clients.panda3d.game import GameOptions, run
from demos.clients.panda3d.scenes import SCENES
from model.cli_args import output_file


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demos.clients.panda3d")
    parser.add_argument("address", nargs="?", help="of helios-bridge serve; without one it starts a service of its own")
    parser.add_argument("seconds", type=float, nargs="?", default=14.0)
    parser.add_argument("--scene", choices=SCENES, help="walk; yard for a picture")
    parser.add_argument("--window", action="store_true", help="the painted picture left, Panda3D's own right")
    parser.add_argument(
        "--picture", type=output_file, metavar="FILE.png", help="scene, blockout and painted frame, side by side"
    )
    words = parser.parse_args()
    if words.address is not None:
        return _play(words, words.address)
    with LocalService(ServeConfig(bind=FREE_PORT, fps=30.0)) as service:
        return _play(words, service.address)


def _play(words: argparse.Namespace, address: str) -> int:
    scene = words.scene or ("walk" if words.picture is None else "yard")
    options = GameOptions(address=address, seconds=words.seconds, scene=scene, window=words.window)
    if words.picture is None:
        return run(options)
    from demos.clients.panda3d.picture import take

    return take(options, words.picture)


if __name__ == "__main__":
    sys.exit(main())
