"""The golden cameras of each engine against bridge.protocol.axes, and whether they notice any other handedness."""

from __future__ import annotations

import importlib.util
import itertools
import json
import math
import pathlib
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from bridge.geometry import Pose
from bridge.protocol import axes
from bridge.protocol.axes import client_from_ours, ours_from_client
from bridge.protocol.messages import Axes
from demos.clients import draw_axes
from model.scene.camera import Camera, project

FOLDER = pathlib.Path(__file__).parent / "axes"
FILES: dict[str, Any] = {path.stem: json.loads(path.read_text()) for path in sorted(FOLDER.glob("*.json"))}
EACH = [(engine, vector["name"]) for engine, file in FILES.items() for vector in file["vectors"]]


def maker() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_axes", FOLDER.parent / "make_axes.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


def vector_of(engine: str, name: str) -> dict[str, Any]:
    return next(vector for vector in FILES[engine]["vectors"] if vector["name"] == name)


def ours(place: list[float]) -> np.ndarray:
    """Metres right, up and forward as our axes have them: +X right, +Y up, -Z forward."""
    right, up, forward = place
    return np.array([right, up, -forward])


def fits(engine: str, vector: dict[str, Any]) -> bool:
    """Whether the camera that bridge.protocol.axes makes of what was sent looks where the vector says."""
    there = ours_from_client(Axes(engine), FILES[engine]["units_per_metre"])
    sent, looks = vector["sent"], vector["looks"]
    position = np.array(there.position(tuple(sent["position"])))
    rotation = np.array(there.rotation(tuple(sent["rotation"])))
    turned = Pose(position=position, rotation=rotation, vertical_fov_deg=sent["vertical_fov_deg"]).matrix()
    camera = Camera(
        position=position, rotation=rotation, vertical_fov_deg=sent["vertical_fov_deg"],
        width=FILES[engine]["width"], height=FILES[engine]["height"],
    )  # fmt: skip
    x_px, y_px, depth = project(np, camera, np.array(there.position(tuple(vector["point"]))))
    if vector["pixel"] is None:
        seen = depth < 0
    else:
        u, v = x_px / camera.width, y_px / camera.height
        seen = depth > 0 and bool(np.allclose([u, v], vector["pixel"], atol=1e-5))
    return bool(
        np.allclose(position, ours(looks["stands_m"]), atol=1e-12)
        and np.allclose(-turned[:, 2], ours(looks["forward"]), atol=1e-12)
        and np.allclose(turned[:, 1], ours(looks["up"]), atol=1e-12)
        and seen
    )


def test_every_engine_has_at_least_twenty_and_the_files_are_what_the_script_writes() -> None:
    assert set(FILES) == {each.value for each in Axes}
    for engine, file in FILES.items():
        assert file == maker().vectors(engine), f"{engine}: run python tests/contract/make_axes.py"
        assert len({vector["name"] for vector in file["vectors"]}) == len(file["vectors"]) >= 20
        assert all(vector["why"] and vector["said"] for vector in file["vectors"])


@pytest.mark.parametrize(("engine", "name"), EACH, ids=[f"{engine}: {name}" for engine, name in EACH])
def test_the_camera_looks_where_the_vector_says(engine: str, name: str) -> None:
    vector = vector_of(engine, name)
    assert fits(engine, vector)
    looks = vector["looks"]
    # The words themselves: unit length, at right angles.
    assert math.isclose(sum(value**2 for value in looks["forward"]), 1, abs_tol=1e-12)
    assert math.isclose(sum(value**2 for value in looks["up"]), 1, abs_tol=1e-12)
    assert math.isclose(np.dot(looks["forward"], looks["up"]), 0, abs_tol=1e-12)


@pytest.mark.parametrize(("engine", "name"), EACH, ids=[f"{engine}: {name}" for engine, name in EACH])
def test_it_comes_back_as_it_was_sent(engine: str, name: str) -> None:
    sent = vector_of(engine, name)["sent"]
    units = FILES[engine]["units_per_metre"]
    there, back = ours_from_client(Axes(engine), units), client_from_ours(Axes(engine), units)
    assert back.position(there.position(tuple(sent["position"]))) == pytest.approx(sent["position"], abs=1e-12)
    assert back.rotation(there.rotation(tuple(sent["rotation"]))) == tuple(sent["rotation"])


@pytest.mark.parametrize("engine", FILES)
def test_every_other_reading_of_the_axes_is_noticed(engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """All 48 ways to name three axes with signs, mirrored ones among them: only the right one fits every vector."""
    right = axes._OURS_FROM_CLIENT[Axes(engine)]
    fitting = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            rows = tuple(zip(order, signs, strict=True))
            monkeypatch.setitem(axes._OURS_FROM_CLIENT, Axes(engine), rows)
            if all(fits(engine, vector) for vector in FILES[engine]["vectors"]):
                fitting.append(rows)
    assert fitting == [right]


def test_the_picture_in_the_document_is_what_the_script_draws() -> None:
    assert draw_axes.FILE.read_text(encoding="utf-8") == draw_axes.picture(), "run python -m demos.clients.draw_axes"
