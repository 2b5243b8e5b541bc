"""Writes godot4/: the Godot 3 scripts of this folder in Godot 4's spelling.

    python -m demos.clients.godot.respell

A line that ends in `# godot3` (and perhaps says more) is left out, and `# godot4: CODE` becomes CODE; the rest is names
that Godot 4 changed. A unit test holds godot4/ against this script, and parses it as Godot 4's grammar.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

FOLDER: Final = Path(__file__).parent
SCRIPTS: Final = ("helios_bridge.gd", "helios_level.gd", "helios_quad.gd")
_NAMES: Final = {
    "Reference": "RefCounted",
    "PoolByteArray": "PackedByteArray",
    "Quat": "Quaternion",
    "Camera": "Camera3D",
    "CollisionShape": "CollisionShape3D",
    "BoxShape": "BoxShape3D",
    "SphereShape": "SphereShape3D",
    "CylinderShape": "CylinderShape3D",
    "CapsuleShape": "CapsuleShape3D",
    "ConcavePolygonShape": "ConcavePolygonShape3D",
    "TYPE_REAL": "TYPE_FLOAT",
    "TYPE_RAW_ARRAY": "TYPE_PACKED_BYTE_ARRAY",
    "to_ascii": "to_ascii_buffer",
    "to_utf8": "to_utf8_buffer",
    "get_rotation_quat": "get_rotation_quaternion",
    "rect_size": "size",
    "rad2deg": "rad_to_deg",
    "deg2rad": "deg_to_rad",
}
_PHRASES: Final = (
    (r"OS\.get_ticks_usec\(", "Time.get_ticks_usec("),
    (r"^export\(NodePath\) var (\w+)", r"@export var \1: NodePath"),
    (r"^export var", "@export var"),
    (r"\.connect\((\w+|\"\w+\"), self, \"(\w+)\"\)", r".connect(\1, \2)"),
    (r"\.subarray\((.+), (.+) - 1\)", r".slice(\1, \2)"),
    (r"(\w+)\.xform\((\w+)\)", r"\1 * \2"),
    (r"(\w+)\.create_from_data\(", r"\1 = Image.create_from_data("),
    (r"(\w+)\.create_from_image\((\w+), 0\)", r"\1 = ImageTexture.create_from_image(\2)"),
)
_NOTICE: Final = "# Godot 4's spelling, written by respell.py from the Godot 3 script. Parsed here, not run.\n"


def godot4_from_godot3(text: str) -> str:
    """One script's text."""
    lines = [line for line in text.splitlines() if not re.search(r"\S\s+# godot3\b", line)]
    text = "\n".join(re.sub(r"^(\t*)# godot4: ", r"\1", line) for line in lines) + "\n"
    for name, now in _NAMES.items():
        text = re.sub(rf"\b{name}\b", now, text)
    for phrase, now in _PHRASES:
        text = re.sub(phrase, now, text, flags=re.M)
    text = text.replace("Written for Godot 3; godot4/ holds its other spelling.", "")
    return _NOTICE + re.sub(r"[ \t]+\n", "\n", text)


def main() -> None:
    target = FOLDER / "godot4"
    target.mkdir(exist_ok=True)
    for name in SCRIPTS:
        (target / name).write_text(godot4_from_godot3((FOLDER / name).read_text("utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
