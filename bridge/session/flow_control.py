"""Credit: how many frames may be under way to a client, and in which account each of its controls ends.

**The problem.** A game sends a control each tick and expects a frame for it. If its network or its loop slows down,
frames that are sent regardless pile up in buffers, and every later frame is as old as the pile is long. TCP does not
help: it delivers everything, late.

**Credit.** HELLO names a number of frames, `credit`, that the client lets be under way to it unread. The server sends
a frame only while fewer than that are unread. Each CONTROL names in `frame_received_seq` the newest frame that the
client has read; that frame and all before it are read, and their credit is free again. No message is spent on it.

**Without credit** a control waits, and the next control takes its place: once there is credit, the newest is answered,
with a frame for the camera it names. So a slow client gets fewer frames, never older ones. When several controls
arrive together, as many of them wait as there is credit for, the newest ones.

**Accounts.** Every control ends in exactly one `Account`, and at every moment the counts add up to the controls
received (`Stats` names the sums; tests hold them after each call). An answer counts by its source if it met the
deadline, else as late. A control whose place was taken counts as *overtaken* if a newer one was answered by its own
deadline: the player saw something newer in time. Otherwise it is *superseded*, a real loss. Only the next answer tells
which, so replaced controls are remembered until then.

**Taking back.** The transport may refuse a frame: the client's queue is full, or the client is gone. `take_back`
undoes the answer: the control counts as not handed over, and its credit is free again.

Pure bookkeeping by sequence numbers: no clock, no socket. session.py owns one `FlowControl` a client.
"""

from __future__ import annotations

import enum
from collections import deque
from dataclasses import dataclass

from bridge.protocol.messages import FrameHeader, Source, Stats


class Account(enum.Enum):
    """Where a control ends, each in exactly one. The first three were answered by their deadline."""

    GENERATED = "generated"
    REPROJECTED = "reprojected"
    HELD = "held"
    LATE = "late"
    OVERTAKEN = "dropped: overtaken"  # a newer control was answered before this one's deadline
    SUPERSEDED = "dropped: superseded"  # a newer control took its place, and none was answered by its deadline
    NOT_HANDED_OVER = "dropped: not handed over"  # the transport had no room, or the client was gone
    CLIENT_LOST = "dropped: client lost"  # it waited for credit when the client went
    REFUSED = "refused"
    WAITING = "waiting"


_ON_TIME = {source: Account(source.value) for source in Source}
_MOST_REPLACED = 256  # whose deadline may still be met; older ones stay superseded


@dataclass(frozen=True, slots=True)
class _Waiting:
    seq: int
    deadline_us: int


class FlowControl:
    """Not thread-safe. The sums named in `Stats` hold after every call."""

    def __init__(self) -> None:
        self.credit = 1
        self.newest_sent_seq = -1
        self._unread: deque[int] = deque()
        self._waiting: deque[_Waiting] = deque()  # oldest first
        self._replaced: deque[_Waiting] = deque(maxlen=_MOST_REPLACED)  # since the newest answer, oldest first
        self._overtaken: list[_Waiting] = []  # by the newest answer
        self._late = 0
        self._by_source = dict.fromkeys(Source, 0)
        self._ended = dict.fromkeys(Account, 0)

    @property
    def has_credit(self) -> bool:
        return len(self._unread) < self.credit

    def accept(self, seq: int, deadline_us: int) -> None:
        """A control that wants an answer. The oldest of those that still wait is dropped when there is no credit for
        all: as overtaken if a newer one is answered by its deadline, which only the next answer tells."""
        self._waiting.append(_Waiting(seq, deadline_us))
        while len(self._waiting) > max(1, self.credit - len(self._unread)):
            self._replace_oldest()

    def awaits(self, seq: int) -> bool:
        """Whether a frame for this control could be sent now."""
        return self.has_credit and any(waiting.seq == seq for waiting in self._waiting)

    def refuse(self) -> None:
        """A control that an ERROR answers."""
        self._ended[Account.REFUSED] += 1

    def acknowledge(self, frame_received_seq: int) -> None:
        """The client has read this frame, and with it all before."""
        while self._unread and self._unread[0] <= frame_received_seq:
            self._unread.popleft()

    def answer(self, header: FrameHeader) -> bool:
        """Whether the frame with this header may be sent now; it counts as sent then.

        False without credit, and when the control `header.seq` does not wait (any more). Older ones wait no more then.
        """
        if not self.awaits(header.seq):
            return False
        while self._waiting[0].seq != header.seq:
            self._replace_oldest()
        self._waiting.popleft()
        self._unread.append(header.seq)
        self.newest_sent_seq = header.seq
        self._by_source[header.source] += 1
        self._late += not header.deadline_met
        self._ended[_account_of(header)] += 1
        self._overtaken = [replaced for replaced in self._replaced if header.server_t_us <= replaced.deadline_us]
        self._replaced.clear()
        self._move(len(self._overtaken), Account.SUPERSEDED, Account.OVERTAKEN)
        return True

    def take_back(self, header: FrameHeader) -> None:
        """A frame that the transport could not hand over: it counts as dropped, and its credit is free again."""
        if self._unread and self._unread[-1] == header.seq:
            self._unread.pop()
            self._by_source[header.source] -= 1
            self._late -= not header.deadline_met
            self._move(1, _account_of(header), Account.NOT_HANDED_OVER)
            self._move(len(self._overtaken), Account.OVERTAKEN, Account.SUPERSEDED)
            self._replaced.extend(self._overtaken)
            self._overtaken = []

    def drop_all(self) -> None:
        """The client is gone: nothing waits any more and nothing is under way."""
        self._ended[Account.CLIENT_LOST] += len(self._waiting)
        self._waiting.clear()
        self._replaced.clear()
        self._unread.clear()

    @property
    def accounts(self) -> dict[Account, int]:
        """Every control received, in the account that it ended in; WAITING holds those that have not ended."""
        return {**self._ended, Account.WAITING: len(self._waiting)}

    @property
    def ledger(self) -> Stats:
        accounts = self.accounts
        answered = sum(self._by_source.values())
        ended = sum(self._ended.values())
        on_time = sum(accounts[account] for account in (*_ON_TIME.values(), Account.OVERTAKEN))
        return Stats(
            controls=sum(accounts.values()),
            answered=answered,
            generated=self._by_source[Source.GENERATED],
            reprojected=self._by_source[Source.REPROJECTED],
            held=self._by_source[Source.HELD],
            late=self._late,
            dropped=sum(accounts[account] for account in _DROPPED),
            refused=accounts[Account.REFUSED],
            waiting=accounts[Account.WAITING],
            accounts={account.value: count for account, count in accounts.items()},
            delivery=on_time / ended if ended else 0.0,
        )

    def _replace_oldest(self) -> None:
        self._replaced.append(self._waiting.popleft())
        self._ended[Account.SUPERSEDED] += 1

    def _move(self, count: int, account: Account, to: Account) -> None:
        self._ended[account] -= count
        self._ended[to] += count


_DROPPED = (Account.OVERTAKEN, Account.SUPERSEDED, Account.NOT_HANDED_OVER, Account.CLIENT_LOST)


def _account_of(header: FrameHeader) -> Account:
    return _ON_TIME[header.source] if header.deadline_met else Account.LATE
