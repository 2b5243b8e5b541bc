"""Which SAVED a client's `save` takes for its answer."""

from __future__ import annotations

import dataclasses

import pytest

from bridge import Client
from bridge.config import ServeConfig
from bridge.errors import ReceiveTimeout
from bridge.protocol.messages import Saved
from bridge.session.events import Send
from bridge.session.registry import Outgoing
from tests.tiny_server import OFFER, TinyServer


def test_a_save_is_not_answered_by_another_ones_saved() -> None:
    server = TinyServer(ServeConfig(), capabilities=dataclasses.replace(OFFER, capabilities=("save",)))

    def tell_all(name: str, size_bytes: int) -> list[Outgoing]:
        saved = Send(message=Saved(name=name, size_bytes=size_bytes))
        return [
            Outgoing(peer=server.core.registry.peer_of(session), session=session, output=saved)
            for session in server.core.registry
        ]

    try:
        with Client(server.address) as client:
            server.later(lambda: tell_all("old", 1))
            with pytest.raises(ReceiveTimeout, match="'new'"):
                client.save("new", timeout_s=0.1)
            server.later(lambda: tell_all("new", 5))
            assert client.save("new") == 5
    finally:
        server.stop()
    assert server.errors == []
