"""The Unity package beyond its walk: garbage, domain reloads, the sample against hand-written declarations of Unity.

Not run in Unity: compiled as C# 6 by mono's compiler, and run by mono.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.backends.synthetic import render_room
from demos.clients.catalogue import BY_NAME, HERE

TESTS = Path(__file__).parents[1] / "contract/engines"
UNITY = HERE / "unity"
HALF = 0.5**0.5


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    if BY_NAME["unity"].missing:
        pytest.skip(f"unity: needs {', '.join(BY_NAME['unity'].missing)}")
    made = tmp_path_factory.mktemp("unity") / "UnityTests.exe"
    sources = [UNITY / "Runtime/HeliosClient.cs", *sorted((UNITY / "Samples~/Quad").glob("*.cs"))]
    sources += [TESTS / "UnityEngine.cs", TESTS / "UnityTests.cs"]
    subprocess.run(
        ["mcs", "-langversion:6", "-r:System.Core", "-warnaserror", f"-out:{made}", *map(str, sources)], check=True
    )
    return ["mono", str(made)]


def lines(program: list[str], *arguments: str, **environment: str) -> list[dict[str, Any]]:
    done = subprocess.run(
        [*program, *arguments],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_thousand_ticks_allocate_nothing(program: list[str], shared_service) -> None:
    # A nursery of 16 KiB: 17 bytes a tick would fill it. What does allocate 64 bytes is seen, by the same means.
    (seen,) = lines(program, "allocation", shared_service.address, MONO_GC_PARAMS="nursery-size=16k")
    assert seen["collections"] == 0
    assert seen["frames"] >= 500
    assert seen["controls"] >= 900
    assert seen["collections_when_spilling"] >= 3


def test_a_domain_reload_neither_waits_nor_leaves_a_session(program: list[str], shared_service) -> None:
    with shared_service.client() as watcher:
        before = watcher.stats(5.0).sessions
        unloads = lines(program, "reload", shared_service.address)
        assert len(unloads) == 3
        assert all(unload["unload_ms"] < 2000 for unload in unloads)
        # Each said BYE, and what it said before that is done with in no time. Lost sessions would be kept for 30 s.
        gives_up = time.monotonic() + 5
        while (left := watcher.stats(5.0).sessions) != before and time.monotonic() < gives_up:
            time.sleep(0.05)
        assert left == before


def test_the_sample_puts_frames_on_a_texture_with_the_lowest_row_first(program: list[str], shared_service) -> None:
    (seen,) = lines(program, "quad", shared_service.address)
    assert seen["answered"] >= 0.8 * seen["controls"] > 20
    assert seen["applied"] > 20
    assert len(seen["raw"]) == 2 * 3 * seen["width"] * seen["height"]
    # The camera stands still in the middle of the pattern's room, whose ceiling is the negative of its floor.
    shown = np.frombuffer(bytes.fromhex(seen["raw"]), np.uint8).reshape(seen["height"], seen["width"], 3)
    room, _ = render_room(np.zeros(3), np.array([0.0, 0.0, 0.0, 1.0]), 60.0, seen["width"], seen["height"])
    away = np.abs(shown[::-1].astype(float) - room).mean()
    assert away < 2.0 < 20.0 < np.abs(shown.astype(float) - room).mean()


def test_colliders_become_the_parts_that_unity_would_collide_with(program: list[str]) -> None:
    parts = lines(program, "collect")
    plain = {"colour": [1, 1, 1], "vertices": [], "triangles": []}
    log = {"material": "plaster", **plain}
    right, lying = [0, HALF, 0, HALF], [-0.5, 0.5, -0.5, 0.5]
    # The level stands at x = 10 and is turned right by 90 degrees: its forward is the world's +x.
    expected = [
        {"shape": "box", "material": "brick", "position": [14, 2, 0], "rotation": right, "size": [6, 2, 0.5],
         "colour": [1, 0.21404, 0], "vertices": [], "triangles": []},
        {"shape": "sphere", "material": "water", "position": [10, 0, 0], "rotation": right, "size": [3, 3, 3], **plain},
        {"shape": "cylinder", "position": [10, 2, 0], "rotation": lying, "size": [1, 4, 1], **log},
        {"shape": "sphere", "position": [10, 2, -2], "rotation": lying, "size": [1, 1, 1], **log},
        {"shape": "sphere", "position": [10, 2, 2], "rotation": lying, "size": [1, 1, 1], **log},
        # A mirrored mesh: its vertices are mirrored, and its triangles wound the other way round.
        {"shape": "mesh", "material": "tiles", "position": [10, 0, 0], "rotation": right, "size": [1, 1, 2],
         "colour": [1, 1, 1], "vertices": [[0, 0, 0], [0, 0, 1], [-1, 0, 0]], "triangles": [0, 2, 1]},
    ]  # fmt: skip
    assert [part.pop("id") for part in parts] == [1, 2, 3, 4, 5, 6]
    for part, wanted in zip(parts, expected, strict=True):
        assert (part.pop("shape"), part.pop("material")) == (wanted.pop("shape"), wanted.pop("material"))
        for key, value in wanted.items():
            if key == "vertices":
                assert part[key] == value
            else:
                assert part[key] == pytest.approx(value, abs=1e-5), key


def test_what_is_drawn_becomes_meshes_instead_when_asked(program: list[str]) -> None:
    (part,) = lines(program, "drawn")
    assert (part["shape"], part["material"], part["triangles"]) == ("mesh", "tiles", [0, 2, 1])
    assert part["position"] == pytest.approx([10, 0, 0], abs=1e-5)


def test_the_package_names_what_is_there() -> None:
    package = json.loads((UNITY / "package.json").read_text(encoding="utf-8"))
    assert all((UNITY / sample["path"]).is_dir() for sample in package["samples"])
    guids = set()
    for path in (UNITY / "package.json", UNITY / "README.md", *(UNITY / "Runtime").glob("*.[ca]s*")):
        if path.suffix == ".meta":
            continue
        meta = path.with_name(path.name + ".meta").read_text(encoding="utf-8")
        guids.add(meta.split("guid: ")[1].split()[0])
    assert len(guids) == 4, "Unity ignores a file of an installed package that has no .meta with an id of its own"
