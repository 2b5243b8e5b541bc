"""Converts a session's parts from the wire to a blockout that rays can be cast at, and caches the result."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.engine.interface import State
from bridge.errors import EngineError
from bridge.input.scene_state import apply_update
from bridge.presentation.reprojection import NO_PART
from bridge.protocol.messages import Part, SceneUpdate, Shape
from model.errors import BlockoutError
from model.scene import blockout
from model.scene.blockout import Blockout, PackedParts

_SCENE = "scene_msgpack"
_MOST_KEPT = 64
_encode_parts = msgspec.msgpack.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(tuple[Part, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineScene:
    """ids: (parts + 1,) uint32, each packed part's id; the last stands for none, which a cast calls -1."""

    parts: tuple[Part, ...]
    packed: PackedParts
    ids: NDArray[np.uint32]

    def to_arrays(self) -> dict[str, NDArray[np.generic]]:
        """What a session's state holds of it."""
        return {_SCENE: np.frombuffer(_encode_parts(self.parts), dtype=np.uint8)}


class SceneCache:
    """Scenes that were packed before, by what a state holds of them."""

    def __init__(self, default: Blockout) -> None:
        self._default = _parts_of(default)
        self._known: dict[bytes, EngineScene] = {}

    def open(self, scene: SceneUpdate | None) -> EngineScene:
        """A new session's: the default map, changed by `scene`. Raises: EngineError: it cannot be cast."""
        return self._packed(self._default if scene is None else _updated(self._default, [scene]))

    def updated(self, scene: EngineScene, updates: Sequence[SceneUpdate]) -> EngineScene:
        """Raises: EngineError: an update does not fit, or cannot be cast."""
        return self._packed(_updated(scene.parts, updates)) if updates else scene

    def of(self, state: State) -> EngineScene:
        """The scene in a state, packed anew if this process has not seen it yet (it replaced a crashed one)."""
        key = state[_SCENE].tobytes()
        return self._known[key] if key in self._known else self._packed(_decode_parts(key))

    def scene_of(self, state: State) -> SceneUpdate:
        """What brings a newly opened scene to the one in a state. Raises: EngineError: the state holds none."""
        try:
            parts = _decode_parts(state[_SCENE].tobytes())
        except (KeyError, msgspec.DecodeError) as exc:
            raise EngineError("this state does not tell its blockout") from exc
        return SceneUpdate() if parts == self._default else SceneUpdate(replace=True, add=parts)

    def _packed(self, parts: tuple[Part, ...]) -> EngineScene:
        try:
            packed = Blockout().add(_model_part(part) for part in parts).pack()
        except BlockoutError as exc:
            raise EngineError(f"this blockout cannot be shown: {exc}") from exc
        # A pack has its meshes last; both kinds stand in order of id, as `parts` does.
        in_order = sorted(parts, key=lambda part: (part.shape is Shape.MESH, part.id))
        ids = np.array([*(part.id for part in in_order), NO_PART], np.uint32)
        scene = EngineScene(parts=parts, packed=packed, ids=ids)
        if len(self._known) > _MOST_KEPT:
            self._known.clear()
        self._known[_encode_parts(parts)] = scene
        return scene


def _updated(parts: Sequence[Part], updates: Iterable[SceneUpdate]) -> tuple[Part, ...]:
    """The parts after the updates, in the order that `SceneUpdate` gives."""
    by_id = {part.id: part for part in parts}
    for update in updates:
        for unknown in apply_update(by_id, update):
            raise EngineError(f"cannot move part {unknown}: the blockout has no part with this id; add it first")
    return tuple(by_id[key] for key in sorted(by_id))


def _model_part(part: Part) -> blockout.Part:
    mesh = part.shape is Shape.MESH
    return blockout.Part(
        id=part.id,
        shape=blockout.Shape(part.shape.value),
        position=part.position,
        size=part.size,
        rotation=part.rotation,
        material=part.material,
        colour=part.colour,
        vertices=np.frombuffer(part.vertices, "<f4").reshape(-1, 3) if mesh else None,
        triangles=np.frombuffer(part.triangles, "<u4").reshape(-1, 3) if mesh else None,
    )


def _parts_of(default: Blockout) -> tuple[Part, ...]:
    return tuple(
        Part(id=part.id, shape=Shape(part.shape.value), position=part.position, rotation=part.rotation,
             size=part.size, material=part.material, colour=part.colour)
        for part in default.parts.values()
    )  # fmt: skip
