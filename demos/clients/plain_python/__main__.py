"""Walks with the client of the protocol document: python -m demos.clients.plain_python ADDRESS SECONDS.

The walk is the one of demos/clients/README.md, in OpenGL's axes: x right, y up, -z forward.
"""

from __future__ import annotations

import json
import math
import re
import statistics
import sys
from pathlib import Path
from typing import Any, Final

DOCUMENT: Final = Path(__file__).parents[3] / "unity_plugin_protocol.md"
LEVEL: Final = (
    {"id": 1, "shape": "plane", "position": [0, 0, 0], "size": [40, 1, 40], "material": "grass"},
    {"id": 2, "shape": "box", "position": [0, 1.5, -8], "size": [8, 3, 0.5], "material": "brick"},
    {"id": 3, "shape": "cylinder", "position": [4, 2, -5], "size": [1, 4, 1], "material": "stone"},
    {
        "id": 4, "shape": "sphere", "position": [2, 1.5, -4], "size": [0.6, 0.6, 0.6],
        "material": "lamp", "colour": [1, 0.9, 0.7],
    },
)  # fmt: skip
_TICK_US: Final = 16_667
_SETTLE_US: Final = 1_000_000


def plain_client() -> dict[str, Any]:
    """The names that the document's code defines."""
    section = DOCUMENT.read_text(encoding="utf-8").split("## 16. A plain client")[1].split("\n## ")[0]
    code = "\n\n".join(re.findall(r"```python\n(.*?)```", section, re.S))
    scope: dict[str, Any] = {"__name__": "document"}
    exec(compile(code, str(DOCUMENT), "exec"), scope)
    return scope


def camera_at(tick: int) -> dict[str, Any]:
    """CONTROL's camera: to the right, around a point 3 m to the right of the start."""
    turned = 0.01 * tick
    return {
        "position": [3 * (1 - math.cos(turned)), 1.6, -3 * math.sin(turned)],
        "rotation": [0.0, -math.sin(turned / 2), 0.0, math.cos(turned / 2)],
        "vertical_fov_deg": 60.0,
    }


def main(address: str, seconds: float) -> int:
    code = plain_client()
    now_us, scene = code["now_us"], code["SCENE"]
    client = code["PlainClient"](address, client="plain python walk", credit=8)
    tick, sent, end_us = 0, 0, now_us() + round(seconds * 1e6)
    next_us = now_us()
    while now_us() < end_us and not client.is_over:
        if client.wants_level:
            client.wants_level = False
            client.send(scene, replace=True, seed=1, add=LEVEL)
        if client.control(**camera_at(tick), action="walk around the pillar"):
            sent, tick = sent + 1, tick + 1
            if tick % 15 == 0:
                position = [2.0, 1.5 + 0.5 * math.sin(tick / 30), -4.0]
                client.send(scene, move=[{"id": 4, "position": position}])
        next_us = max(next_us + _TICK_US, now_us())
        client.poll(next_us)
    settled_us = now_us() + _SETTLE_US
    while len(client.frames) < sent and now_us() < settled_us and not client.is_over:
        client.poll(now_us() + 5_000)
    client.send(code["BYE"], reason="closed by the game")
    client.socket.close(linger=100)
    print(json.dumps(report(client.frames, sent)))
    return 0 if client.frames else 1


def report(frames: list[tuple[dict[str, Any], bytes, int]], sent: int) -> dict[str, Any]:
    """The walk's account of itself."""
    trips = [read_us - fields["t_us"] for fields, _, read_us in frames] or [0]
    by_source = {source: 0 for source in ("generated", "reprojected", "held")}
    for fields, _, _ in frames:
        by_source[fields["source"]] += 1
    return {
        "client": "plain python", "controls": sent, **by_source, "shown": len(frames),
        "round_trip_us_p50": round(statistics.median(trips)),
        "round_trip_us_p99": sorted(trips)[len(trips) * 99 // 100],
    }  # fmt: skip


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], float(sys.argv[2])))
