"""The README's sheet: Panda3D's own scene, the blockout that it handed over, and the painted frame, side by side."""

from __future__ import annotations

from pathlib import Path

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

import bridge
from bridge.clock import MonotonicClock
from demos.clients.panda3d.card import screenshot
from demos.clients.panda3d.game import Game, GameOptions, open_engine
from demos.recording import write_png
from model.scene import blockout
from model.scene.camera import Camera
from model.scene.raycast import cast

Picture = NDArray[np.uint8]
PANEL_WIDTH, PANEL_HEIGHT = 480, 288
_ROWS = 3
_LIGHT = np.array([0.4, 0.8, 0.45])
_SKY = np.array([205, 215, 225], np.uint8)
_LABELS = ("Panda3D's own picture", "the blockout it handed over", "what comes back")


def take(options: GameOptions, path: Path) -> int:
    """Plays, and writes the sheet: `_ROWS` moments of the run, the first once the model has seen the scene."""
    clock = MonotonicClock()
    game = Game(options, open_engine(window=False), clock)
    parts: dict[int, bridge.Part] = {part.id: part for part in game.blockout.parts}
    rows: list[Picture] = []
    # Of time, not of ticks: a machine that is busy makes fewer of those.
    moments_us = [clock.now_us() + round(options.seconds * 1e6 * (row + 1) / (_ROWS + 0.5)) for row in range(_ROWS)]
    colours = _colours()

    def look(tick: int) -> None:
        for now in game.moved:
            parts[now.id] = msgspec.structs.replace(parts[now.id], position=now.position, rotation=now.rotation)
        frame = game.shown.last
        if frame is None or len(rows) == _ROWS or clock.now_us() < moments_us[len(rows)]:
            return
        own = screenshot(game.base, game.base.win)
        seen = draw_blockout(list(parts.values()), frame.header, colours)
        rows.append(np.hstack([_panel(own), _panel(seen), _panel(frame.pixels)]))

    game.play(look)
    game.client.close()
    write_png(path, np.vstack([_heading(), *rows]))
    print(f"wrote {path}")
    return 0


def draw_blockout(parts: list[bridge.Part], at: bridge.FrameHeader, colours: NDArray[np.uint8]) -> Picture:
    """The blockout as the service sees it from a frame's camera: one colour a material, lit by its normal."""
    camera = Camera(
        position=np.array(at.position), rotation=np.array(at.rotation), vertical_fov_deg=at.vertical_fov_deg,
        height=PANEL_HEIGHT, width=PANEL_WIDTH,
    )  # fmt: skip
    hits = cast(np, blockout.Blockout().add(map(_model_part, parts)).pack(), camera, step_px=1)
    shade = 0.45 + 0.55 * np.clip(hits.normal @ (_LIGHT / np.linalg.norm(_LIGHT)), 0, 1)
    drawn = (colours[hits.material] * shade[..., None]).astype(np.uint8)
    picture: Picture = np.where(hits.hit[..., None], drawn, _SKY)
    return picture


def _colours() -> NDArray[np.uint8]:
    """One colour a material, far apart in hue."""
    hues = np.arange(len(blockout.MATERIALS)) * 180 // len(blockout.MATERIALS) * 7 % 180
    hsv = np.stack([hues, np.full_like(hues, 90), np.full_like(hues, 230)], axis=-1).astype(np.uint8)[None]
    rgb: NDArray[np.uint8] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0]
    return rgb


def _model_part(part: bridge.Part) -> blockout.Part:
    mesh = part.shape is bridge.Shape.MESH
    return blockout.Part(
        id=part.id, shape=blockout.Shape(part.shape.value), position=part.position, rotation=part.rotation,
        size=part.size, material=part.material, colour=part.colour,
        vertices=np.frombuffer(part.vertices, "<f4").reshape(-1, 3) if mesh else None,
        triangles=np.frombuffer(part.triangles, "<u4").reshape(-1, 3) if mesh else None,
    )  # fmt: skip


def _panel(picture: Picture) -> Picture:
    smaller = picture.shape[1] > PANEL_WIDTH
    way = cv2.INTER_AREA if smaller else cv2.INTER_CUBIC
    sized: Picture = cv2.resize(picture, (PANEL_WIDTH, PANEL_HEIGHT), interpolation=way)
    framed: Picture = cv2.copyMakeBorder(sized, 2, 2, 2, 2, cv2.BORDER_CONSTANT, value=(255, 255, 255))
    return framed


def _heading() -> Picture:
    sheet: Picture = np.full((28, 3 * (PANEL_WIDTH + 4), 3), 255, np.uint8)
    for index, text in enumerate(_LABELS):
        at = (index * (PANEL_WIDTH + 4) + 6, 20)
        cv2.putText(sheet, text, at, cv2.FONT_HERSHEY_SIMPLEX, 0.55, (30, 30, 30), 1, cv2.LINE_AA)
    return sheet
