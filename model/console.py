"""What every command line of ours shares: how a picture's size is said, and which commit a report is of.

Standard library alone, and nothing of a model.
"""

from __future__ import annotations

import argparse
import re
import subprocess
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def frame_size(text: str) -> tuple[int, int]:
    """`640x384` -> (width, height) in pixels; an argparse type. Raises: ArgumentTypeError: it is no such thing."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected WIDTHxHEIGHT in pixels, such as 640x384")
    return int(found[1]), int(found[2])


def commit(root: Path = _ROOT) -> str:
    """The commit of the checkout that this runs from, "-dirty" behind it where files were changed.

    "unknown" for an installed package, also inside another's repository, and without git.
    """
    if not (root / ".git").exists():
        return "unknown"
    command = ["git", "-C", str(root), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
