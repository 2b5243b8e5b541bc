"""The Godot scripts beyond their walk: the collector in Godot 3 without a window, and Godot 4's spelling as text."""

from __future__ import annotations

import json
import struct
import subprocess
from pathlib import Path

import pytest
from gdtoolkit.parser import parser

from demos.clients.catalogue import BY_NAME
from demos.clients.godot.respell import FOLDER, SCRIPTS, godot4_from_godot3

HALF = 0.5**0.5
COLLECT = Path(__file__).parents[1] / "contract/engines/collect.gd"


def test_collision_shapes_become_parts() -> None:
    if BY_NAME["godot"].missing:
        pytest.skip(f"godot: needs {', '.join(BY_NAME['godot'].missing)}")
    done = subprocess.run(
        ["godot3-server", "--path", str(FOLDER), "-s", str(COLLECT)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    *parts, still, moved = (json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))
    right = [0, -HALF, 0, HALF]
    # A third of a turn about (1, -1, 1): up goes to -x, as a capsule along Z does when it is turned right.
    lying = [0.5, -0.5, 0.5, 0.5]
    expected = [
        ("box", "brick", [14, 1, 0], right, [6, 2, 0.5]),
        ("sphere", "lamp", [10, 0, 0], right, [1, 1, 1]),
        ("cylinder", "brick", [10, 2, 3], right, [2, 4, 2]),
        ("cylinder", "brick", [10, 2, 0], lying, [1, 4, 1]),
        ("sphere", "brick", [8, 2, 0], lying, [1, 1, 1]),
        ("sphere", "brick", [12, 2, 0], lying, [1, 1, 1]),
        ("mesh", "brick", [10, 0, 0], right, [1, 1, 1]),
    ]
    assert [part["id"] for part in parts] == [1, 2, 3, 4, 5, 6, 7]
    for part, (shape, material, position, rotation, size) in zip(parts, expected, strict=True):
        assert (part["shape"], part["material"]) == (shape, material)
        assert part["position"] == pytest.approx(position, abs=1e-5)
        assert part["rotation"] == pytest.approx(rotation, abs=1e-5)
        assert part["size"] == pytest.approx(size, abs=1e-5)
    # Seen from above the face is clockwise, Godot's front: handed over, cross(b - a, c - a) points up.
    assert struct.unpack("<9f", bytes.fromhex(parts[-1]["vertices"])) == (0, 0, 0, 1, 0, 0, 0, 0, 1)
    assert struct.unpack("<3I", bytes.fromhex(parts[-1]["triangles"])) == (0, 2, 1)
    assert still == {"moves": None}
    (move,) = moved["moves"]["move"]
    assert move["id"] == 1
    assert move["position"] == pytest.approx([14, 2, 0], abs=1e-5)


@pytest.mark.parametrize("name", SCRIPTS)
def test_godot_4s_spelling_is_what_the_script_writes_and_parses(name: str) -> None:
    written = (FOLDER / "godot4" / name).read_text(encoding="utf-8")
    made = godot4_from_godot3((FOLDER / name).read_text(encoding="utf-8"))
    assert written == made, "run python -m demos.clients.godot.respell"
    parser.parse(written)
