"""Orders inbound messages: big ones after all small ones, each peer's in the order in which it sent them.

A full SCENE takes 0.1 s of the server's thread to decode. If it were handled in turn with controls, one client's
SCENEs would delay everyone's controls. No I/O; messages are not decoded here.
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Sequence

from bridge.protocol.codec import Buffer

BIG_BYTES = 64 * 1024  # a SCENE of 300 parts, 6 ms
MOST_HELD_BYTES = 16 * 2**20  # of one peer: four of the largest SCENEs
MOST_HELD = 256  # messages of one peer

Parts = Sequence[Buffer]


class Admission(enum.Enum):
    """What becomes of a message: handled now, kept for a later `take`, or one too many of its peer's."""

    NOW = "now"
    LATER = "later"
    TOO_MANY = "too_many"


class InboundQueue:
    """The messages kept for later. Not thread-safe."""

    def __init__(self) -> None:
        self._held: dict[bytes, deque[Parts]] = {}

    def __len__(self) -> int:
        """How many peers have something waiting."""
        return len(self._held)

    def admit(self, peer: bytes, parts: Parts) -> Admission:
        """Keeps a big message, and every message of a peer that has one waiting."""
        held = self._held.get(peer)
        if held is None:
            if _size_bytes(parts) <= BIG_BYTES:
                return Admission.NOW
            held = self._held[peer] = deque()
        elif len(held) >= MOST_HELD or sum(map(_size_bytes, held)) + _size_bytes(parts) > MOST_HELD_BYTES:
            return Admission.TOO_MANY
        held.append(parts)
        return Admission.LATER

    def take(self) -> tuple[bytes, list[Parts]]:
        """What to handle next, if there is anything: a peer, its big message, and the small ones behind it.

        Peers take turns.
        """
        peer, held = next(iter(self._held.items()))
        del self._held[peer]
        taken = [held.popleft()]
        while held and _size_bytes(held[0]) <= BIG_BYTES:
            taken.append(held.popleft())
        if held:
            self._held[peer] = held
        return peer, taken


def _size_bytes(parts: Parts) -> int:
    return sum(map(len, parts))
