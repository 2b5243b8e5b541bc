"""Unpacks one msgpack map from untrusted bytes, with limits of size, depth, counts and text length. No types, no state.

codec.py converts the result to a message.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final, cast

import msgpack  # type: ignore[import-untyped]  # it ships no types

from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.fields import MAX_PARTS, MAX_TEXT_BYTES
from bridge.protocol.messages import MessageType

MAX_DEPTH: Final = 8  # the deepest message, SCENE, needs 4
_MAX_ARRAY: Final = 16 * MAX_PARTS
_MAX_CONTAINERS: Final = 16 * MAX_PARTS  # a full SCENE has 5 a part; 4 MiB of "[]" would be 270 MB of lists


def unpack(kind: MessageType, body: bytes | bytearray | memoryview) -> dict[object, object]:
    """The map in a body. Raises: RemoteProtocolError: it is not one, or too large to be looked at."""
    count = _ContainerCount(kind) if len(body) > _MAX_CONTAINERS else None  # a container takes a byte at least
    try:
        value = msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            max_str_len=len(body),
            max_bin_len=len(body),
            max_array_len=_MAX_ARRAY,
            max_map_len=_MAX_ARRAY,
            max_ext_len=0,
            list_hook=count,
            object_hook=count,
        )
    except msgpack.StackError as exc:
        raise RemoteProtocolError(ErrorCode.TOO_DEEP, f"{kind.name}: lists and maps nested too deeply") from exc
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as exc:
        if "exceeds max_ext_len" in str(exc):
            raise RemoteProtocolError(ErrorCode.MALFORMED, f"{kind.name}: got a msgpack extension type") from exc
        code = ErrorCode.TOO_LARGE if "exceeds max_" in str(exc) else ErrorCode.MALFORMED
        raise RemoteProtocolError(code, f"{kind.name}: not one msgpack value: {type(exc).__name__} {exc}") from exc
    if type(value) is not dict:
        raise RemoteProtocolError(ErrorCode.MALFORMED, f"{kind.name}: got {type(value).__name__}, expected a map")
    return cast("dict[object, object]", value)


class _ContainerCount:
    """A msgpack hook that refuses bodies made of very many small lists and maps."""

    def __init__(self, kind: MessageType) -> None:
        self._kind = kind
        self._left = _MAX_CONTAINERS

    def __call__(self, container: object) -> object:
        self._left -= 1
        if self._left < 0:
            text = f"{self._kind.name}: more than {_MAX_CONTAINERS} lists and maps"
            raise RemoteProtocolError(ErrorCode.TOO_LARGE, text)
        return container


def check_shape(kind: MessageType, body: dict[object, object]) -> None:
    """Depth, lengths of texts and lists: what has its own code rather than `invalid_field`.

    Raises: RemoteProtocolError: `too_deep`, `text_too_long` or `too_many_parts`.
    """
    if kind is MessageType.SCENE:
        for name in ("add", "move", "remove"):
            listed = body.get(name)
            if isinstance(listed, list) and len(listed) > MAX_PARTS:
                text = f"SCENE: {name} has {len(listed)} entries, expected at most {MAX_PARTS}"
                raise RemoteProtocolError(ErrorCode.TOO_MANY_PARTS, text)
    level: list[Iterable[Any]] = [body.keys(), body.values()]
    depth = 1
    while level:
        if depth > MAX_DEPTH:
            text = f"{kind.name}: lists and maps nested more than {MAX_DEPTH} deep"
            raise RemoteProtocolError(ErrorCode.TOO_DEEP, text)
        deeper: list[Iterable[Any]] = []
        for values in level:
            for value in values:
                of = type(value)
                if of is str:
                    if len(value) * 4 > MAX_TEXT_BYTES:
                        _check_text(kind, value)
                elif of is list:
                    deeper.append(value)
                elif of is dict:
                    deeper += (value.keys(), value.values())
        level = deeper
        depth += 1


def _check_text(kind: MessageType, value: str) -> None:
    got = len(value.encode())
    if got > MAX_TEXT_BYTES:
        text = f"{kind.name}: a text of {got} bytes, expected at most {MAX_TEXT_BYTES}"
        raise RemoteProtocolError(ErrorCode.TEXT_TOO_LONG, text)
