"""A client's session on the server, as state machines without I/O.

In: decoded messages and times. Out: plain values that say what to do (`events`): send this, a control was accepted, a
scene was accepted, the session is lost or closed. The border between axes lies here: outside, the client's; inside,
ours.

Read first: `states` (which message is allowed when), `session` (one client), `registry` (all of them: room, resumption,
expiry). `flow_control` counts credit, `scene_admission` checks SCENE and RESET against what came before,
`jpeg_rate_control` fits quality to the link, `capabilities` fills WELCOME.

Must not know: sockets, the engine's process, how frames are made or drawn.
"""
