"""The wire: messages as typed values, and bytes.

In: the parts of a ZeroMQ message. Out: one of the message structs, or a `RemoteProtocolError` with its code; and the
way back. Everything a peer sends passes size limits, the schema and the checks here before other code sees it.

Read first: `messages` (the list of messages), then `client_messages` and `server_messages` (their fields), `codec`
(bytes to struct and back). `fields` holds limits and enums, `msgpack_limits` bounds what is unpacked, `validation`
checks what types cannot, `axes` converts between coordinate systems.

Must not know: sockets, sessions, engines, clocks.
"""
