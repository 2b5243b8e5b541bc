"""What a client told a session that was lost just then: SCENE, RESET, SAVE and STATS_REQUEST have no acknowledgement.

A game that loads for some seconds, silent, finds its session given up; the level that it hands over next is refused
with `unexpected_message`, and would be gone although the session is resumed. No I/O.
"""

from __future__ import annotations

from bridge.messages import TYPE_OF_STRUCT, Message


class Unheard:
    """Messages that no later answer proves to have been heard. Not thread-safe."""

    def __init__(self) -> None:
        self._sent: list[tuple[int, Message]] = []  # the control that was next then, and the message
        self._refused: list[Message] = []

    def sent(self, message: Message, next_seq: int) -> None:
        """`message` left, in front of the control `next_seq`."""
        self._sent.append((next_seq, message))

    def answered(self, seq: int) -> None:
        """The control `seq` was: messages keep their order, so what left before it has been heard."""
        if self._sent:
            self._sent = [each for each in self._sent if each[0] > seq]

    def refused(self, name: str) -> None:
        """A session that was lost refused a message of this type: the first that is not known to have been heard."""
        for index, (_, message) in enumerate(self._sent):
            if TYPE_OF_STRUCT[type(message)].name == name:
                del self._sent[index]
                self._refused.append(message)
                return

    def take_refused(self) -> list[Message]:
        """What a resumed session must be told again, in order; once."""
        refused, self._refused = self._refused, []
        return refused
