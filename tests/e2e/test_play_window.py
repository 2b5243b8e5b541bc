"""The real window on a virtual display: keys go in, and picture, figures and files change.

Needs Xvfb and xdotool; skipped by name without them.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

pytestmark = [
    pytest.mark.window,
    pytest.mark.slow,
    *(
        pytest.mark.skipif(shutil.which(tool) is None, reason=f"{tool} is not installed")
        for tool in ("Xvfb", "xdotool")
    ),
]

PATIENCE_S = 30.0
FIGURES = (slice(12, 390), slice(12, 330))
MINIMAP = (slice(14, 178), slice(782, 946))
CLEAR_VIEW = (slice(60, 480), slice(345, 770))  # under no panel and no note
Picture = NDArray[np.uint8]
T = TypeVar("T")


def _wait_for(what: str, look: Callable[[], T | None]) -> T:
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        if (found := look()) is not None:
            return found
        time.sleep(0.05)
    raise AssertionError(f"{what}: not within {PATIENCE_S:g} s")


def _end(process: subprocess.Popen[Any]) -> None:
    """Ends a process and everything it started, by force if asking does not help."""
    process.terminate()
    try:
        process.communicate(timeout=20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        raise AssertionError(f"{process.args} did not end when told to") from None


class Game:
    """A game in its window."""

    def __init__(self, display: str, out_dir: Path) -> None:
        self.out_dir = out_dir
        self._display = display
        command = [sys.executable, "-m", "bridge", "play", "--model", "synthetic", "--seconds", "120"]
        self.process = subprocess.Popen(
            [*command, "--out", str(out_dir)],
            env={**os.environ, "DISPLAY": display, "SDL_VIDEODRIVER": "x11"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def xdotool(self, *words: str) -> str:
        assert self.process.poll() is None, f"the game ended: {self.process.communicate()[0]}"
        environment = {**os.environ, "DISPLAY": self._display}
        done = subprocess.run(["xdotool", *words], env=environment, capture_output=True, text=True, timeout=20)
        return done.stdout

    def hold(self, key: str, seconds: float) -> None:
        self.xdotool("keydown", key)
        time.sleep(seconds)
        self.xdotool("keyup", key)

    def picture(self) -> Picture:
        """What the window shows now, by its own F12: (H, W, 3) RGB."""
        path = self.out_dir / f"screenshot-{len(self._screenshots()) + 1:03d}.png"
        self.xdotool("key", "F12")

        def load() -> Picture | None:
            data = path.read_bytes() if path.exists() else b""
            complete = data.endswith(b"IEND\xaeB`\x82")
            return cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)[..., ::-1] if complete else None

        return _wait_for(f"screenshot {path.name}", load)

    def wait_until_open(self) -> None:
        """Presses F12 until the game hears it."""

        def press() -> bool | None:
            self.xdotool("key", "F12")
            return bool(self._screenshots()) or None

        _wait_for("a window that takes keys", press)
        time.sleep(0.5)  # presses that are still under way

    def _screenshots(self) -> list[Path]:
        return list(self.out_dir.glob("screenshot-*.png"))

    def until(self, what: str, holds: Callable[[Picture], bool]) -> Picture:
        """A picture for which `holds`."""
        return _wait_for(what, lambda: shown if holds(shown := self.picture()) else None)


@pytest.fixture
def display() -> Iterator[str]:
    """A virtual display on a number that the X server picks."""
    read_end, write_end = os.pipe()
    command = ["Xvfb", "-displayfd", str(write_end), "-screen", "0", "1280x800x24", "-nolisten", "tcp"]
    server = subprocess.Popen(command, pass_fds=[write_end], stderr=subprocess.DEVNULL, start_new_session=True)
    os.close(write_end)
    with os.fdopen(read_end) as numbers:
        number = numbers.readline().strip()
    yield f":{number}"
    _end(server)


@pytest.fixture
def game(display: str, tmp_path: Path) -> Iterator[Game]:
    game = Game(display, tmp_path)
    try:
        game.wait_until_open()
        yield game
    finally:
        _end(game.process)


def _change(before: Picture, after: Picture, where: tuple[slice, slice]) -> float:
    """The mean difference of a part of two pictures, in grey levels."""
    return float(cv2.absdiff(before[where], after[where]).mean())


def test_keys_change_picture_and_figures(game: Game) -> None:
    first = game.until("a painted frame", lambda shown: shown[CLEAR_VIEW].std() > 25)
    assert first.shape == (576, 960, 3)

    game.hold("Left", 0.5)
    turned = game.until("a turned view", lambda shown: _change(first, shown, CLEAR_VIEW) > 15)
    game.hold("w", 0.7)
    game.until("a view from further on", lambda shown: _change(turned, shown, CLEAR_VIEW) > 8)

    game.xdotool("key", "F1")
    bare = game.until("no figures", lambda shown: shown[FIGURES].mean() > 1.4 * first[FIGURES].mean())
    game.xdotool("key", "F1")
    game.until("figures again", lambda shown: shown[FIGURES].mean() < 0.75 * bare[FIGURES].mean())

    game.xdotool("key", "m")
    game.until("no minimap", lambda shown: _change(bare, shown, MINIMAP) > 20)


def test_views_and_words(game: Game) -> None:
    neural = game.until("a painted frame", lambda shown: shown[CLEAR_VIEW].std() > 25)
    game.xdotool("key", "Tab")
    # The garden's sky is bluer than red; the test pattern is not.
    reference = game.until(
        "the reference", lambda shown: float(shown[60:150, 345:770, 2].mean() - shown[60:150, 345:770, 0].mean()) > 60
    )
    assert _change(neural, reference, CLEAR_VIEW) > 20

    game.xdotool("key", "1")  # "make it night"
    night = game.until("night", lambda shown: shown[CLEAR_VIEW].mean() < 0.6 * reference[CLEAR_VIEW].mean())
    game.xdotool("key", "t")
    game.xdotool("type", "--delay", "60", "make it day")
    game.xdotool("key", "Return")
    game.until("day again", lambda shown: shown[CLEAR_VIEW].mean() > 1.4 * night[CLEAR_VIEW].mean())

    game.xdotool("key", "Tab")
    game.until("a line between two halves", lambda shown: bool((shown[100:400, 480] > 225).all()))


def test_records_and_quits(game: Game) -> None:
    game.xdotool("key", "F2")
    time.sleep(2.0)
    game.xdotool("key", "F2")
    game.xdotool("key", "Escape")
    assert game.process.wait(PATIENCE_S) == 0
    video = cv2.VideoCapture(str(game.out_dir / "recording-001.mp4"))
    assert 12 <= video.get(cv2.CAP_PROP_FRAME_COUNT) <= 120
    assert video.read()[1].shape == (576, 960, 3)
