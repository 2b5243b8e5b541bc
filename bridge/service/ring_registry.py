"""The server's frame rings in shared memory, one for each session that asked for one.

A WELCOME gets the ring's name; a FRAME's pixels go into the ring if its control asked for that. Where there is no
ring (no memory, or the client did not open it) messages leave unchanged.
"""

from __future__ import annotations

import msgspec

from bridge.protocol.messages import FrameHeader, Welcome
from bridge.session.events import Send
from bridge.session.session import Session
from bridge.transport.frame_ring import FrameRingWriter, create_ring


class RingRegistry:
    """Not thread-safe; owned by the I/O loop."""

    def __init__(self) -> None:
        self._of_session: dict[str, FrameRingWriter] = {}

    def prepare(self, session: Session | None, send: Send) -> Send:
        """`send` as it goes out: with the name of a new ring, or with its pixels put there."""
        if session is None:
            return send
        if isinstance(send.message, Welcome):
            return self._open(session, send, send.message)
        ring = self._of_session.get(session.session_id)
        if ring is None or not isinstance(send.message, FrameHeader) or send.pixels is None:
            return send
        if not session.shared_frames or len(send.pixels) != ring.shape.pixel_bytes:
            return send
        slot, sequence = ring.write(send.pixels)
        message = msgspec.structs.replace(send.message, ring_slot=slot, ring_sequence=sequence)
        return Send(message=message, pixels=b"")

    def forget(self, session_id: str) -> None:
        """The session is over."""
        ring = self._of_session.pop(session_id, None)
        if ring is not None:
            ring.close()

    def close(self) -> None:
        """The server stops."""
        for session_id in list(self._of_session):
            self.forget(session_id)

    def _open(self, session: Session, send: Send, welcome: Welcome) -> Send:
        self.forget(session.session_id)  # a resumed session gets a new ring: its old client may still read the old one
        if not session.wants_ring:
            return send
        ring = create_ring(welcome.frame_width, welcome.frame_height, welcome.credit)
        if ring is None:
            return send
        self._of_session[session.session_id] = ring
        return Send(message=msgspec.structs.replace(welcome, ring=ring.name))
