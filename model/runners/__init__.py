"""Run one graph: named arrays in, named arrays out, on one of several backends.

In: a graph's name and numpy arrays; constants that stay on the device. Out: numpy arrays. Shapes and dtypes are
checked, with errors that say got and expected.

Read first: `base` (the `ModuleRunner` protocol), then `onnxruntime` (the default), `torch`, `tensorrt` and `rtx`.
`cuda_graph` replays torch graphs, `decoder_cache` keeps a decoder's memory on the device, `device`, `cuda`,
`cuda_stream` and `staging` are buffers, streams and copies.

Must not know: what the graphs compute. Only `cuda` imports pycuda; only `tensorrt` and `rtx` import tensorrt.
"""
