"""Which frames go to one client, and the account of every control: credit, the latest-frame slot, the ledger.

Pure bookkeeping in our axes; session.py owns one of these a client. The rule: at most `credit` frames are under way
unread; a newer answer replaces the one that waits, so a slow client gets fewer frames, never older ones.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Final

import msgspec

from bridge.codec import Buffer
from bridge.messages import FrameHeader, Source, Stats

MAX_WAITING: Final = 256  # controls not answered yet; beyond it the oldest is dropped


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFrame:
    """A frame to send now."""

    header: FrameHeader
    pixels: Buffer


@dataclass(frozen=True, slots=True, kw_only=True)
class _Slot:
    frame: ReadyFrame
    since_us: int


class Delivery:
    """Not thread-safe. The sums named in `Stats` hold after every call."""

    def __init__(self) -> None:
        self.credit = 1
        self.budget_us = 0
        self.newest_sent_seq = -1
        self._unread: deque[int] = deque()
        self._waiting: deque[int] = deque()
        self._slot: _Slot | None = None
        self._controls = 0
        self._late = 0
        self._dropped = 0
        self._refused = 0
        self._by_source = dict.fromkeys(Source, 0)

    @property
    def has_credit(self) -> bool:
        return len(self._unread) < self.credit

    def accept(self, seq: int) -> None:
        """A control that wants an answer."""
        self._controls += 1
        self._waiting.append(seq)
        if len(self._waiting) > MAX_WAITING:
            self._waiting.popleft()
            self._dropped += 1

    def refuse(self) -> None:
        """A control that an ERROR answers."""
        self._controls += 1
        self._refused += 1

    def acknowledge(self, frame_received_seq: int) -> None:
        """The client has read this frame, and with it all before."""
        while self._unread and self._unread[0] <= frame_received_seq:
            self._unread.popleft()

    def offer(self, frame: ReadyFrame, now_us: int) -> ReadyFrame | None:
        """Answers the control `frame.header.seq`; older ones still waiting are dropped.

        Returns what to send now: the frame, or None when it waits in the slot for credit. A control that waits no more
        (dropped, or from before a resume) is ignored.
        """
        seq = frame.header.seq
        if seq not in self._waiting:
            return None
        while self._waiting.popleft() != seq:
            self._dropped += 1
        if self._slot is not None:
            self._slot = None
            self._dropped += 1
        if not self.has_credit:
            self._slot = _Slot(frame=frame, since_us=now_us)
            return None
        return self._sent(frame)

    def release(self, now_us: int) -> ReadyFrame | None:
        """The frame in the slot when there is credit for it now, its header aged by the time it waited."""
        slot = self._slot
        if slot is None or not self.has_credit:
            return None
        self._slot = None
        header = slot.frame.header
        waited_us = max(0, now_us - slot.since_us)
        server_us = header.server_us + waited_us
        aged = msgspec.structs.replace(
            header,
            server_us=server_us,
            control_age_us=header.control_age_us + waited_us,
            deadline_met=header.deadline_met and server_us <= self.budget_us,
        )
        return self._sent(ReadyFrame(header=aged, pixels=slot.frame.pixels))

    def take_back(self, header: FrameHeader) -> None:
        """A frame that the transport could not hand over: it counts as dropped, and its credit is free again."""
        if self._unread and self._unread[-1] == header.seq:
            self._unread.pop()
            self._by_source[header.source] -= 1
            self._late -= not header.deadline_met
            self._dropped += 1

    def drop_all(self) -> None:
        """The client is gone: nothing waits any more and nothing is under way."""
        self._dropped += len(self._waiting) + (self._slot is not None)
        self._waiting.clear()
        self._unread.clear()
        self._slot = None

    @property
    def ledger(self) -> Stats:
        return Stats(
            controls=self._controls,
            answered=sum(self._by_source.values()),
            generated=self._by_source[Source.GENERATED],
            reprojected=self._by_source[Source.REPROJECTED],
            held=self._by_source[Source.HELD],
            late=self._late,
            dropped=self._dropped,
            refused=self._refused,
            waiting=len(self._waiting) + (self._slot is not None),
        )

    def _sent(self, frame: ReadyFrame) -> ReadyFrame:
        self._unread.append(frame.header.seq)
        self.newest_sent_seq = frame.header.seq
        self._by_source[frame.header.source] += 1
        self._late += not frame.header.deadline_met
        return frame
