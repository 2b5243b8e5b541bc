"""How a camera reaches a model that was not trained for one: by words, by a coarse layout, or by warped history.

Read first: `method` (which method fits which model), then `clause` (words), `layout` (shaded grey boxes as the first
stage), `warp` (past frames seen from the new camera) and `steering` (the hints of a chunk).

Must not know: networks, runners. Numpy only.
"""
