"""python -m demos.engines.panda3d ADDRESS SECONDS [--scene walk|yard] [--window] [--picture FILE.png]"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from demos.engines.panda3d.game import GameOptions, run
from demos.engines.panda3d.scenes import SCENES


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demos.engines.panda3d")
    parser.add_argument("address", help="of helios-bridge serve")
    parser.add_argument("seconds", type=float)
    parser.add_argument("--scene", choices=SCENES, default="walk")
    parser.add_argument("--window", action="store_true", help="the painted picture left, Panda3D's own right")
    parser.add_argument(
        "--picture", type=Path, metavar="FILE.png", help="scene, blockout and painted frame, side by side"
    )
    words = parser.parse_args()
    options = GameOptions(address=words.address, seconds=words.seconds, scene=words.scene, window=words.window)
    if words.picture is not None:
        from demos.engines.panda3d.picture import take

        return take(options, words.picture)
    return run(options)


if __name__ == "__main__":
    sys.exit(main())
