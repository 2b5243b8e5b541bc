"""The service: everything below, wired together around one core without I/O.

In: clients' messages, the engine's events, time. Out: messages to clients and steps for the engine.

Read first: `core` (a CONTROL's way to its FRAME, in order), then `chunk_dispatcher` (a chunk's way through the engine),
`render_session` (one session between its controls and its frames), `server` (the loop around the core: socket, process,
shared memory). `inbound_queue` keeps big messages behind small ones, `ring_registry` owns the frame rings.

Must not know: command lines, models. Nothing here decides when a chunk is due or which frame is shown.
"""
