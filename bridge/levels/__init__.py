"""Level files: glTF to blockouts, and blockouts as files of SCENE messages.

In: a .gltf or .glb file, or a .scene file. Out: `SceneUpdate`s with parts in our axes, split to fit the wire's limits.

Read first: `gltf`, then `scene_file`.

Must not know: sessions, sockets, engines. Needs the extra `gltf` for reading glTF.
"""
