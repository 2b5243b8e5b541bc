"""What is drawn over the picture: figures and plots of the bridge, the words being typed, and short notes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import pygame

import bridge
from bridge.rolling_stats import percentile
from demos.session import HISTORY_S, BridgeSession, Sample

PANEL = (12, 16, 24, 204)
WHITE = (240, 243, 247)
SOFT = (162, 172, 186)
SOURCE_COLOURS = {
    bridge.Source.GENERATED: (96, 208, 142),
    bridge.Source.REPROJECTED: (98, 164, 246),
    bridge.Source.HELD: (238, 148, 92),
}
_PLOT_GROUND = (34, 41, 55, 214)
_LIMIT_COLOUR = (226, 98, 88)
_LATENCY_COLOUR = (104, 214, 224)
_AGE_COLOUR = (244, 198, 98)
_WIDTH_PX, _HEIGHT_PX, _PAD_PX, _ROW_PX = 324, 382, 14, 20
_PLOT_PX = 54
_MOST_CHARS = 64  # more than a row has room for
_REDRAW_US = 100_000  # ten times a second: figures that change faster cannot be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Plot:
    """One line over the last seconds. top: the end of the axis, beyond it is cut. limit: a value to mark, or None."""

    title: str
    points: Sequence[tuple[int, float]]
    colour: tuple[int, int, int]
    top: float
    limit: float | None = None


class Lettering:
    """Text at one size. It is drawn twice as large and reduced: SDL spaces small letters unevenly."""

    def __init__(self, size_px: int) -> None:
        self._font = pygame.font.Font(None, 2 * size_px)

    def width_px(self, text: str) -> int:
        return self._font.size(text)[0] // 2

    def render(self, text: str, colour: tuple[int, int, int]) -> pygame.Surface:
        """The text on a transparent ground."""
        large = self._font.render(text, True, colour)
        return pygame.transform.smoothscale(large, (max(1, large.get_width() // 2), large.get_height() // 2))


class Hud:
    """The panel of figures. It redraws itself ten times a second and is pasted in between."""

    def __init__(self) -> None:
        self._text = Lettering(19)
        self._small = Lettering(16)
        self._big = Lettering(34)
        self._panel: pygame.Surface | None = None
        self._due_us = 0

    def draw(self, target: pygame.Surface, session: BridgeSession, welcome: bridge.Welcome, now_us: int) -> None:
        """Paints the panel into the upper left corner."""
        if self._panel is None or now_us >= self._due_us:
            self._due_us = now_us + _REDRAW_US
            self._panel = self._paint(session, welcome, now_us)
        target.blit(self._panel, (12, 12))

    def _paint(self, session: BridgeSession, welcome: bridge.Welcome, now_us: int) -> pygame.Surface:
        history = list(session.history)
        panel = new_panel((_WIDTH_PX, _HEIGHT_PX))
        y = _PAD_PX
        rate = self._big.render(f"{session.new_frame_rate.per_second(now_us):.1f}", WHITE)
        panel.blit(rate, (_PAD_PX, y - 2))
        self._write(panel, "network frames/s", (_PAD_PX + rate.get_width() + 8, y + 8), SOFT)
        y = self._shares(panel, history, y + 32)
        latencies = sorted(sample.latency_ms for sample in history)
        ages = sorted(sample.control_age_ms for sample in history if sample.control_age_ms > 0)
        y = self._row(panel, "model · runner", f"{welcome.model} · {welcome.runner}", y)
        y = self._row(panel, "latency p50 / p95", _pair(latencies), y)
        y = self._row(panel, "control age p50 / p95", _pair(ages), y)
        if session.newest is not None:
            header = session.newest.header
            steps = "-".join(map(str, header.steps)) or "none"
            y = self._row(panel, "rung · steps", f"{header.rung or 'none'} · {steps}", y)
            shown = f"{header.chunk} / {header.index}" if header.chunk >= 0 else "none yet"
            y = self._row(panel, "chunk / frame", shown, y)
        y = self._row(panel, "action applied", f"“{session.applied.action}”" if session.applied.action else "none", y)
        for plot in (
            Plot(
                title="latency, ms", points=[(s.at_us, s.latency_ms) for s in history], colour=_LATENCY_COLOUR,
                top=2 * session.budget_ms, limit=session.budget_ms,
            ),
            Plot(
                title="control age, ms", points=[(s.at_us, s.control_age_ms) for s in history],
                colour=_AGE_COLOUR, top=200.0 * max(1, math.ceil(max(ages, default=0.0) / 200)),
            ),
        ):  # fmt: skip
            y = self._plot(panel, plot, now_us, y + 6)
        return panel

    def _shares(self, panel: pygame.Surface, history: Sequence[Sample], y: int) -> int:
        """A bar of where the last seconds' answers came from, and its legend."""
        counts = {source: sum(sample.source is source for sample in history) for source in bridge.Source}
        total, left, width = max(1, len(history)), _PAD_PX, _WIDTH_PX - 2 * _PAD_PX
        pygame.draw.rect(panel, _PLOT_GROUND, (left, y, width, 9))
        x = float(left)
        for source, count in counts.items():
            span = width * count / total
            pygame.draw.rect(panel, SOURCE_COLOURS[source], (round(x), y, round(x + span) - round(x), 9))
            x += span
        y += 15
        legend = {source: f"{source.value} {100 * count / total:.0f}%" for source, count in counts.items()}
        gap = (width - sum(self._small.width_px(text) + 12 for text in legend.values())) // 2
        at = left
        for source, text in legend.items():
            pygame.draw.circle(panel, SOURCE_COLOURS[source], (at + 4, y + 7), 4)
            self._write(panel, text, (at + 12, y + 1), WHITE, small=True)
            at += self._small.width_px(text) + 12 + gap
        return y + 24

    def _row(self, panel: pygame.Surface, name: str, value: str, y: int) -> int:
        self._write(panel, name, (_PAD_PX, y), SOFT)
        room = _WIDTH_PX - 3 * _PAD_PX - self._text.width_px(name)
        value = shortened(value, _MOST_CHARS)
        while self._text.width_px(value) > room and len(value) > 1:
            value = shortened(value, len(value) - 1)
        self._write(panel, value, (_WIDTH_PX - _PAD_PX, y), WHITE, right=True)
        return y + _ROW_PX

    def _plot(self, panel: pygame.Surface, plot: Plot, now_us: int, y: int) -> int:
        box = pygame.Rect(_PAD_PX, y + 16, _WIDTH_PX - 2 * _PAD_PX, _PLOT_PX)
        self._write(panel, plot.title, (_PAD_PX, y), plot.colour, small=True)
        self._write(panel, f"{plot.top:.0f}", (_WIDTH_PX - _PAD_PX, y), SOFT, small=True, right=True)
        pygame.draw.rect(panel, _PLOT_GROUND, box, border_radius=3)
        if plot.limit is not None:
            height = box.bottom - round(plot.limit / plot.top * box.height)
            pygame.draw.line(panel, _LIMIT_COLOUR, (box.left, height), (box.right - 1, height))
            at = _PAD_PX + self._small.width_px(plot.title) + 14
            pygame.draw.line(panel, _LIMIT_COLOUR, (at, y + 6), (at + 14, y + 6), 2)
            self._write(panel, f"budget {plot.limit:.1f}", (at + 20, y), SOFT, small=True)
        line = [
            (
                box.right - (now_us - at_us) / (HISTORY_S * 1e6) * box.width,
                box.bottom - 1 - min(value / plot.top, 1.0) * (box.height - 2),
            )
            for at_us, value in plot.points
        ]
        panel.set_clip(box)
        if len(line) >= 2:
            pygame.draw.aalines(panel, plot.colour, closed=False, points=line)
        panel.set_clip(None)
        return box.bottom

    def _write(
        self,
        panel: pygame.Surface,
        text: str,
        at: tuple[int, int],
        colour: tuple[int, int, int],
        *,
        small: bool = False,
        right: bool = False,
    ) -> None:
        picture = (self._small if small else self._text).render(text, colour)
        panel.blit(picture, (at[0] - (picture.get_width() if right else 0), at[1]))


def new_panel(size: tuple[int, int]) -> pygame.Surface:
    """A translucent dark panel with round corners."""
    panel = pygame.Surface(size, pygame.SRCALPHA)
    pygame.draw.rect(panel, PANEL, ((0, 0), size), border_radius=8)
    return panel


def shortened(text: str, most: int) -> str:
    """The text in at most `most` characters. One may be 2 KB, and drawing that takes longer than a tick."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _pair(ordered: list[float]) -> str:
    if not ordered:
        return "none yet"
    return f"{percentile(ordered, 0.5):.1f} / {percentile(ordered, 0.95):.1f} ms"
