"""Maps: blockouts as data, in JSON files under `model/demo/maps/`."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from model.blockout import Blockout, Part, Shape
from model.errors import BlockoutError

MAPS = Path(__file__).parent / "demo" / "maps"
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
        raise BlockoutError(
            f"no map named {name!r}; there are: {', '.join(sorted(p.stem for p in MAPS.glob('*.json')))}"
        )
    try:
        raw = json.loads(path.read_text())
        parts = [Part(**{**{k: tuple(v) if isinstance(v, list) else v for k, v in p.items()}, "shape": Shape(p["shape"])})
                 for p in raw["parts"]]  # fmt: skip
        spawn = raw["spawn"]
        return Map(
            name=name, blockout=Blockout().add(parts), spawn_position=tuple(spawn["position"]),
            spawn_yaw_deg=float(spawn["yaw_deg"]), half_extent_m=float(raw["half_extent_m"]),
        )  # fmt: skip
    except (KeyError, TypeError, ValueError) as exc:
        raise BlockoutError(f"map {path}: {exc}") from exc
