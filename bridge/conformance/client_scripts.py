"""Every script for clients, in the order in which they are played and in which the protocol document names them.

Each plays a server on a stage of its own and returns what it saw.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.conformance import client_endings, client_plays
from bridge.conformance.client_stage import ClientStage

SCRIPTS: Final[dict[str, Callable[[ClientStage], str]]] = {
    "handshake": client_plays.handshake,
    "controls": client_plays.controls,
    "credit": client_plays.credit,
    "ping": client_plays.ping,
    "stall": client_plays.stall,
    "burst": client_plays.burst,
    "old-frame": client_plays.old_frame,
    "unsent-frame": client_plays.unsent_frame,
    "sources": client_plays.sources,
    "unknown-fields": client_plays.unknown_fields,
    "errors": client_plays.errors,
    "busy": client_endings.busy,
    "version": client_endings.version,
    "fatal-error": client_endings.fatal_error,
    "bye": client_endings.bye,
    "resume": client_endings.resume,
    "restart": client_endings.restart,
    "shared-memory": client_plays.shared_memory,
    "no-ring": client_plays.no_ring,
    "hostile": client_plays.hostile,
}
