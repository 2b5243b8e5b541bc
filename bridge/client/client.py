"""The client SDK: what a game calls once a tick.

The socket is connection.py's, what messages mean protocol_core.py's.

with Client("tcp://127.0.0.1:5599", axes="unity") as client:
    while running:
        client.send(Camera(position=(0, 1.6, 0)), action="walk towards the tower")
        if (frame := client.poll()) is not None:
            show(frame.pixels)
"""

from __future__ import annotations

import importlib.util
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from bridge.client.connection import ClientConnection
from bridge.client.jitter_buffer import JitterBufferConfig
from bridge.client.pixels import reset_with
from bridge.client.protocol_core import ClientCore
from bridge.client.types import Answer, Camera, Counts, Frame
from bridge.clock import Clock, MonotonicClock
from bridge.config import DEFAULT_ADDRESS, is_this_machine
from bridge.errors import ConfigError
from bridge.protocol.codec import encode_checked
from bridge.protocol.messages import (
    VERSION_MAJOR,
    VERSION_MINOR,
    Axes,
    ErrorMessage,
    Event,
    Hello,
    Part,
    PartMove,
    PixelFormat,
    Reset,
    Save,
    SceneUpdate,
    Stats,
    StatsRequest,
    Welcome,
)
from bridge.transport.curve_keys import load_client_keys
from bridge.transport.frame_ring import open_ring


