"""Peers of `bench transport`: websockets and gRPC, answering controls as our transport does.

Both are development dependencies and imported by name; a missing one's rows are left out and named.
"""

from __future__ import annotations

import asyncio
import importlib
import importlib.util
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from bridge.bench.transport_frame import HEIGHT, WIDTH, header_for, joined, picture, split
from bridge.presentation.frame_buffer import encode_pixels
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, PixelFormat

_MOST_BYTES: Final = 64 * 2**20
_METHOD: Final = "/bench.Frames/"
Ask = Callable[[Control], NDArray[np.uint8]]
Ready = Callable[[str], None]


class _Answerer:
    """A control's bytes to its frame's bytes."""

    def __init__(self) -> None:
        self._pixels = encode_pixels(picture(), PixelFormat.RGB8)

    def __call__(self, data: bytes) -> bytes:
        control = decode(split(data)).message
        assert isinstance(control, Control)
        return joined(encode(header_for(control, PixelFormat.RGB8), self._pixels))


def _pixels_of(data: bytes) -> NDArray[np.uint8]:
    """What a game gets: (H, W, 3) uint8, not copied."""
    decoded = decode(split(data))
    assert decoded.pixels is not None
    return np.frombuffer(decoded.pixels, np.uint8).reshape(HEIGHT, WIDTH, 3)


def _asked(control: Control) -> bytes:
    return joined(encode(control))


# -- websockets --------------------------------------------------------------------------------------------------------


def _serve_websockets(ready: Ready) -> None:
    server = importlib.import_module("websockets.asyncio.server")
    answer = _Answerer()

    async def handler(connection: Any) -> None:
        async for data in connection:
            await connection.send(answer(data))

    async def run() -> None:
        async with server.serve(handler, "127.0.0.1", 0, compression=None, max_size=_MOST_BYTES) as listening:
            ready(f"ws://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
            await listening.serve_forever()

    asyncio.run(run())


def _serve_websockets_threads(ready: Ready) -> None:
    server = importlib.import_module("websockets.sync.server")
    answer = _Answerer()

    def handler(connection: Any) -> None:
        for data in connection:
            connection.send(answer(data))

    with server.serve(handler, "127.0.0.1", 0, compression=None, max_size=_MOST_BYTES) as listening:
        ready(f"ws://127.0.0.1:{listening.socket.getsockname()[1]}")
        listening.serve_forever()


@contextmanager
def _websockets_client(address: str) -> Iterator[Ask]:
    client = importlib.import_module("websockets.sync.client")
    with client.connect(address, compression=None, max_size=_MOST_BYTES) as connection:

        def ask(control: Control) -> NDArray[np.uint8]:
            connection.send(_asked(control))
            return _pixels_of(connection.recv())

        yield ask


# -- gRPC --------------------------------------------------------------------------------------------------------------


def _serve_grpc(ready: Ready) -> None:
    grpc = importlib.import_module("grpc")
    answer = _Answerer()

    def stream(requests: Iterator[bytes], context: Any) -> Iterator[bytes]:
        return map(answer, requests)

    handlers = grpc.method_handlers_generic_handler(
        "bench.Frames",
        {
            "Stream": grpc.stream_stream_rpc_method_handler(stream),
            "Unary": grpc.unary_unary_rpc_method_handler(lambda data, context: answer(data)),
        },
    )
    server = grpc.server(ThreadPoolExecutor(4), options=_grpc_options())
    server.add_generic_rpc_handlers((handlers,))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready(f"127.0.0.1:{port}")
    server.wait_for_termination()


def _grpc_options() -> list[tuple[str, int]]:
    return [("grpc.max_send_message_length", _MOST_BYTES), ("grpc.max_receive_message_length", _MOST_BYTES)]


@contextmanager
def _grpc_unary_client(address: str) -> Iterator[Ask]:
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(address, options=_grpc_options()) as channel:
        call = channel.unary_unary(f"{_METHOD}Unary")
        yield lambda control: _pixels_of(call(_asked(control)))


@contextmanager
def _grpc_stream_client(address: str) -> Iterator[Ask]:
    grpc = importlib.import_module("grpc")
    with grpc.insecure_channel(address, options=_grpc_options()) as channel:
        requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        answers = channel.stream_stream(f"{_METHOD}Stream")(iter(requests.get, None))

        def ask(control: Control) -> NDArray[np.uint8]:
            requests.put(_asked(control))
            return _pixels_of(next(answers))

        yield ask
        requests.put(None)


SERVERS: Final[dict[str, Callable[[Ready], None]]] = {
    "websockets": _serve_websockets,
    "websockets-threads": _serve_websockets_threads,
    "grpc": _serve_grpc,
}
# row: the server that it asks, what must be installed, its client
CLIENTS: Final[dict[str, tuple[str, str, Callable[[str], Any]]]] = {
    "websockets, asyncio server": ("websockets", "websockets", _websockets_client),
    "websockets, threaded server": ("websockets-threads", "websockets", _websockets_client),
    "gRPC stream": ("grpc", "grpc", _grpc_stream_client),
    "gRPC unary": ("grpc", "grpc", _grpc_unary_client),
}


def is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None
