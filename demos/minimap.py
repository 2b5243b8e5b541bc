"""The map from above: every part's outline in its material's colour, and the player."""

from __future__ import annotations

import math

import pygame

from demos.collision import footprints
from demos.world import Viewpoint
from model.scene.maps import Map

_COLOURS = {
    "plaster": (205, 196, 178), "grass": (92, 128, 66), "stone": (140, 138, 134), "brick": (165, 84, 62),
    "planks": (140, 100, 62), "tiles": (186, 182, 172), "water": (66, 124, 148), "foliage": (58, 104, 46),
    "metal": (122, 128, 138), "lamp": (244, 214, 130), "sand": (206, 182, 132), "slate": (84, 94, 112),
    "bark": (92, 70, 50), "door": (118, 78, 46), "fountain": (168, 196, 206),
}  # fmt: skip
_UNKNOWN = (190, 190, 190)
_MARGIN_M = 1.5
_VIEW_M = 4.5


class Minimap:
    """North (-Z) is up. The map itself is painted once."""

    def __init__(self, level: Map, side_px: int, half_view_deg: float) -> None:
        self._reach_m = level.half_extent_m + _MARGIN_M
        self._side_px = side_px
        self._half_view_rad = math.radians(half_view_deg)
        self._ground = pygame.Surface((side_px, side_px))
        self._ground.fill(_UNKNOWN)
        for footprint in footprints(level.blockout):
            # Higher parts are lighter, so that a roof tells itself from the wall under it.
            light = 0.82 + 0.05 * min(footprint.high_m, 6.0)
            red, green, blue = _COLOURS.get(footprint.part.material, _UNKNOWN)
            tint = footprint.part.colour
            colour = [min(255, round(c * t * light)) for c, t in zip((red, green, blue), tint, strict=True)]
            pygame.draw.polygon(self._ground, colour, [self._pixel(x, z) for x, z in footprint.outline.tolist()])

    def draw(self, target: pygame.Surface, topleft: tuple[int, int], view: Viewpoint) -> None:
        """Paints the map with the player on it."""
        picture = self._ground.copy()
        x, _, z = view.position
        cone = pygame.Surface(picture.get_size(), pygame.SRCALPHA)
        corners = [self._pixel(x, z)]
        for side in (-1.0, -0.5, 0.0, 0.5, 1.0):
            yaw = view.yaw_rad + side * self._half_view_rad
            corners.append(self._pixel(x - _VIEW_M * math.sin(yaw), z - _VIEW_M * math.cos(yaw)))
        pygame.draw.polygon(cone, (255, 255, 255, 95), corners)
        picture.blit(cone, (0, 0))
        pygame.draw.circle(picture, (20, 24, 30), self._pixel(x, z), 6)
        pygame.draw.circle(picture, (255, 120, 72), self._pixel(x, z), 4)
        target.blit(picture, topleft)
        pygame.draw.rect(target, (240, 242, 246), (*topleft, self._side_px, self._side_px), 2, border_radius=3)

    def _pixel(self, x: float, z: float) -> tuple[int, int]:
        scale = self._side_px / (2 * self._reach_m)
        return round((x + self._reach_m) * scale), round((z + self._reach_m) * scale)