class Client:
    """A session with a service. Use it from one thread; `send` and `poll` never block.

    address: of `helios-bridge serve`. axes: "opengl", "opencv", "unity", "unreal" or "godot": everything sent and
    received is in them. units_per_metre: 100 for Unreal. budget_ms: how long after a control its answer is still
    useful. pixel_formats: best first, "rgb8" or "jpeg", which needs OpenCV; None: raw on this machine, else JPEG.
    credit: frames under way unread.
    shared_memory: read pixels from shared memory where server and client can; None: where the address is this machine.
    playout_ms: how long a frame that came fast waits so that all are shown evenly; 0 shows each when it comes, None
    follows the jitter of the way (and is 0 while there is none to see). max_speed, max_turn_deg_per_s: the fastest that
    the camera moves (client units a second) and turns, so that predictions keep to it; 0: not declared.
    curve: folder of this client's keys (`helios-bridge keys new --client NAME`), for a service that asks for them.
    A session that the server gave up after a silence or a lost connection is resumed without a word.

    Raises: ConnectTimeout: nobody answers there. SessionBusy: no room. RemoteProtocolError: refused (another version).
        ConfigError: an argument is wrong.
    """

    def __init__(
        self,
        address: str = DEFAULT_ADDRESS,
        *,
        axes: str | Axes = Axes.OPENGL,
        units_per_metre: float = 1.0,
        budget_ms: float = 16.667,
        tick_hz: float = 60.0,
        connect_timeout_s: float = 5.0,
        name: str = "python",
        pixel_formats: Sequence[str] | None = None,
        credit: int = 2,
        shared_memory: bool | None = None,
        playout_ms: float | None = 0.0,
        max_speed: float = 0.0,
        max_turn_deg_per_s: float = 0.0,
        curve: str | Path | None = None,
        clock: Clock | None = None,
    ) -> None:
        if axes not in list(Axes) and axes not in [known.value for known in Axes]:
            raise ConfigError(f"axes: got {axes!r}, expected one of {', '.join(known.value for known in Axes)}")
        self._clock = clock or MonotonicClock()
        self._core = ClientCore(
            Hello(
                version_major=VERSION_MAJOR,
                version_minor=VERSION_MINOR,
                client=name,
                axes=Axes(axes),
                units_per_metre=float(units_per_metre),
                pixel_formats=_formats_for(address) if pixel_formats is None else tuple(pixel_formats),
                credit=credit,
                budget_us=round(budget_ms * 1e3),
                tick_hz=float(tick_hz),
                shared_memory=is_this_machine(address) if shared_memory is None else shared_memory,
                max_speed=float(max_speed),
                max_turn_deg_per_s=float(max_turn_deg_per_s),
            ),
            open_ring,
            JitterBufferConfig(fixed_us=None if playout_ms is None else round(playout_ms * 1e3)),
        )
        encode_checked(self._core.hello())
        keys = load_client_keys(Path(curve)) if curve is not None else None
        self._connection = ClientConnection(address, keys, self._core, self._clock)
        self.welcome: Welcome = self._connection.open(connect_timeout_s)

    # -- every tick ------------------------------------------------------------------------------------------------

    def send(self, camera: Camera, action: str = "", events: Sequence[Event] = (), *, teleport: bool = False) -> int:
        """Sends one control and returns its seq. Never blocks.

        While the connection is broken controls are lost, and count as unanswered; it is made anew by itself.
        Raises: LocalProtocolError: a value is out of bounds (NaN, a quaternion not of length 1, a text too long).
            PeerLost: the service has been gone for seconds.
        """
        now_us = self._clock.now_us()
        control = self._core.control(camera, action, events, now_us, teleport=teleport)
        self._connection.send(control, now_us)
        return control.seq

    def poll(self) -> Frame | None:
        """The newest frame that was not returned yet, or None. Never blocks.

        Raises: SessionClosed, SessionBusy: the session is over, or could not be resumed. RemoteProtocolError: the
            server refused a scene, or ended the session for a mistake.
        """
        self._connection.read()
        return self._core.take_newest(self._clock.now_us())

    def receive(self, timeout_s: float = 1.0) -> Frame:
        """The newest frame that was not returned yet; waits for one. Raises: ReceiveTimeout, and what `poll` raises."""
        deadline_us = self._clock.now_us() + round(timeout_s * 1e6)
        while (frame := self.poll()) is None:
            self._connection.wait(deadline_us, f"no newer frame within {timeout_s:g} s")
        return frame

    def step(
        self,
        camera: Camera,
        action: str = "",
        events: Sequence[Event] = (),
        *,
        teleport: bool = False,
        timeout_s: float = 1.0,
    ) -> Frame:
        """Sends a control and waits for its own answer (or a newer one). A session that was lost in a silence before
        refuses it; when it is resumed the control is sent again."""
        deadline_us = self._clock.now_us() + round(timeout_s * 1e6)
        sent_in = -1
        while True:
            if sent_in != self._core.resumes:
                sent_in = self._core.resumes
                seq = self.send(camera, action, events, teleport=teleport)
            if (frame := self.poll()) is not None and frame.seq >= seq:
                return frame
            if sent_in == self._core.resumes:
                self._connection.wait(deadline_us, f"control {seq} was not answered within {timeout_s:g} s")

    # -- now and then ----------------------------------------------------------------------------------------------

    def set_scene(self, parts: Iterable[Part], prompt: str | None = None, seed: int | None = None) -> None:
        """Hands over the whole blockout; what was there before is gone. A refusal surfaces in the next `poll`."""
        self._connection.tell(SceneUpdate(prompt=prompt, seed=seed, replace=True, add=tuple(parts)))

    def update_scene(
        self,
        *,
        add: Iterable[Part] = (),
        move: Iterable[PartMove] = (),
        remove: Iterable[int] = (),
        prompt: str | None = None,
        seed: int | None = None,
    ) -> None:
        """Changes the blockout: adds (or replaces by id), moves and removes parts; or the prompt, or the seed of what
        is drawn from the next chunk on."""
        self._connection.tell(
            SceneUpdate(prompt=prompt, seed=seed, add=tuple(add), move=tuple(move), remove=tuple(remove))
        )

    def reset(
        self,
        seed: int | None = None,
        prompt: str | None = None,
        *,
        pictures: NDArray[np.uint8] | None = None,
        restore: str = "",
    ) -> None:
        """Starts the video anew in the same blockout.

        pictures: what it continues, (H, W, 3) RGB for an image or (N, H, W, 3) for a clip, oldest first, of any size;
        WELCOME's capabilities say `pictures` where a server takes them. restore: the name of a state that `save` kept.
        """
        if pictures is None:
            self._connection.tell(Reset(seed=seed, prompt=prompt, restore=restore))
        else:
            self._connection.tell(reset_with(pictures, seed=seed, prompt=prompt))

    def save(self, name: str, timeout_s: float = 5.0) -> int:
        """Keeps the session's state in one file on the server, as it is after its newest chunk; waits for it.

        Returns: the file's bytes. Raises: RemoteProtocolError: the server does not keep states, or could not.
        """
        self._core.saved = None
        self._connection.tell(Save(name=name))
        deadline_us = self._clock.now_us() + round(timeout_s * 1e6)
        while (saved := self._core.saved) is None or saved.name != name:  # an earlier one may come late
            self._connection.wait(deadline_us, f"no SAVED of {name!r} within {timeout_s:g} s")
            self._connection.read()
        return saved.size_bytes

    def stats(self, timeout_s: float = 1.0) -> Stats:
        """The server's ledger of this session; waits for it. Frames that arrive meanwhile are kept for `poll`."""
        self._core.stats = None
        self._connection.tell(StatsRequest())
        deadline_us = self._clock.now_us() + round(timeout_s * 1e6)
        while self._core.stats is None:
            self._connection.wait(deadline_us, f"no STATS within {timeout_s:g} s")
            self._connection.read()
        return self._core.stats

    @property
    def round_trip_ms(self) -> float | None:
        """The shortest way there and back of late, without what the server spent; None before the first answer."""
        best = self._core.clock_sync.best
        return None if best is None else best.round_trip_us / 1e3

    @property
    def clock_offset_ms(self) -> float | None:
        """The server's clock minus ours, exact to half of `round_trip_ms`; None before the first answer."""
        best = self._core.clock_sync.best
        return None if best is None else best.offset_us / 1e3

    @property
    def buffer_ms(self) -> float:
        """How long a frame that came the shortest way waits now before it is returned."""
        return self._core.playout.buffer_us / 1e3

    @property
    def counts(self) -> Counts:
        """This side's ledger: controls sent, answered (by source, in budget or late), refused and unanswered."""
        return self._core.counts

    def take_answers(self) -> list[Answer]:
        """Every FRAME read since the last call, oldest first, without pixels: for figures about all of them.

        `poll` returns the newest alone. At most 1024 are kept, the newest.
        """
        return self._core.take_answers()

    @property
    def errors(self) -> Sequence[ErrorMessage]:
        """The newest refusals that did not end the session, oldest first."""
        return tuple(self._core.errors)

    def close(self) -> None:
        """Says BYE and closes. May be called twice."""
        self._connection.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _formats_for(address: str) -> tuple[str, ...]:
    """Raw on this machine; across a network JPEG, where it can be decoded here."""
    far = not is_this_machine(address) and importlib.util.find_spec("cv2") is not None
    return (PixelFormat.JPEG.value, PixelFormat.RGB8.value) if far else (PixelFormat.RGB8.value,)
