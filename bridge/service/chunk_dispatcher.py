"""The players' worlds at the engine: opened, saved, closed; their chunks begun in turn, and handed over as they come.

Whose turn it is and when is chunk_scheduler.py's decision, keeping the process alive supervisor.py's care. What a
client must hear of it is handed back as `Notice`s: sessions and sockets are the server's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import msgspec

from bridge.engine.events import (
    ChunkFailed,
    ChunkGrowing,
    ChunkMade,
    EngineDown,
    EngineEvent,
    EngineUp,
    WorldOpened,
    WorldRefused,
    WorldSaved,
)
from bridge.engine.interface import Pictures
from bridge.engine.session_table import WantedStep
from bridge.engine.state_file import name_of, path_of
from bridge.engine.supervisor import EngineSupervisor
from bridge.input.scene_state import Blockout
from bridge.protocol.messages import MessageType, Reset, Saved, SceneUpdate, Stats
from bridge.scheduling.chunk_scheduler import Conductor
from bridge.scheduling.edf import Start
from bridge.service.render_session import Player
from bridge.session.events import ControlAccepted

_RETRY_FAILED_CHUNK_US = 500_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """What a session must know: its state was `saved`; or, where there is a text, the engine failed; or (restored) the
    saved state that it asked for was read and shows `scene`, or could not be."""

    session_id: str
    saved: Saved | None = None
    text: str = ""
    in_reply_to: str = ""
    restored: bool = False
    scene: SceneUpdate | None = None


class EngineRoom:
    """players: by session id; shared with the server, which lets them in. states: the folder that SAVE writes into."""

    def __init__(
        self, supervisor: EngineSupervisor, conductor: Conductor, players: dict[str, Player], states: Path | None
    ) -> None:
        self._supervisor = supervisor
        self._conductor = conductor
        self._players = players
        self._states = states
        self._start: Start | None = None
        self._savers: dict[tuple[int, Path], list[str]] = {}  # whose SAVE is unanswered, by what it shall keep where

    @property
    def starts_us(self) -> int | None:
        """When `make_frames` shall begin the next chunk; None while nobody knows."""
        return self._start.at_us if self._start is not None else None

    # -- what players want -----------------------------------------------------------------------------------------

    def push(self, player: Player, accepted: ControlAccepted) -> None:
        """Takes a control in; the first one opens a world."""
        self._release(player.push(accepted))
        if player.world is None and not player.refused:
            self._open_world(player)
        elif player.world is not None and (told := player.newly_told()) is not None:
            self._supervisor.hear(player.world, *told)

    def change_scene(self, player: Player, update: SceneUpdate) -> None:
        player.change_scene(update)
        if player.world is None:
            self._open_world(player)

    def reset(self, player: Player, reset: Reset) -> None:
        player.blockout.apply_reset(reset)
        self._close_world(player)
        self._open_world(player, reset)

    def save(self, session_id: str, name: str) -> bool:
        """A `Notice` follows. Returns: False when there is nothing to save yet; then none does."""
        assert self._states is not None, "the session checks what is offered"
        world, path = self._players[session_id].world, path_of(self._states, name)
        if world is None:
            return False
        self._savers.setdefault((world, path), []).append(session_id)
        self._supervisor.save(world, path)
        return True

    def leave(self, session_id: str) -> None:
        """The session is over."""
        self._close_world(self._players[session_id])
        self._conductor.forget(session_id)
        del self._players[session_id]

    def fill_stats(self, session_id: str, ledger: Stats, now_us: int) -> Stats:
        """The session's ledger with what is known of its chunks, and of the engine."""
        return msgspec.structs.replace(
            self._players[session_id].fill_stats(ledger, now_us),
            engine_restarts=self._supervisor.restarts,
            margin_us=self._conductor.margin.us,
            wasted_us=self._conductor.wasted_us(session_id),
        )

    def _open_world(self, player: Player, reset: Reset | None = None) -> None:
        """reset: what the client asked to begin with, if it did."""
        pictures, restore = None, None
        if reset is not None and reset.pictures:
            size = (reset.picture_width, reset.picture_height)
            pictures = Pictures(data=reset.pictures, pixel_format=reset.picture_format, width=size[0], height=size[1])
        if reset is not None and reset.restore:
            assert self._states is not None, "the session checks what is offered"
            restore = path_of(self._states, reset.restore)
        player.refused = False
        player.begun_by = None if pictures is None and restore is None else reset
        player.world = self._supervisor.open(player.blockout.start(pictures=pictures, restore=restore))

    def _close_world(self, player: Player) -> None:
        if player.world is not None:
            self._supervisor.forget(player.world)
        self._release(player.restart())

    def _release(self, slots: Iterable[int]) -> None:
        for slot in slots:
            self._supervisor.release(slot)

    # -- chunks ----------------------------------------------------------------------------------------------------

    def make_frames(self, now_us: int, active: Iterable[str]) -> None:
        """Starts the next chunk when its time has come; else remembers when that will be.

        active: the sessions whose clients can be reached.
        """
        self._start = None
        if not self._supervisor.idle:
            return
        playing = {
            session_id: player for session_id in active if (player := self._players[session_id]).wants_frames(now_us)
        }
        start = self._conductor.next_start(now_us, playing)
        if start is None or start.at_us > now_us:
            self._start = start
            return
        for each in self._players.values():
            self._release(each.store.evict(now_us))
        begun = [(playing[one.session], one) for one in (start, *start.beside)]
        asked = [player.ask(now_us, one, cause=self._conductor.cause(one)) for player, one in begun]
        wanted = [
            WantedStep(world=_world_of(player), window=chunk.window, plan=chunk.plan, keep=chunk.keep)
            for (player, _), chunk in zip(begun, asked, strict=True)
        ]
        count = self._supervisor.step_together(wanted)
        for chunk in asked[:count]:
            self._conductor.begun(now_us, chunk)
        for player, _ in begun[count:]:
            # No slot is free: clients hold none, so the next eviction frees one. Or it shall be tried alone, soon.
            player.not_begun()

    def on_event(self, event: EngineEvent, now_us: int) -> list[Notice]:
        """What follows from what the supervisor said, but for its giving up."""
        match event:
            case EngineUp():
                self._conductor.replaced(now_us)
            case EngineDown():
                for player in self._players.values():
                    player.lose()
            case ChunkGrowing(world=world):
                if (growing := self._player_of(world)) is not None:
                    growing.grow(event, now_us)
            case ChunkMade(world=world):
                self._on_chunk(self._player_of(world), event, now_us)
            case WorldOpened(world=world):
                return self._on_opened(world, event.scene)
            case WorldSaved():
                return self._on_saved(event)
            case WorldRefused(world=world, text=text) | ChunkFailed(world=world, text=text):
                return self._on_refused(world, text, now_us, over=isinstance(event, WorldRefused))
        return []

    def _on_opened(self, world: int, scene: SceneUpdate | None) -> list[Notice]:
        session_id = self._session_of(world)
        if session_id is None:
            return []
        player = self._players[session_id]
        player.opened = True
        player.begun_by = None
        if scene is None:
            return []
        player.blockout = Blockout.of(scene)
        return [Notice(session_id=session_id, restored=True, scene=scene)]

    def _on_chunk(self, player: Player | None, made: ChunkMade, now_us: int) -> None:
        asked = None if player is None else player.asked
        if player is None or asked is None:
            self._supervisor.release(made.slot)
            return
        delivered = player.deliver(made, now_us)
        self._conductor.made(now_us, asked, delivered)
        if not delivered.useful:
            self._supervisor.release(made.slot)

    def _on_saved(self, saved: WorldSaved) -> list[Notice]:
        # Not whose world it is: a RESET may have begun another since, and SAVE has an answer all the same.
        waiting = self._savers[saved.world, saved.path]
        session_id = waiting.pop(0)
        if not waiting:
            del self._savers[saved.world, saved.path]
        if saved.text:
            return [Notice(session_id=session_id, text=saved.text, in_reply_to=MessageType.SAVE.name)]
        told = Saved(name=name_of(saved.path), size_bytes=saved.size_bytes)
        return [Notice(session_id=session_id, saved=told)]

    def _on_refused(self, world: int, text: str, now_us: int, *, over: bool) -> list[Notice]:
        """Tells that client alone. Its world waits for another SCENE or RESET when it is `over`, else it goes on."""
        session_id = self._session_of(world)
        if session_id is None:
            return []
        player = self._players[session_id]
        asked = player.asked
        scene = bool(asked.window.scene_updates) if asked is not None else player.blockout.has_parts
        reset = player.begun_by if over else None
        if reset is not None:
            return self._on_refused_reset(session_id, reset, text)
        if over:
            self._release(player.restart())
            player.refused = True
        else:
            player.fail(now_us, wait_us=_RETRY_FAILED_CHUNK_US)
        return [Notice(session_id=session_id, text=text, in_reply_to="SCENE" if scene else "")]

    def _on_refused_reset(self, session_id: str, reset: Reset, text: str) -> list[Notice]:
        """The pictures or the state that a world was to begin with are no good: it begins as it would without."""
        player = self._players[session_id]
        player.blockout.forget_reset(reset)
        self._release(player.restart())
        self._open_world(player)
        return [Notice(session_id=session_id, text=text, in_reply_to="RESET", restored=bool(reset.restore))]

    def _session_of(self, world: int) -> str | None:
        return next((session_id for session_id, player in self._players.items() if player.world == world), None)

    def _player_of(self, world: int) -> Player | None:
        session_id = self._session_of(world)
        return None if session_id is None else self._players[session_id]


def _world_of(player: Player) -> int:
    assert player.world is not None, "who wants frames has a world"
    return player.world
