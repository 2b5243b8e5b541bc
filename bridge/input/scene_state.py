"""The blockout, prompt and seed that a session's messages add up to, from which its engine session can be opened anew.

Values only, in our axes; part ids were checked by session/.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from bridge.engine.interface import Pictures, SessionStart
from bridge.protocol.messages import Part, Reset, SceneUpdate


class SceneState:
    """The parts, prompt and seed in force. Without a `replace` the session walks the engine's default map."""

    def __init__(self, *, seed: int, prompt: str) -> None:
        self._seed = seed
        self._prompt = prompt
        self._parts: dict[int, Part] | None = None
        self._before_reset = (seed, prompt)

    @classmethod
    def of(cls, whole: SceneUpdate) -> SceneState:
        """The inverse of `whole`."""
        blockout = cls(seed=whole.seed or 0, prompt=whole.prompt or "")
        blockout.apply(whole)
        return blockout

    @property
    def prompt(self) -> str:
        return self._prompt

    @property
    def has_parts(self) -> bool:
        return bool(self._parts)

    def part(self, part_id: int) -> Part | None:
        """The part as it is now; None when there is none, or the default map is walked."""
        return None if self._parts is None else self._parts.get(part_id)

    def apply(self, update: SceneUpdate) -> None:
        """Order as the protocol says: replace, remove, add, move."""
        self._seed = self._seed if update.seed is None else update.seed
        self._prompt = self._prompt if update.prompt is None else update.prompt
        if update.replace:
            self._parts = {}
        if self._parts is not None:
            apply_update(self._parts, update)  # a move of an unknown part is ignored

    def apply_reset(self, reset: Reset) -> None:
        self._before_reset = (self._seed, self._prompt)
        self._seed = self._seed if reset.seed is None else reset.seed
        self._prompt = self._prompt if reset.prompt is None else reset.prompt

    def forget_reset(self, reset: Reset) -> None:
        """The engine refused `reset`, the newest: its seed and prompt are gone, unless a SCENE changed them since."""
        seed, prompt = self._before_reset
        self._seed = seed if reset.seed == self._seed else self._seed
        self._prompt = prompt if reset.prompt == self._prompt else self._prompt

    def forget_parts(self, update: SceneUpdate) -> None:
        """The engine refused `update`: what it added will not be asked for again."""
        for part in update.add:
            if self._parts is not None:
                self._parts.pop(part.id, None)

    def whole(self) -> SceneUpdate:
        """One update in place of all that led to this."""
        prompt = self._prompt or None
        if self._parts is None:
            return SceneUpdate(prompt=prompt, seed=self._seed)
        return SceneUpdate(prompt=prompt, seed=self._seed, replace=True, add=tuple(self._parts.values()))

    def start(self, *, pictures: Pictures | None = None, restore: Path | None = None) -> SessionStart:
        """A world that begins with all of this, and with pictures; or one that was saved."""
        scene = None if self._parts is None else self.whole()
        return SessionStart(seed=self._seed, prompt=self._prompt, scene=scene, pictures=pictures, restore=restore)


def apply_update(parts: dict[int, Part], update: SceneUpdate) -> list[int]:
    """Changes a blockout, by part id, in the protocol's order: replace, remove, add, move.

    Returns:
        The ids of moves that name no part; those moves change nothing.
    """
    if update.replace:
        parts.clear()
    for part_id in update.remove:
        parts.pop(part_id, None)
    parts.update((part.id, part) for part in update.add)
    unknown = []
    for move in update.move:
        if (part := parts.get(move.id)) is None:
            unknown.append(move.id)
        else:
            parts[move.id] = msgspec.structs.replace(part, position=move.position, rotation=move.rotation)
    return unknown
