"""The engines themselves: the only package of the bridge that may import `model` and `trt_build`.

In: what `bridge.engine.interface.Engine` takes. Out: frames, depth and part ids, and states of plain arrays.

Read first: `synthetic` (a test pattern of settable cost), then `helios` (a loaded model around the session's scene).
`loading` picks model and runner by name, `checkpoint` and `checkpoint_hub` find files, `plans` builds TensorRT plans,
`camera` and `scene` make conditioning, `picture_decoding`, `quality_levels` and `decoding_step` serve a
step.

Must not know: clients, sockets, schedules. Runs in the engine's process.
"""
