"""Moves bytes between processes: ZeroMQ sockets, CURVE keys, and frames in shared memory.

In and out: lists of byte buffers with the peer's routing id; for clients on the same machine, pixels in a ring.

Read first: `sockets` (ROUTER and DEALER, the poller, what a full queue means), then `frame_ring` (one writer, one
reader, a sequence lock a slot). `curve_keys` reads and writes key files and decides which clients may connect.

Must not know: what a message says. Only this package imports zmq.
"""
