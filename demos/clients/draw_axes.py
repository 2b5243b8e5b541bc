"""Draws axes.svg: the five frames that a client may speak, side by side, for the protocol document.

python -m demos.clients.draw_axes

Every panel shows the same scene from the same place: a camera that looks into the picture, and where the engine's own
X, Y and Z point then. What is drawn comes from bridge.axes, which tests/contract/axes holds to each engine's rotations.
"""

from __future__ import annotations

import html
import math
from pathlib import Path

from bridge.protocol.axes import client_from_ours, ours_from_client
from bridge.protocol.fields import Vec3
from bridge.protocol.messages import Axes

FILE = Path(__file__).with_name("axes.svg")
_PANEL_PX, _HEIGHT_PX, _ARM_PX = 212, 300, 58
_COLOURS = {"X": "#d33", "Y": "#393", "Z": "#36c"}
# Where a metre to the right, up and forward goes on paper: forward recedes to the upper right.
_PAPER = ((1.0, 0.0), (0.0, -1.0), (0.62, -0.42))
_S = math.sqrt(0.5)


def picture() -> str:
    """The SVG's text."""
    panels = "\n".join(_panel(axes, index) for index, axes in enumerate(Axes))
    width = _PANEL_PX * len(Axes)
    return f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {_HEIGHT_PX}" width="{width}" \
font-family="sans-serif" font-size="12">
<title>The axes of each engine, seen from behind a camera that looks into the picture</title>
<rect width="{width}" height="{_HEIGHT_PX}" fill="#fff"/>
<defs>{"".join(_arrow_head(axis, colour) for axis, colour in _COLOURS.items())}</defs>
{panels}
</svg>
"""


def _arrow_head(axis: str, colour: str) -> str:
    return (
        f'<marker id="head{axis}" viewBox="0 0 8 8" refX="6" refY="4" markerWidth="6" markerHeight="6" orient="auto">'
        f'<path d="M0,0 L8,4 L0,8 z" fill="{colour}"/></marker>'
    )


def _panel(axes: Axes, index: int) -> str:
    units = 100.0 if axes is Axes.UNREAL else 1.0
    to_ours, to_client = ours_from_client(axes, 1.0), client_from_ours(axes, units)
    right, up, forward = (_axis_name(client_from_ours(axes, 1.0).position(step)) for step in _STEPS)
    hand = "right-handed" if to_ours.handedness > 0 else "left-handed"
    point = ", ".join(f"{value:g}" for value in to_client.position((1.0, 2.0, -3.0)))
    turn = ", ".join(f"{value + 0.0:.4g}" for value in to_client.rotation((0.0, -_S, 0.0, _S)))
    units_text = f", {units:g} units a metre" if units != 1 else ""
    lines = [
        f"right {right}, up {up}, looks along {forward}",
        "1 m right, 2 up, 3 forward:",
        f"  {point}",
        "90 degrees to the right:",
        f"  {turn}",
    ]
    text = "".join(
        f'<text x="12" y="{218 + 17 * row}" xml:space="preserve">{html.escape(line)}</text>'
        for row, line in enumerate(lines)
    )
    arrows = "".join(_axis(axis, to_ours.position(_unit(number))) for number, axis in enumerate("XYZ"))
    return (
        f'<g transform="translate({index * _PANEL_PX},0)">'
        f'<text x="12" y="22" font-size="16" font-weight="bold">{axes.value}</text>'
        f'<text x="12" y="40" fill="#555">{hand}{units_text}</text>'
        f'<g transform="translate(84,128)">{_camera()}{arrows}</g>{text}</g>'
    )


_STEPS: tuple[Vec3, Vec3, Vec3] = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0))


def _unit(number: int) -> Vec3:
    return (float(number == 0), float(number == 1), float(number == 2))


def _axis_name(direction: Vec3) -> str:
    """+X for (1, 0, 0), -Z for (0, 0, -1)."""
    number = max(range(3), key=lambda at: abs(direction[at]))
    return f"{'+' if direction[number] > 0 else '-'}{'XYZ'[number]}"


def _paper(ours: Vec3) -> tuple[float, float]:
    """Ours (+X right, +Y up, -Z forward) in pixels from the panel's origin."""
    steps = (ours[0], ours[1], -ours[2])
    return (
        sum(step * _PAPER[at][0] for at, step in enumerate(steps)) * _ARM_PX,
        sum(step * _PAPER[at][1] for at, step in enumerate(steps)) * _ARM_PX,
    )


def _axis(name: str, ours: Vec3) -> str:
    x, y = _paper(ours)
    colour = _COLOURS[name]
    return (
        f'<line x1="0" y1="0" x2="{x:.1f}" y2="{y:.1f}" stroke="{colour}" stroke-width="3" '
        f'marker-end="url(#head{name})"/>'
        f'<text x="{1.2 * x:.1f}" y="{1.2 * y + 4:.1f}" fill="{colour}" font-weight="bold" text-anchor="middle">'
        f"{name}</text>"
    )


def _camera() -> str:
    """What the camera sees, as a pyramid that opens forward."""
    corners = [_paper((0.4 * right, 0.25 * up, -0.9)) for right, up in ((-1, 1), (1, 1), (1, -1), (-1, -1))]
    window = " ".join(f"{x:.1f},{y:.1f}" for x, y in corners)
    edges = "".join(f'<line x1="0" y1="0" x2="{x:.1f}" y2="{y:.1f}" stroke="#999"/>' for x, y in corners)
    return f'<polygon points="{window}" fill="#eee" stroke="#999"/>{edges}'


if __name__ == "__main__":
    FILE.write_text(picture(), encoding="utf-8")
