"""What a session wants done: plain values.

session.py makes them, registry.py adds the peer, service/core.py carries them out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from bridge.geometry import Pose
from bridge.protocol.codec import Buffer
from bridge.protocol.messages import Control, Hello, Message, Reset, SceneUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """Hand this to the client. `pixels` belongs to a FrameHeader."""

    message: Message
    pixels: Buffer | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Opened:
    """The session is active. resumed: its engine session and counts are those of before."""

    hello: Hello
    resumed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ControlAccepted:
    """A control in our axes; answer it with `Session.answer` by `deadline_us`."""

    control: Control
    received_us: int
    deadline_us: int

    @property
    def pose(self) -> Pose:
        """Of its camera."""
        control = self.control
        return Pose(
            position=np.array(control.position, np.float64),
            rotation=np.array(control.rotation, np.float64),
            vertical_fov_deg=control.vertical_fov_deg,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneAccepted:
    """A scene update in our axes."""

    update: SceneUpdate


@dataclass(frozen=True, slots=True, kw_only=True)
class ResetAccepted:
    reset: Reset


@dataclass(frozen=True, slots=True, kw_only=True)
class SaveRequested:
    """Save the state under this name; answer with Send(message=Saved) or an ERROR."""

    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class StatsRequested:
    """Answer with Send(message=Stats), whose first fields `Session.ledger` knows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lost:
    """The client is gone; keep its engine session for the resume window, make nothing for it."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Closed:
    """The session is over; forget its engine session."""

    reason: str


Output: TypeAlias = (
    Send | Opened | ControlAccepted | SceneAccepted | ResetAccepted | SaveRequested | StatsRequested | Lost | Closed
)
