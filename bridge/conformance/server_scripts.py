"""Every script for servers, in the order in which they are played and in which the protocol document names them.

Each plays on its own connections and returns what it saw. Scripts leave no session behind. They want the server for
themselves: others' sessions may make it answer BUSY.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from bridge.conformance import server_answers, server_refusals, server_sessions
from bridge.conformance.server_stage import Connect

SCRIPTS: Final[dict[str, Callable[[Connect], str]]] = {
    "handshake": server_sessions.handshake,
    "version": server_sessions.version,
    "formats": server_sessions.formats,
    "early": server_sessions.early,
    "answers": server_answers.answers,
    "credit": server_answers.credit,
    "sequence": server_refusals.sequence,
    "refusals": server_refusals.refusals,
    "cut-short": server_refusals.cut_short,
    "strikes": server_refusals.strikes,
    "unknown-fields": server_refusals.unknown_fields,
    "ping": server_sessions.ping,
    "heartbeat": server_sessions.heartbeat,
    "resume": server_sessions.resume,
    "bye": server_sessions.bye,
    "axes": server_answers.axes,
    "scene": server_answers.scene,
    "reset": server_answers.reset,
    "save": server_answers.save,
    "stats": server_answers.stats,
    "jpeg": server_answers.jpeg,
    "shared-memory": server_answers.shared_memory,
    "busy": server_sessions.busy,
}
