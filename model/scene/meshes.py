"""Triangle meshes of a blockout, cast with Embree (the `mesh` extra). The only importer of embreex."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.cli_args import install
from model.errors import BlockoutError

Triangles = tuple[NDArray[np.float32], NDArray[np.uint32]]
"""World-space vertices (N, 3) and indices (M, 3)."""


class MeshScene:
    """Meshes, each numbered by its place in the sequence."""

    def __init__(self, meshes: Sequence[Triangles]) -> None:
        """Raises: BlockoutError: embreex is not installed."""
        try:
            from embreex.mesh_construction import TriangleMesh
            from embreex.rtcore_scene import EmbreeScene
        except ModuleNotFoundError as exc:
            raise BlockoutError(
                f"the blockout has a mesh, and casting meshes needs embreex: {install('mesh')}, "
                "or send boxes, spheres, cylinders and planes"
            ) from exc
        self._scene = EmbreeScene()
        self._meshes = [  # Embree keeps pointers into them
            TriangleMesh(self._scene, np.ascontiguousarray(vertices, np.float32), triangles.astype(np.int32))
            for vertices, triangles in meshes
        ]

    def cast(
        self, origin: NDArray[np.float32], directions: NDArray[np.float32]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
        """Rays from one origin along (h, w, 3) -> t (h, w), inf where nothing is met, mesh (h, w), unit normal."""
        flat = np.ascontiguousarray(directions.reshape(-1, 3), np.float32)
        found = self._scene.run(np.broadcast_to(origin, flat.shape).astype(np.float32), flat, output=1)
        grid = directions.shape[:2]
        met = found["geomID"] >= 0
        t = np.where(met, found["tfar"], np.inf).astype(np.float32)
        normal = found["Ng"] / np.maximum(np.linalg.norm(found["Ng"], axis=1, keepdims=True), 1e-12)
        return t.reshape(grid), found["geomID"].astype(np.int64).reshape(grid), normal.reshape(*grid, 3)
