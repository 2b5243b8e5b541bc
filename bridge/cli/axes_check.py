"""`helios-bridge doctor --axes`: plays known turns in every engine's axes and prints what must be visible.

The numbers come from each engine's documentation, not from axes.py, so that a wrong conversion shows. What is in the
middle, at the top and at the right edge of `labelled_room`'s picture tells a pose from its mirror image.
`helios-bridge serve --model axes` shows the same room to an engine under development.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from bridge.backends.labelled_room import wall_at
from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.client.client import Client
from bridge.client.types import Camera, Frame
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.errors import ReceiveTimeout
from bridge.protocol.fields import Quat
from bridge.protocol.messages import Axes, Source

_S: Final = math.sqrt(0.5)
_FOV_DEG: Final = 120.0  # wide enough that the neighbouring walls show at the edges
_TICK_US: Final = 16_667
_TIMEOUT_US: Final = 10_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Turn:
    """A known turn: what to see in the picture's middle, at its top and at its right edge."""

    name: str
    middle: str
    top: str
    right: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What came of one turn in one engine's axes. said: how the engine's programmer writes the turn."""

    axes: Axes
    turn: Turn
    said: str
    sent: Quat
    walls: tuple[str, str, str]

    @property
    def is_right(self) -> bool:
        return self.walls == (self.turn.middle, self.turn.top, self.turn.right)


TURNS: Final = (
    Turn(name="unturned", middle="FRONT", top="UP", right="RIGHT"),
    Turn(name="turned right by 90", middle="RIGHT", top="UP", right="BACK"),
    Turn(name="turned left by 90", middle="LEFT", top="UP", right="FRONT"),
    Turn(name="looking up by 90", middle="UP", top="BACK", right="RIGHT"),
    Turn(name="looking down by 90", middle="DOWN", top="FRONT", right="RIGHT"),
    Turn(name="leaning right by 90", middle="FRONT", top="RIGHT", right="DOWN"),
    Turn(name="right by 90, then up by 90", middle="UP", top="LEFT", right="BACK"),
)

# Half a right angle is 0.7071 = sin 45 = cos 45. Combined: heading first, then the turned camera's own right axis.
_UNITY: Final = (
    ("Quaternion.identity", (0.0, 0.0, 0.0, 1.0)),
    ("Quaternion.Euler(0, 90, 0)", (0.0, _S, 0.0, _S)),
    ("Quaternion.Euler(0, -90, 0)", (0.0, -_S, 0.0, _S)),
    ("Quaternion.Euler(-90, 0, 0)", (-_S, 0.0, 0.0, _S)),
    ("Quaternion.Euler(90, 0, 0)", (_S, 0.0, 0.0, _S)),
    ("Quaternion.Euler(0, 0, -90)", (0.0, 0.0, -_S, _S)),
    ("Quaternion.Euler(-90, 90, 0)", (-0.5, 0.5, 0.5, 0.5)),
)
_UNREAL: Final = (
    ("FRotator(0, 0, 0)", (0.0, 0.0, 0.0, 1.0)),
    ("FRotator(0, 90, 0), yaw", (0.0, 0.0, _S, _S)),
    ("FRotator(0, -90, 0), yaw", (0.0, 0.0, -_S, _S)),
    ("FRotator(90, 0, 0), pitch", (0.0, -_S, 0.0, _S)),
    ("FRotator(-90, 0, 0), pitch", (0.0, _S, 0.0, _S)),
    ("FRotator(0, 0, 90), roll", (-_S, 0.0, 0.0, _S)),
    ("FRotator(90, 90, 0)", (0.5, -0.5, 0.5, 0.5)),
)
_GODOT: Final = (
    ("rotation_degrees (0, 0, 0)", (0.0, 0.0, 0.0, 1.0)),
    ("rotation_degrees (0, -90, 0)", (0.0, -_S, 0.0, _S)),
    ("rotation_degrees (0, 90, 0)", (0.0, _S, 0.0, _S)),
    ("rotation_degrees (90, 0, 0)", (_S, 0.0, 0.0, _S)),
    ("rotation_degrees (-90, 0, 0)", (-_S, 0.0, 0.0, _S)),
    ("rotation_degrees (0, 0, -90)", (0.0, 0.0, -_S, _S)),
    ("rotation_degrees (90, -90, 0)", (0.5, -0.5, 0.5, 0.5)),
)
_OPENCV: Final = (
    ("no rotation", (0.0, 0.0, 0.0, 1.0)),
    ("about y (down) by 90", (0.0, _S, 0.0, _S)),
    ("about y (down) by -90", (0.0, -_S, 0.0, _S)),
    ("about x (right) by 90", (_S, 0.0, 0.0, _S)),
    ("about x (right) by -90", (-_S, 0.0, 0.0, _S)),
    ("about z (forward) by 90", (0.0, 0.0, _S, _S)),
    ("about x by 90, then y by 90", (0.5, 0.5, -0.5, 0.5)),
)
_OPENGL: Final = tuple((said.replace("rotation_degrees", "about x, y, z by"), sent) for said, sent in _GODOT)
GOLDEN: Final[dict[Axes, tuple[tuple[str, Quat], ...]]] = {
    Axes.OPENGL: _OPENGL,
    Axes.OPENCV: _OPENCV,
    Axes.UNITY: _UNITY,
    Axes.UNREAL: _UNREAL,
    Axes.GODOT: _GODOT,
}


def check_axes() -> int:
    """Prints a line for each engine and turn. Returns 0 when every turn shows what it must, else 1."""
    print(
        "what must be seen; `helios-bridge serve --model axes` shows an engine the room, with the walls' names on them"
    )
    wrong = 0
    with LocalService(ServeConfig(bind=FREE_PORT, model="axes", max_sessions=1)) as service:
        for axes in Axes:
            for seen in play_turns(service.address, axes):
                print(_line(seen), flush=True)
                wrong += not seen.is_right
    print(f"{wrong} turns look wrong" if wrong else "every turn looks as it must")
    return int(wrong > 0)


def play_turns(address: str, axes: Axes) -> Iterator[Seen]:
    """Plays every turn through a real client in `axes`, and looks at the pictures."""
    units = 100.0 if axes is Axes.UNREAL else 1.0
    with Client(address, axes=axes, units_per_metre=units, name="doctor --axes", budget_ms=100.0) as client:
        for turn, (said, sent) in zip(TURNS, GOLDEN[axes], strict=True):
            pixels = _frame_of(client, sent).pixels
            height, width, _ = pixels.shape
            walls = (
                wall_at(pixels, width // 2, height // 2),
                wall_at(pixels, width // 2, height // 24),
                wall_at(pixels, width - width // 24, height // 2),
            )
            yield Seen(axes=axes, turn=turn, said=said, sent=sent, walls=walls)


def _frame_of(client: Client, rotation: Quat) -> Frame:
    """A generated frame that its header says was made for this camera."""
    camera = Camera(position=(0.0, 0.0, 0.0), rotation=rotation, vertical_fov_deg=_FOV_DEG)
    clock = MonotonicClock()
    deadline_us = clock.now_us() + _TIMEOUT_US
    jumped = True
    while (now_us := clock.now_us()) < deadline_us:
        frame = client.step(camera, teleport=jumped, timeout_s=5.0)
        jumped = False
        made_for = np.abs(np.dot(frame.header.rotation, rotation)) > 1 - 1e-6
        if frame.source is Source.GENERATED and made_for:
            return frame
        clock.sleep_until_us(now_us + _TICK_US)
    raise ReceiveTimeout(f"no frame was generated for rotation {rotation} within {_TIMEOUT_US / 1e6:g} s")


def _line(seen: Seen) -> str:
    sent = ", ".join(f"{value:7.4f}" for value in seen.sent)
    turn = seen.turn
    expected = f"{turn.middle} in the middle, {turn.top} at the top, {turn.right} at the right"
    verdict = "ok" if seen.is_right else f"WRONG: saw {', '.join(seen.walls)}"
    return f"{seen.axes.value:7} {turn.name:27} {seen.said:30} ({sent})  {expected:52} {verdict}"
