"""A scripted server and the client that is tested: what it said, whether that was allowed, and what to say to it.

The scripts that client_scripts.py lists play on this. What a client must never do (client_stage.py) is checked on every
message; scripts look at the rest.
"""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Sequence
from typing import Final

import msgspec

from bridge.clock import Clock
from bridge.conformance.answers import PIXELS, valid_header, valid_welcome
from bridge.conformance.outcome import Failed, require
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.codec import Buffer, decode, encode
from bridge.protocol.messages import (
    TYPE_OF_STRUCT,
    Bye,
    Control,
    ErrorMessage,
    Hello,
    Message,
    Ping,
    Pong,
    Reset,
    Save,
    SceneUpdate,
    StatsRequest,
    Welcome,
)
from bridge.transport.sockets import Poller, RouterSocket, SendResult


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


ADDRESS_WORD: Final = "{address}"
_LEAVES_S: Final = 3.0  # how long a client that was told BYE may take to end its process


class ClientProcess:
    """command: what to start, `{address}` standing for `address`, which else is added. Without one the client is
    somebody else's and comes by itself: it counts as running."""

    def __init__(self, command: Sequence[str], address: str) -> None:
        self.started_here = bool(command)
        self._process = subprocess.Popen(_filled_in(command, address), stdin=subprocess.DEVNULL) if command else None

    @property
    def running(self) -> bool:
        return self._process is None or self._process.poll() is None

    @property
    def crashed(self) -> str:
        """How it ended by a fault of its own; empty when it did not."""
        status = self._process.poll() if self._process is not None else None
        return f"its process was ended by signal {-status}" if status is not None and status < 0 else ""

    def end(self) -> None:
        """Waits for it to end, and kills it when it does not."""
        if self._process is not None:
            try:
                self._process.wait(_LEAVES_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()


def _filled_in(command: Sequence[str], address: str) -> list[str]:
    if any(ADDRESS_WORD in word for word in command):
        return [word.replace(ADDRESS_WORD, address) for word in command]
    return [*command, address]


_FULL_US: Final = 1_000  # until another try to hand a message over


class ClientStage:
    """One connection of the client that is tested. bind: where it looks for a server.

    command: starts the client, `{address}` standing for the address; without one the client is somebody else's and
    comes by itself. patience_us: how long anything expected of the client may take.
    """

    def __init__(self, *, bind: str, command: Sequence[str], patience_us: int, clock: Clock) -> None:
        self.patience_us = patience_us
        self.controls: list[Control] = []
        self.pongs: list[int] = []
        self.byes: list[str] = []
        self.hellos: list[Hello] = []
        self.stray_controls = 0  # outside a session; some are under way while one ends
        self.credit = 2
        self.answering = True
        self._clock = clock
        self._peer: bytes | None = None
        self._rules = ControlRules()
        self._welcomed = False
        self._violation = ""
        self._open(bind)
        self._process = ClientProcess(command, self.address)

    def _open(self, bind: str) -> None:
        self._socket = RouterSocket(bind)
        self.address = self._socket.address
        self._poller = Poller()
        self._poller.watch(self._socket)

    # -- what the script says --------------------------------------------------------------------------------------

    def send(self, message: Message, pixels: Buffer | None = None) -> None:
        self._welcomed = self._welcomed and not isinstance(message, Bye)
        self.send_parts(encode(message, pixels))

    def send_parts(self, parts: Sequence[Buffer]) -> None:
        """Sends whatever this is, for certain: ZeroMQ learns late that a quick client made room in its short queue."""
        assert self._peer is not None, "a script speaks after the client did"
        deadline_us = self._clock.now_us() + self.patience_us
        while self._socket.send(self._peer, parts) is SendResult.FULL:
            require(self._clock.now_us() < deadline_us, f"the client read nothing for {self.patience_us / 1e6:g} s")
            self._clock.sleep_until_us(self._clock.now_us() + _FULL_US)

    def welcome(self, *, resumed: bool = False, last_seq: int = -1, ring: str = "") -> Welcome:
        """Opens the session. Returns: what was said."""
        hello = self.hellos[-1]
        self.credit = min(hello.credit, 2)
        self._welcomed = True
        self._rules.unread.clear()
        if not resumed:
            self._rules.new_session()
        said = valid_welcome(hello, credit=self.credit, resumed=resumed, last_seq=last_seq, ring=ring)
        self.send(said)
        return said

    def answer(self, control: Control) -> None:
        """Sends the FRAME for `control` while there is credit."""
        if len(self._rules.unread) < self.credit:
            self._rules.sent_frame(control.seq)
            self.send(valid_header(control), PIXELS)

    def answer_in_ring(self, control: Control, slot: int, sequence: int) -> None:
        """Sends a FRAME for `control` whose pixels lie in shared memory, and waits until it is named."""
        self.sent_frame(control.seq)
        header = msgspec.structs.replace(valid_header(control), ring_slot=slot, ring_sequence=sequence)
        self.send(header, b"")
        self.wait_until_named(control.seq)

    def sent_frame(self, seq: int) -> None:
        """A FRAME that the client may name from now on."""
        self._rules.sent_frame(seq)

    def refuse(self, code: ErrorCode, text: str, *, fatal: bool, seq: int = -1, in_reply_to: str = "") -> None:
        self.send(ErrorMessage(code=code, text=text, fatal=fatal, seq=seq, in_reply_to=in_reply_to))
        self._welcomed = self._welcomed and not fatal

    # -- what the client says --------------------------------------------------------------------------------------

    def wait_for(self, done: Callable[[], bool], what: str, *, within_us: int | None = None) -> None:
        """Plays on until `done()`. Raises: Failed: the client did not do `what` in time, or broke a rule."""
        limit_us = self.patience_us if within_us is None else within_us
        deadline_us = self._clock.now_us() + limit_us
        while not done():
            ended = not self.running
            if not self._turn(0 if ended else deadline_us):
                raise Failed(f"expected {what} within {limit_us / 1e6:g} s, got {self._heard()}")

    def play_on(self, for_us: int) -> list[Control]:
        """Plays for a while. Returns: the controls that came. Raises: Failed: the client broke a rule."""
        first = len(self.controls)
        deadline_us = self._clock.now_us() + for_us
        while self._turn(deadline_us):
            pass
        return self.controls[first:]

    def wait_for_hello(self) -> Hello:
        """The client's next HELLO. Raises: Failed: another message came before it, or none."""
        before = len(self.hellos)
        self.wait_for(lambda: len(self.hellos) > before, "HELLO")
        return self.hellos[-1]

    def open_session(self) -> Welcome:
        """HELLO, WELCOME, and the first control."""
        self.wait_for_hello()
        said = self.welcome()
        self.wait_for(lambda: bool(self.controls), "a CONTROL after WELCOME")
        return said

    def wait_for_controls(self, count: int) -> list[Control]:
        """The next `count` controls."""
        first = len(self.controls)
        self.wait_for(lambda: len(self.controls) >= first + count, f"{count} more CONTROLs")
        return self.controls[first:]

    def wait_until_named(self, seq: int) -> None:
        """Waits until the client says that it read frame `seq` or a newer one."""
        self.wait_for(
            lambda: self._rules.newest_named_seq >= seq,
            f"a CONTROL with frame_received_seq {seq} (the client must name the newest FRAME that it read)",
        )

    def wait_for_frame_after(self, seq: int) -> None:
        """Waits until a CONTROL after `seq` could be answered."""
        self.wait_for(lambda: self.newest_sent_seq > seq, "a CONTROL to answer")

    def ping(self, t_us: int) -> None:
        """Asks, and waits for PONG."""
        self.send(Ping(t_us=t_us))
        self.wait_for(lambda: t_us in self.pongs, f"PONG with t_us {t_us}")

    def restart(self) -> None:
        """The server goes and another one comes at the same address; it knows nobody."""
        self._poller.forget(self._socket)
        self._socket.close()
        self._open(self.address)
        self._peer = None
        self._welcomed = False

    @property
    def newest_seq(self) -> int:
        """The highest seq of a CONTROL so far."""
        return self._rules.highest_seq

    @property
    def newest_sent_seq(self) -> int:
        """Of the newest FRAME that the client may name, -1 before the first."""
        return self._rules.newest_sent_seq

    @property
    def over(self) -> bool:
        """True when the client ended the session: by BYE, or by ending its process."""
        return bool(self.byes) or not self.running

    @property
    def running(self) -> bool:
        """False when the client's process, started here, has ended."""
        return self._process.running

    @property
    def crashed(self) -> str:
        """How the client's process ended by a fault of its own; empty when it did not."""
        return self._process.crashed

    def close(self) -> None:
        """Ends the session, and the client's process where it was started here."""
        if self._peer is not None:
            self.send(Bye(reason="the script is over"))
        self._process.end()
        self._socket.close(linger_ms=100)

    # -- helpers ---------------------------------------------------------------------------------------------------

    def _turn(self, deadline_us: int) -> bool:
        """Handles what came, or waits for it. Returns: False when the time is over. Raises: Failed: a broken rule."""
        received = self._socket.receive()
        if received is None:
            left_us = deadline_us - self._clock.now_us()
            if left_us <= 0:
                return False
            self._poller.wait(min(left_us, 50_000))
            return True
        self._on_parts(*received)
        require(not self._violation, self._violation)
        return True

    def _on_parts(self, peer: bytes, parts: Sequence[Buffer]) -> None:
        try:
            message = decode(parts).message
        except RemoteProtocolError as exc:
            raise Failed(f"the client sent what must be refused: {exc}") from exc
        if peer != self._peer:
            self._on_stranger(peer, message)
            return
        match message:
            case Hello():
                self._welcomed = False
                self.hellos.append(message)
            case Control():
                self._on_control(message)
            case Ping():
                self.send(Pong(t_us=message.t_us))
            case Pong():
                self.pongs.append(message.t_us)
            case Bye():
                self.byes.append(message.reason)
                self._welcomed = False
            case SceneUpdate() | Reset() | Save() | StatsRequest():
                require(self._welcomed, f"{_name(message)} outside a session")
            case _:
                raise Failed(f"the client sent {_name(message)}, which only servers send")

    def _on_stranger(self, peer: bytes, message: Message) -> None:
        """A new connection. After `restart`, or where nobody started the client, it may think that it has a session."""
        if isinstance(message, Hello):
            self._peer = peer
            self.hellos.append(message)
            return
        require(
            not self._process.started_here or bool(self.hellos),
            f"the first message was {_name(message)}, expected HELLO",
        )
        if not isinstance(message, Bye | Pong):
            text = f"{_name(message)} while awaiting_hello: expected HELLO, BYE"
            refusal = ErrorMessage(code=ErrorCode.UNEXPECTED_MESSAGE, text=text, fatal=True)
            if isinstance(message, Control):
                refusal = msgspec.structs.replace(refusal, seq=message.seq, in_reply_to="CONTROL")
            self._socket.send(peer, encode(refusal))

    def _on_control(self, control: Control) -> None:
        if not self._welcomed:
            self.stray_controls += 1
            return
        if self._rules.is_of_before(control):
            return
        self._violation = self._violation or self._rules.take(control)
        self.controls.append(control)
        if self.answering:
            self.answer(control)

    def _heard(self) -> str:
        if not self.hellos:
            return "nothing" if self.running else f"nothing; {self.crashed or 'its process has ended'}"
        words = [f"{len(self.hellos)} HELLO", f"{len(self.controls)} CONTROL", f"{len(self.pongs)} PONG"]
        words += [f"frame_received_seq {self._rules.newest_named_seq} of {self.newest_sent_seq} sent"] * bool(
            self.controls
        )
        words += ["BYE"] * bool(self.byes) + [self.crashed or "its process has ended"] * (not self.running)
        return ", ".join(words)


def _name(message: Message) -> str:
    return TYPE_OF_STRUCT[type(message)].name
