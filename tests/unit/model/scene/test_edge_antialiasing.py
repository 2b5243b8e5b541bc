"""Outlines finer than the guide's rays: against full casts, the reference renderer, and a decoder's frames."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from numpy.typing import NDArray

from model.demo.world.conditions import Conditions
from model.demo.world.level_generator import BlockoutGenerator
from model.demo.world.renderer import render
from model.scene.blockout import Blockout, PackedParts, Part, Shape
from model.scene.camera import Camera, quaternion_from_yaw_pitch
from model.scene.edge_antialiasing import CELL_PX, SAMPLES_PX, Edges, edges_of, resolve
from model.scene.raycast import RayHits, cast

ROWS, COLUMNS = 96, 160


def look(position=(0.0, 1.6, 6.0), yaw: float = 0.1, pitch: float = -0.1) -> Camera:
    return Camera(position=np.array(position, dtype=float), rotation=quaternion_from_yaw_pitch(yaw, pitch),
                  vertical_fov_deg=65.0, height=ROWS, width=COLUMNS)  # fmt: skip


def surface(hits: RayHits) -> NDArray[np.int64]:
    return 4 * hits.part + hits.facet


def worlds() -> list[PackedParts]:
    every_shape = [
        Part(id=1, shape=Shape.PLANE, position=(0, 0, 0), size=(60, 0, 60), material="grass"),
        Part(id=2, shape=Shape.BOX, position=(-1.5, 1, 0), size=(2, 2, 2), material="brick"),
        Part(id=3, shape=Shape.SPHERE, position=(1.5, 1.5, 1), size=(1.5, 1, 1.5), material="foliage"),
        Part(id=4, shape=Shape.CYLINDER, position=(3, 1, -1), size=(1, 2, 1), material="stone"),
    ]
    drawn = [BlockoutGenerator(np.random.default_rng(seed)).draw().pack() for seed in range(3)]
    return [Blockout().add(every_shape).pack(), *drawn]


def mean_square(a: NDArray[np.uint8], b: NDArray[np.uint8]) -> float:
    return float(((a.astype(float) - b) ** 2).mean())


@pytest.mark.parametrize("parts", worlds())
def test_finer_rays_meet_what_a_whole_finer_cast_meets(parts: PackedParts) -> None:
    camera = look()
    cells = cast(np, parts, camera, step_px=CELL_PX)
    edges = edges_of(parts, cells)
    assert len(edges.pixels) > 50
    chosen = surface(cells).ravel()[edges.sources]
    own = surface(cells).repeat(CELL_PX, 0).repeat(CELL_PX, 1)
    truth = np.stack([surface(cast(np, parts, camera, step_px=1, offset_px=at)) for at in SAMPLES_PX], -1)
    agree = (chosen == truth.reshape(-1, len(SAMPLES_PX))[edges.pixels]).mean()
    assert agree > 0.95  # what is thinner than a cell may have been met by no cell's ray
    left_alone = np.ones(ROWS * COLUMNS, dtype=bool)
    left_alone[edges.pixels] = False
    assert (truth.reshape(-1, 4)[left_alone] == own.ravel()[left_alone][:, None]).all(1).mean() > 0.997  # as above


@pytest.mark.parametrize("parts", worlds())
def test_stairs_become_the_antialiased_picture(parts: PackedParts) -> None:
    camera, conditions = look(), Conditions().vector()
    wanted = np.round(render(np, parts, camera, conditions, 0.0).colour * 255).astype(np.uint8)
    coarse = render(np, parts, camera, conditions, 0.0, smooth=False, step_px=CELL_PX).colour
    stairs = np.round(coarse * 255).astype(np.uint8).repeat(CELL_PX, 0).repeat(CELL_PX, 1)
    edges = edges_of(parts, cast(np, parts, camera, step_px=CELL_PX))
    at = np.zeros(ROWS * COLUMNS, dtype=bool)
    at[edges.pixels] = True
    at = at.reshape(ROWS, COLUMNS)
    picture = stairs.copy()
    resolve(picture, edges)
    np.testing.assert_array_equal(picture[~at], stairs[~at])
    assert mean_square(picture[at], wanted[at]) < 0.3 * mean_square(stairs[at], wanted[at])


def test_a_pixel_is_the_mean_of_its_sources() -> None:
    frame = np.zeros((4, 4, 3), np.uint8)
    frame[:2, 2:], frame[2:, :2], frame[2:, 2:] = 100, 200, 40
    resolve(frame, Edges(np.array([5]), np.array([[0, 1, 1, 2]])))
    assert frame[1, 1].tolist() == [100, 100, 100]
    assert frame[0, 0].tolist() == [0, 0, 0]


@pytest.mark.parametrize("parts", [
    Blockout().pack(),
    Blockout().add([Part(id=1, shape=Shape.PLANE, position=(0, 0, 0), size=(400, 0, 400))]).pack(),
])  # fmt: skip
def test_without_outlines_nothing_is_painted_anew(parts: PackedParts) -> None:
    edges = edges_of(parts, cast(np, parts, look(pitch=-0.9), step_px=CELL_PX))
    assert edges.pixels.shape == (0,)
    assert edges.sources.shape == (0, 4)
    frame = np.full((ROWS, COLUMNS, 3), 7, np.uint8)
    resolve(frame, edges)
    assert (frame == 7).all()


@pytest.mark.skipif(importlib.util.find_spec("embreex") is None, reason="embreex is not installed")
def test_a_mesh_has_the_outline_of_the_box_that_it_is() -> None:
    corners = np.array([[x, y, z] for x in (-0.5, 0.5) for y in (-0.5, 0.5) for z in (-0.5, 0.5)])
    quads = [(0, 1, 3, 2), (4, 6, 7, 5), (0, 4, 5, 1), (2, 3, 7, 6), (0, 2, 6, 4), (1, 5, 7, 3)]
    triangles = np.array([(a, b, c) for a, b, c, _ in quads] + [(a, c, d) for a, _, c, d in quads])
    about = {"id": 1, "position": (0.0, 1.0, 0.0), "size": (2.0, 2.0, 2.0), "material": "brick"}
    box = Part(shape=Shape.BOX, **about)
    mesh = Part(shape=Shape.MESH, vertices=corners, triangles=triangles, **about)
    of_box, of_mesh = (
        edges_of(parts, cast(np, parts, look(), step_px=CELL_PX))
        for parts in (Blockout().add([part]).pack() for part in (box, mesh))
    )
    assert len(of_box.pixels) > 100
    shared = np.intersect1d(of_box.pixels, of_mesh.pixels)
    assert len(shared) > 0.97 * max(len(of_box.pixels), len(of_mesh.pixels))


@pytest.mark.parametrize(("values", "mean"), [((0, 1, 0, 1), 1), ((0, 1, 0, 0), 0), ((255, 254, 255, 255), 255)])
def test_a_pixel_is_the_rounded_mean_of_its_four_cells(values: tuple[int, ...], mean: int) -> None:
    cells = np.array(values, np.uint8).reshape(2, 2)
    frame = np.repeat(cells.repeat(2, 0).repeat(2, 1)[..., None], 3, axis=2)
    resolve(frame, Edges(np.array([5]), np.array([[0, 1, 2, 3]])))
    assert frame[1, 1].tolist() == [mean] * 3
