"""From stored frames to answers: which frame answers a control, and how it is bent to the newest camera.

In: chunks as they arrive, controls as they come. Out: pixels and a `FrameHeader` for each control, at once.

Read first: `frame_buffer` (a session's chunks and when their frames are due), `frame_pacing` (generated, reprojected or
held: a pure decision), `responder` (the answer: drawn, encoded, with its header). `reprojection` and
`warp_map` bend a frame with its depth, `moving_parts` moves parts in it, `session_metrics` counts for STATS.

Must not know: sockets, the engine's process, when chunks are started.
"""
