"""The values that a game passes to the client and gets back, in its own axes and on its own clock."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from bridge.protocol.fields import Quat, Vec3
from bridge.protocol.messages import FrameHeader, Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Camera:
    """Where the game looks from, in the client's axes and units. rotation: camera-to-world unit quaternion xyzw."""

    position: Vec3
    rotation: Quat = (0.0, 0.0, 0.0, 1.0)
    vertical_fov_deg: float = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What one FRAME said, without its pixels. latency_ms: from sending the control to reading its answer."""

    header: FrameHeader
    latency_ms: float

    @property
    def seq(self) -> int:
        return self.header.seq

    @property
    def source(self) -> Source:
        return self.header.source

    @property
    def age_ms(self) -> float:
        """What a player feels: from sending the newest control that shaped the pixels to reading them, on one clock.

        A server that does not tell the control (protocol 1.0): its own figure plus the time on the wire.
        """
        if self.header.control_t_us >= 0:
            return (self.header.t_us - self.header.control_t_us) / 1e3 + self.latency_ms
        return self.header.control_age_us / 1e3 + max(0.0, self.latency_ms - self.header.server_us / 1e3)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame(Answer):
    """An answer to be shown. pixels: (H, W, 3) uint8 RGB, row 0 at the top, read-only, valid as long as it is kept."""

    pixels: NDArray[np.uint8]


@dataclass(slots=True, kw_only=True)
class Counts:
    """Every control sent is answered by a FRAME or (so far) unanswered; every answer has a source, and is in budget or
    late. A FRAME counts when it arrives, whether a newer one keeps it from being returned or not.

    refused: the unanswered controls that the server answered with an ERROR.
    """

    controls: int = 0
    refused: int = 0
    in_budget: int = 0
    late: int = 0
    by_source: dict[Source, int] = field(default_factory=lambda: dict.fromkeys(Source, 0))

    @property
    def answered(self) -> int:
        return sum(self.by_source.values())

    @property
    def unanswered(self) -> int:
        return self.controls - self.answered
