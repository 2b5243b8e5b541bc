"""The blockout as the model sees it: geometry, cameras, rays.

In: parts (primitives or meshes with materials) and cameras. Out: depth, normals, materials and part ids at every pixel
(`GBuffer`), and the conditioning channels made of them.

Read first: `blockout` and `camera`, then `raycast` (primitives, analytically, in numpy or torch) and `meshes` (Embree),
`ray_features` (channels), `edge_antialiasing`, `palette`, `maps` (the maps that ship).

Must not know: networks, runners, the chunk loop.
"""
