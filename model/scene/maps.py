"""Maps: blockouts as data, in JSON files under `model/demo/maps/`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import BlockoutError
from model.scene.blockout import Blockout, Part, Shape

MAPS = Path(__file__).parents[1] / "demo" / "maps"
DEFAULT_MAP = "garden"


@dataclass(frozen=True, slots=True, kw_only=True)
class Map:
    """A level: geometry, where a player starts (metres, degrees left of -Z) and how far from the middle one may go."""

    name: str
    blockout: Blockout
    spawn_position: tuple[float, float, float]
    spawn_yaw_deg: float
    half_extent_m: float


def load_map(name: str = DEFAULT_MAP) -> Map:
    """Raises: BlockoutError: there is no such map, or it does not hold what a map holds."""
    path = MAPS / f"{name}.json"
    if not path.exists():
        raise BlockoutError(f"no map named {name!r}; there are: {', '.join(map_names())}")
    try:
        raw = json.loads(path.read_text())
        spawn = raw["spawn"]
        return Map(
            name=name, blockout=Blockout().add(_part(part) for part in raw["parts"]),
            spawn_position=tuple(spawn["position"]),
            spawn_yaw_deg=float(spawn["yaw_deg"]), half_extent_m=float(raw["half_extent_m"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as exc:
        raise BlockoutError(f"map {path}: {exc}") from exc


def map_names() -> list[str]:
    """The shipped maps."""
    return sorted(path.stem for path in MAPS.glob("*.json"))


def _part(raw: dict[str, Any]) -> Part:
    return Part(
        id=int(raw["id"]), shape=Shape(raw["shape"]), position=tuple(raw["position"]), size=tuple(raw["size"]),
        rotation=tuple(raw["rotation"]), material=str(raw["material"]), colour=tuple(raw["colour"]),
    )  # fmt: skip
