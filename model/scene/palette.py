"""The two colours of each blockout material: for the reference renderer and for a coarse layout."""

from __future__ import annotations

import numpy as np

#            base colour        second colour
PALETTE = np.array([
    [0.82, 0.78, 0.70, 0.74, 0.69, 0.60],  # plaster
    [0.28, 0.50, 0.15, 0.45, 0.64, 0.24],  # grass
    [0.58, 0.57, 0.55, 0.40, 0.40, 0.41],  # stone, joints
    [0.66, 0.29, 0.20, 0.80, 0.74, 0.66],  # brick, mortar
    [0.58, 0.39, 0.22, 0.42, 0.26, 0.13],  # planks
    [0.84, 0.82, 0.76, 0.46, 0.52, 0.58],  # tiles
    [0.12, 0.33, 0.42, 0.28, 0.54, 0.60],  # water
    [0.14, 0.36, 0.12, 0.36, 0.58, 0.20],  # foliage
    [0.52, 0.55, 0.60, 0.34, 0.36, 0.42],  # metal
    [0.95, 0.84, 0.55, 0.70, 0.55, 0.30],  # lamp
    [0.82, 0.71, 0.49, 0.72, 0.60, 0.39],  # sand
    [0.29, 0.33, 0.41, 0.19, 0.22, 0.29],  # slate
    [0.38, 0.28, 0.19, 0.24, 0.17, 0.11],  # bark
    [0.42, 0.25, 0.13, 0.24, 0.14, 0.08],  # door
    [0.60, 0.60, 0.58, 0.46, 0.47, 0.47],  # fountain
])  # fmt: skip
"""(materials, 6) float64: RGB of the base and of the second colour, 0 to 1, in the order of `blockout.MATERIALS`."""
