"""The worlds that the demo model is trained on: levels, materials, weather, and a renderer that paints them.

Read first: `level_generator` (random blockouts), then `renderer` (their pictures), `looks` and `textures` (materials),
`conditions` (rain, night, lamps), `walks` (cameras through a level).

Must not know: networks, training.
"""
