"""The client SDK: a game's side of a session.

In: the game's camera and action text each tick. Out: the newest `Frame`, its header, and counts of what was lost.

Read first: `client` (the public `Client`), then `protocol_core` (the client's half of the protocol, without I/O),
`connection` (the socket around it), `jitter_buffer` (when a frame is shown), `resend_queue` (messages to repeat after
a reconnect), `pixels` (decoding) and `types` (the values a game sees).

Must not know: sessions of the server, engines, models. Imports numpy, zmq, msgpack and OpenCV, never torch.
"""
