"""What the player does, as the engine needs it: a camera and an action for every frame to make.

In: controls and scene updates with their arrival times. Out: `ControlWindow`s, extrapolated past the newest control,
and the blockout as all scene updates have made it.

Read first: `control_timeline` (windows, events, pauses), then `motion_prediction` (the extrapolation and its errors)
and `scene_state` (parts, prompt and seed in force).

Must not know: sessions, sockets, when a chunk is due, how it is shown.
"""
