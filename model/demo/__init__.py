"""The demo model: same architecture as Helios, small enough for a laptop, trained on worlds drawn here.

Read first: `network` and `checkpoint`, then the commands: `train` (stage by stage), `recipe` (all of them in order),
`evaluate`. `world/` draws levels and their pictures, `training/` holds the stages, `evaluation/` the figures,
`weights/` what ships, `maps/` the levels to play.

Must not know: the bridge.
"""
