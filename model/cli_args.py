"""Argument parsing shared by all command lines: sizes, numbers, files to write, a report's commit, what to install.

Standard library only; knows no model.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from pathlib import Path

_ROOT = Path(__file__).resolve().parent.parent
_NUMBERS = re.compile(r"[0-9]{1,9}(,[0-9]{1,9})*")
_SIZE = re.compile(r"([1-9][0-9]{0,4})x([1-9][0-9]{0,4})")


def frame_size(text: str) -> tuple[int, int]:
    """`640x384` -> (width, height) in pixels; an argparse type. Raises: ArgumentTypeError: it is no such thing."""
    found = _SIZE.fullmatch(text)
    if found is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected WIDTHxHEIGHT in pixels, such as 640x384")
    return int(found[1]), int(found[2])


def whole_numbers(text: str) -> tuple[int, ...]:
    """`1,3,9` -> (1, 3, 9); an argparse type. Raises: ArgumentTypeError: it is no such thing."""
    if _NUMBERS.fullmatch(text) is None:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected whole numbers with commas between, such as 1,3,9")
    return tuple(map(int, text.split(",")))


def stage_steps(text: str) -> tuple[int, ...]:
    """`1,1,1` -> (1, 1, 1), denoising steps a stage; an argparse type. Raises: ArgumentTypeError: it is not such."""
    if _NUMBERS.fullmatch(text) is None or len(steps := whole_numbers(text)) != 3 or min(steps) < 1:
        raise argparse.ArgumentTypeError(f"got {text!r}, expected three positive numbers, such as 1,1,1")
    return steps


def output_file(text: str) -> Path:
    """A file to write when the work is done; an argparse type, so that one that cannot be written costs no work.

    Makes the folders that it is to lie in. Raises: ArgumentTypeError: it cannot be written.
    """
    try:
        check_writable(Path(text))
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"cannot write {text}: {exc.strerror} ({exc.filename})") from exc
    return Path(text)


def output_folder(text: str) -> Path:
    """The same for a folder, which is made."""
    try:
        Path(text).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=text).close()
    except OSError as exc:
        raise argparse.ArgumentTypeError(f"cannot write into {text}: {exc.strerror} ({exc.filename})") from exc
    return Path(text)


def check_writable(path: Path) -> None:
    """Makes the folders that `path` is to lie in, and opens it without changing what is there.

    Raises: OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        path.open("xb").close()
    except FileExistsError:
        if path.is_file() or path.is_dir():  # opening a pipe may wait
            path.open("ab").close()
    else:
        path.unlink()


def install(extra: str) -> str:
    """What to type for an extra, to stand in a message; the package is on no index."""
    return f'pip install -e ".[{extra}]" in the checkout'


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
