"""Writes messages.d.ts, the protocol's messages as TypeScript types, from bridge/protocol/.

    python -m demos.clients.javascript.make_types

Fields that a client may leave out are optional. What a server sends is always whole, so the types of its messages have
no optional fields. A unit test holds the file against this script.
"""

from __future__ import annotations

import enum
import inspect
import textwrap
from pathlib import Path
from typing import Final

import msgspec

from bridge.errors import ErrorCode
from bridge.protocol import messages

FILE: Final = Path(__file__).with_name("messages.d.ts")
_TO_SERVER: Final = (
    messages.Hello, messages.Control, messages.Event, messages.Part, messages.PartMove, messages.SceneUpdate,
    messages.Reset, messages.Save, messages.Bye, messages.Ping, messages.Pong,
)  # fmt: skip
_TO_CLIENT: Final = (
    messages.Welcome,
    messages.FrameHeader,
    messages.Stats,
    messages.ErrorMessage,
    messages.Busy,
    messages.Saved,
)
_ENUMS: Final = (messages.Axes, messages.PixelFormat, messages.Source, messages.Shape, ErrorCode)
_HEAD: Final = """\
// The messages of the helios-bridge protocol {major}.{minor}. Written by make_types.py: do not edit. Their
// meaning, units and bounds stand in unity_plugin_protocol.md. `Integer` is a whole number within 2^53-1.

export type Integer = number;
"""


def typescript() -> str:
    """The text of messages.d.ts."""
    blocks = [_HEAD.format(major=messages.VERSION_MAJOR, minor=messages.VERSION_MINOR)]
    blocks += [_enum(kind) for kind in _ENUMS]
    blocks += [_interface(struct, may_leave_out=True) for struct in _TO_SERVER]
    blocks += [_interface(struct, may_leave_out=False) for struct in _TO_CLIENT]
    return "\n".join(blocks)


def _enum(kind: type[enum.Enum]) -> str:
    names = textwrap.fill(" | ".join(f'"{member.value}"' for member in kind), 110, subsequent_indent="  ")
    return f"export type {kind.__name__} =\n  {names};\n"


def _interface(struct: type[msgspec.Struct], *, may_leave_out: bool) -> str:
    info = msgspec.inspect.type_info(struct)
    assert isinstance(info, msgspec.inspect.StructType)
    summary = (inspect.getdoc(struct) or "").splitlines()[0]
    lines = [f"/** {summary} */", f"export interface {struct.__name__} {{"]
    lines += [
        f"  {field.name}{'?' if may_leave_out and not field.required else ''}: {_type(field.type)};"
        for field in info.fields
    ]
    return "\n".join([*lines, "}", ""])


def _type(info: msgspec.inspect.Type) -> str:
    """A field's type. Raises: TypeError: TypeScript has no word for it yet; add one here."""
    match info:
        case msgspec.inspect.BoolType():
            return "boolean"
        case msgspec.inspect.IntType():
            return "Integer"
        case msgspec.inspect.FloatType():
            return "number"
        case msgspec.inspect.StrType():
            return "string"
        case msgspec.inspect.BytesType():
            return "Uint8Array"
        case msgspec.inspect.EnumType(cls=cls) | msgspec.inspect.StructType(cls=cls):
            return cls.__name__
        case msgspec.inspect.TupleType(item_types=items):
            return f"[{', '.join(map(_type, items))}]"
        case msgspec.inspect.VarTupleType(item_type=item):
            return f"{_type(item)}[]"
        case msgspec.inspect.DictType(key_type=key, value_type=value):
            return f"Record<{_type(key)}, {_type(value)}>"
        case msgspec.inspect.UnionType(types=(inner, msgspec.inspect.NoneType())):
            return f"{_type(inner)} | null"
    raise TypeError(f"no TypeScript for {info}")


if __name__ == "__main__":
    FILE.write_text(typescript(), encoding="utf-8")
