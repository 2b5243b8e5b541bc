"""The server: the socket, the engine's process and the service core, in one thread.

All decisions are the core's (core.py). This loop waits until something happens, brings it to the core, and sends what
the core yields. Nothing else here blocks.
"""

from __future__ import annotations

import dataclasses
import logging
import threading
from collections.abc import Callable, Iterable

from bridge.clock import Clock, MonotonicClock
from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo
from bridge.engine.pipe import EngineConfig
from bridge.engine.supervisor import EngineGivenUp, EngineSupervisor, EngineUp
from bridge.protocol.codec import encode
from bridge.service.core import ServiceCore
from bridge.service.ring_registry import RingRegistry
from bridge.session.events import Send
from bridge.session.registry import Outgoing
from bridge.transport.curve_keys import load_server_keys
from bridge.transport.sockets import Poller, RouterSocket, SendResult

_TURN_US = 10_000  # of small messages; then the engine and the clock get a look, however busy the socket is
_CHUNKS_A_SESSION = 3
_LONGEST_WAIT_US = 1_000_000
_BYE_MS = 100  # how long stopping waits for BYE to leave; on a live connection it is well under one

_log = logging.getLogger(__name__)


class Server:
    """Serves until `stop`. All methods but `stop` belong to the thread that calls `run`.

    Attributes:
        address: the bound address.
        info: what the engine can do; set from `on_ready` on.

    Raises:
        ConfigError: the address is not one, or it is taken.
    """

    def __init__(self, config: ServeConfig, engine: EngineConfig, *, clock: Clock | None = None) -> None:
        self._config = config
        self._clock = clock or MonotonicClock()
        self._router = RouterSocket(config.bind, load_server_keys(config.curve) if config.curve is not None else None)
        self.address = self._router.address
        self._stopping = threading.Event()
        # A session holds the chunk being shown, the next one, and the one being made.
        slots = max(engine.slots, _CHUNKS_A_SESSION * config.max_sessions)
        self._supervisor = EngineSupervisor(dataclasses.replace(engine, slots=slots), self._clock)
        self._rings = RingRegistry()
        self._core: ServiceCore | None = None

    def stop(self) -> None:
        """Makes `run` return soon; for other threads and signal handlers."""
        self._stopping.set()
        self._supervisor.wake()

    def run(self, on_ready: Callable[[str], None] | None = None) -> None:
        """Serves.

        Args:
            on_ready: gets the bound address as soon as clients are answered.

        Raises:
            EngineError, ConfigError: the engine cannot be had, or never came back.
        """
        try:
            info = self._wait_for_engine()
            if info is not None:
                self.info = info
                self._core = core = ServiceCore(self._config, info, self._supervisor, self._clock)
                if on_ready is not None:
                    on_ready(self.address)
                self._serve(core)
                self._send_all(core, core.close("the server stops"))
        finally:
            if self._core is not None:
                self._core.release()
            # The engine first: the moment it takes is the clients' to read BYE, which a closed connection may swallow.
            self._supervisor.stop()
            self._rings.close()
            self._router.close(linger_ms=_BYE_MS)

    def _wait_for_engine(self) -> EngineInfo | None:
        """The engine's info, or None when `stop` came first. Clients that call meanwhile wait in the socket."""
        poller = Poller()
        poller.watch(self._supervisor.fileno())
        while not self._stopping.is_set():
            poller.wait(self._wait_us(self._supervisor.next_timeout_us))
            for event in self._supervisor.poll():
                if isinstance(event, EngineGivenUp):
                    raise event.error
                if isinstance(event, EngineUp):
                    return event.info
        return None

    def _serve(self, core: ServiceCore) -> None:
        poller = Poller()
        poller.watch(self._router)
        poller.watch(self._supervisor.fileno())
        while not self._stopping.is_set():
            poller.wait(self._wait_us(core.next_wakeup_us, self._supervisor.next_timeout_us))
            self._receive(core)
            for event in self._supervisor.poll():
                if isinstance(event, EngineGivenUp):
                    self._send_all(core, core.close(f"the engine failed: {event.error}"[:512]))
                    raise event.error
                self._send_all(core, core.on_engine_event(event))
            self._send_all(core, core.tick())
            core.start_chunks()

    def _receive(self, core: ServiceCore) -> None:
        """Takes in the messages that wait, as many as fit in a turn, and answers the controls among them."""
        turn_ends_us = self._clock.now_us() + _TURN_US
        while (received := self._router.receive()) is not None:
            peer, parts = received
            self._send_all(core, core.receive(peer, parts))
            if self._clock.now_us() >= turn_ends_us:
                break
        self._send_all(core, core.answer_controls())
        self._send_all(core, core.receive_big(socket_is_empty=received is None))

    def _send_all(self, core: ServiceCore, outgoing: Iterable[Outgoing]) -> None:
        for each in outgoing:
            if not isinstance(each.output, Send):
                assert each.session is not None, "a session is closed"
                self._rings.forget(each.session.session_id)
                continue
            send = self._rings.prepare(each.session, each.output)
            try:
                result = self._router.send(each.peer, encode(send.message, send.pixels))
            except Exception:
                self._send_all(core, core.fail(each.peer, "send"))
                continue
            if result is not SendResult.SENT:
                self._send_all(core, core.undeliverable(each, peer_is_gone=result is SendResult.GONE))

    def _wait_us(self, *moments_us: int | None) -> int:
        now_us = self._clock.now_us()
        waits_us = [moment_us - now_us for moment_us in moments_us if moment_us is not None]
        return max(0, min([*waits_us, _LONGEST_WAIT_US]))
