"""The conformance kit: plays a server against a client under test, and a client against a server.

In: the program or address under test. Out: one line a script, passed or failed, with what the protocol says.

Read first: `command` (both commands), then for clients `client_stage` (the pretended server, and what is
checked on every message) and the scripts in `client_plays`, `client_endings`; for servers `server_stage` and the
scripts in `server_answers`, `server_refusals`, `server_sessions`, `hostile`.

Must not know: engines, the service. Shares only the protocol and the transport with what it tests.
"""
