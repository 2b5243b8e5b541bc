"""`helios-bridge blockout from-gltf`: converts a glTF level to the SCENE messages that hand it over."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import ConfigError
from bridge.levels.gltf import GltfOptions, parts_from_gltf
from bridge.levels.scene_file import scenes_of, write_scenes
from bridge.protocol.axes import client_from_ours
from bridge.protocol.messages import Axes


def from_gltf(
    path: Path, out: Path | None, *, axes: str, units_per_metre: float, materials: Sequence[str], boxes: bool
) -> int:
    """Converts, writes and says what became of the file. Returns 0. Raises: ConfigError: what is wrong with it."""
    renamed = dict(_pair(words) for words in materials)
    parts = parts_from_gltf(path, GltfOptions(materials=renamed, boxes=boxes))
    to_client = client_from_ours(Axes(axes), units_per_metre)
    updates = [to_client.scene(update) for update in scenes_of(parts)]
    target = out or path.with_suffix(".scene")
    size = write_scenes(target, updates)
    triangles = sum(len(part.triangles) // 12 for part in parts)
    print(f"{path}: {len(parts)} parts, {triangles} triangles, in {axes} axes at {units_per_metre:g} units a metre")
    for material, count in sorted(Counter(part.material for part in parts).items()):
        print(f"  {material or '(no name)'}: {count}")
    print(f"wrote {target}: {len(updates)} SCENE messages, {size / 2**20:.2f} MiB")
    return 0


def _pair(words: str) -> tuple[str, str]:
    name, equals, other = words.partition("=")
    if not equals:
        raise ConfigError(f"--material: got {words!r}, expected NAME-IN-THE-FILE=NAME-IN-THE-MODEL")
    return name, other
