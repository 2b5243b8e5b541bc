"""What every command line of ours shares: how a picture's size is said. Standard library alone; nothing of a model."""

from __future__ import annotations

import argparse
import re

_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def frame_size(text: str) -> tuple[int, int]:
    """`640x384` -> (width, height) in pixels; an argparse type. Raises: ArgumentTypeError: it is no such thing."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected WIDTHxHEIGHT in pixels, such as 640x384")
    return int(found[1]), int(found[2])
