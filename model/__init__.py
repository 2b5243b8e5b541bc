"""The models: scenes, the chunk loop, networks, runners, Helios-14B and the demo model.

In: a camera and a text for every frame, a blockout, a state. Out: frames, depth, and the state after them.

Read first: `pipeline/` (the loop), then `scene/` (what the model knows of the level), `runners/` (what a graph runs
on), `networks/` and `fast/` (what the graphs are), `helios/` and `demo/` (two models), `camera_control/`. `spec`
describes a model, `deferred` runs work in the background, `errors` lists what can go wrong.

Must not know: the bridge, TensorRT's builder. Nothing here opens a socket.
"""
