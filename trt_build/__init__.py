"""Builds TensorRT engines: exports the model's graphs to ONNX, builds plans of them, and serves plans by cache key.

In: a model's folder. Out: ONNX graphs with their weights, and plan files for this GPU.

Read first: `__main__` and its commands, then `export` and `trace` (graphs to ONNX), `build` (plans), `cache` and
`serving` (which plan fits), `verify` (whether a plan computes what the graph does).

Must not know: the bridge. Building needs a GPU; exporting does not.
"""
