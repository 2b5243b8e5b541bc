"""What a client must never do, whatever the script: checked on each CONTROL. No I/O."""

from __future__ import annotations

from bridge.protocol.messages import Control


class ControlRules:
    """`seq` and clock rise, credit is given for frames that were sent, and never taken back."""

    def __init__(self) -> None:
        self.highest_seq = -1
        self.newest_sent_seq = -1
        self.newest_named_seq = -1
        self.unread: list[int] = []
        self._newest_t_us = 0
        self._overlap = False

    def new_session(self) -> None:
        """Nothing was sent in it. What the client sent before it read WELCOME may still speak of the one before."""
        self._overlap = self.highest_seq >= 0
        self.highest_seq = self.newest_named_seq = self.newest_sent_seq = -1

    def sent_frame(self, seq: int) -> None:
        """A FRAME that the client may name from now on."""
        self.newest_sent_seq = seq
        self.unread.append(seq)

    def is_of_before(self, control: Control) -> bool:
        """Whether it was sent before the client knew of its new session."""
        self._overlap = self._overlap and control.frame_received_seq >= 0
        return self._overlap

    def take(self, control: Control) -> str:
        """Takes a CONTROL of this session in. Returns: what is wrong with it, empty for nothing."""
        named, wrong = control.frame_received_seq, ""
        if control.seq <= self.highest_seq:
            wrong = f"seq {control.seq} after {self.highest_seq}: it must rise"
        elif named > self.newest_sent_seq:
            wrong = f"frame_received_seq {named}, but the newest FRAME sent was {self.newest_sent_seq}"
        elif named < self.newest_named_seq:
            wrong = f"frame_received_seq {named} after {self.newest_named_seq}: it must not fall"
        elif control.t_us < self._newest_t_us:
            wrong = f"t_us {control.t_us} after {self._newest_t_us}: a monotonic clock does not fall"
        self.highest_seq, self.newest_named_seq, self._newest_t_us = control.seq, named, control.t_us
        self.unread = [seq for seq in self.unread if seq > named]
        return wrong
