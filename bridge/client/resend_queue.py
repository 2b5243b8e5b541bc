"""Messages to repeat when a lost session is resumed: SCENE, RESET, SAVE and STATS_REQUEST have no acknowledgement.

A game that loads for some seconds without a message finds its session expired. The level that it sends next is
refused with `unexpected_message`, and would be lost although the session is resumed. No I/O.
"""

from __future__ import annotations

from collections import deque
from typing import Final

from bridge.protocol.messages import TYPE_OF_STRUCT, Message, MessageType

_TOLD: Final = frozenset(
    kind.name for kind in (MessageType.SCENE, MessageType.RESET, MessageType.SAVE, MessageType.STATS_REQUEST)
)


class ResendQueue:
    """Messages that no later answer proves to have been heard; the newest `most` of them. Not thread-safe."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._sent: deque[tuple[int, Message]] = deque()  # the control that was next then, and the message
        self._before_hello = 0  # how many of those left before the newest HELLO
        self._names: deque[str] = deque(maxlen=most)

    def __len__(self) -> int:
        return len(self._sent)

    def sent(self, message: Message, next_seq: int) -> None:
        """`message` left, in front of the control `next_seq`."""
        self._sent.append((next_seq, message))
        if len(self._sent) > self._most:
            self._forget_oldest()

    def answered(self, seq: int) -> None:
        """The control `seq` was: messages keep their order, so what left before it has been heard."""
        while self._sent and self._sent[0][0] <= seq:
            self._forget_oldest()

    def refused(self, name: str) -> None:
        """A session that was lost refused a message of this type."""
        if name in _TOLD:
            self._names.append(name)

    def resuming(self) -> None:
        """HELLO leaves. The session takes what follows; what it refuses are the last messages in front."""
        self._before_hello = len(self._sent)

    def take_refused(self) -> list[Message]:
        """What a resumed session must be told again, in order; once."""
        refused: list[Message] = []
        for at in reversed(range(self._before_hello)):
            message = self._sent[at][1]
            if self._names and TYPE_OF_STRUCT[type(message)].name == self._names[-1]:
                self._names.pop()
                refused.append(message)
                del self._sent[at]
        self._names.clear()
        self._before_hello = 0
        return refused[::-1]

    def _forget_oldest(self) -> None:
        self._sent.popleft()
        self._before_hello = max(0, self._before_hello - 1)
