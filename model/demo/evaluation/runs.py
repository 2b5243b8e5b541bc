"""The tours that a model is judged by: one of each map, and a long one for drift."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass, field
from pathlib import Path

from model.demo.evaluation.figures import psnr_db
from model.demo.evaluation.judging import ChangeFigures, FrameFigures, Judge, Pair
from model.demo.evaluation.painting import Painter
from model.demo.evaluation.report import Json, picture_figures, rounded
from model.demo.evaluation.tours import TEXT_EVERY_S, Tour, draw_tour
from model.demo.training.charts import Picture, picture_sheet
from model.demo.training.clips import FPS, FRAMES_PER_LATENT
from model.scene.maps import DEFAULT_MAP, load_map

_ENDS_S = 30.0  # drift compares this much of a long tour's beginning and end
_ASKED_EVERY_S = 1.0
_NEVER = 1 << 30
_SHEET_COLUMNS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationConfig:
    """How much is looked at. seconds: of the tour of each map. asked_seconds: of another tour of each map, on which a
    text is given every second: only whether it shows is looked at. drift_minutes: 0 leaves drift out.

    every, pose_every: frames from one that is compared to the next, and from one camera search to the next.
    clips: of each tour that the autoencoder alone is tried on.
    """

    maps: tuple[str, ...]
    seconds: float = 24.0
    asked_seconds: float = 24.0
    drift_minutes: float = 5.0
    every: int = 6
    pose_every: int = 24
    clips: int = 3
    chunk_latents: int = 3
    seed: int = 0


@dataclass(slots=True)
class Seen:
    """What the tours of all maps have shown."""

    frames: list[FrameFigures] = field(default_factory=list)
    changes: list[ChangeFigures] = field(default_factory=list)
    autoencoder_db: list[float] = field(default_factory=list)
    rows: list[list[Pair]] = field(default_factory=list)
    chunk_s: list[float] = field(default_factory=list)


def look_at_map(painter: Painter, config: EvaluationConfig, name: str, seen: Seen, folder: Path) -> Json:
    """Paints and judges one map's tour, adds to `seen`, and returns the tour's own picture figures."""
    tour = _tour(painter, config, name, config.seconds)
    judge = Judge(tour, every=config.every, pose_every=config.pose_every)
    for chunk in painter.paint(tour, seed=config.seed):
        judge.see(chunk)
        seen.chunk_s.append(chunk.seconds)
    seen.frames += judge.frames
    seen.changes += judge.changes
    picked = range(0, len(judge.pairs), max(1, len(judge.pairs) // _SHEET_COLUMNS))
    seen.rows.append([judge.pairs[index] for index in picked][:_SHEET_COLUMNS])
    if config.clips and importlib.util.find_spec("torch") is not None:
        seen.autoencoder_db += _autoencoder_alone(tour, config, folder)
    return picture_figures(judge.frames)


def look_at_actions(painter: Painter, config: EvaluationConfig, name: str, seen: Seen) -> None:
    """Paints a tour of one map on which something is asked for all the time, and adds to `seen` what came of it."""
    tour = _tour(painter, config, name, config.asked_seconds, other=True)
    judge = Judge(tour, every=_NEVER, pose_every=_NEVER)
    for chunk in painter.paint(tour, seed=config.seed):
        judge.see(chunk)
    seen.changes += judge.changes


def drift(painter: Painter, config: EvaluationConfig) -> Json:
    """The pictures' figures over a long tour's beginning and end.

    The end shows other places than the beginning, so it is painted once more, by a session that has painted nothing
    before it: what is lost against that is lost to drift, and to nothing else.
    """
    tour = _tour(painter, config, DEFAULT_MAP, config.drift_minutes * 60)
    chunk_frames = painter.chunk_frames
    chunks = len(tour.positions) // chunk_frames
    at_ends = min(round(_ENDS_S * FPS / chunk_frames), chunks // 2)
    parts = {name: Judge(tour, every=config.every, pose_every=_NEVER) for name in ("first", "last", "last_afresh")}
    before_end = None
    for index, chunk in enumerate(painter.paint(tour, seed=config.seed)):
        if index < at_ends:
            parts["first"].see(chunk)
        if index >= chunks - at_ends:
            parts["last"].see(chunk)
        elif index == chunks - at_ends - 1:
            before_end = chunk.state
    first_frame = (chunks - at_ends) * chunk_frames
    for chunk in painter.paint(tour, first=first_frame, afresh=before_end, seed=config.seed):
        parts["last_afresh"].see(chunk)
    figures = {name: picture_figures(judge.frames) for name, judge in parts.items()}
    means = {name: sum(f.psnr_db for f in judge.frames) / len(judge.frames) for name, judge in parts.items()}
    return {
        "minutes": config.drift_minutes, "seconds_at_ends": rounded(at_ends * chunk_frames / FPS), **figures,
        "first_minus_last_db": rounded(means["first"] - means["last"]),
        "drift_db": rounded(means["last_afresh"] - means["last"]),
    }  # fmt: skip


def sheet(seen: Seen) -> Picture:
    """Painted frames of each tour over their references."""
    rows = []
    for pairs in seen.rows:
        rows.append([(f"{p.figures.map_name} {p.figures.psnr_db:.1f} dB", p.shown) for p in pairs])
        rows.append([(_said(p.figures), p.reference) for p in pairs])
    return picture_sheet(rows)


def _said(figures: FrameFigures) -> str:
    now = figures.conditions
    things = [
        name for name, on in (("lamps", now.lamps == "on"), ("door", now.door == "open"),
                              ("fountain", now.fountain == "on")) if on
    ]  # fmt: skip
    return " ".join(["reference:", now.time, now.weather, *things])


def _tour(painter: Painter, config: EvaluationConfig, name: str, seconds: float, *, other: bool = False) -> Tour:
    """other: another way through the map, with a text every `_ASKED_EVERY_S`."""
    chunks = max(2, round(seconds * FPS / painter.chunk_frames))
    return draw_tour(load_map(name), frames=chunks * painter.chunk_frames, seed=config.seed + other,
                     multiple=painter.chunk_frames, text_every_s=_ASKED_EVERY_S if other else TEXT_EVERY_S)  # fmt: skip


def _autoencoder_alone(tour: Tour, config: EvaluationConfig, folder: Path) -> list[float]:
    """PSNR of each frame of some clips of the tour. Imports torch."""
    from model.demo.checkpoint import load_checkpoint
    from model.demo.evaluation.autoencoder_alone import reconstruct

    autoencoder = load_checkpoint(folder)[1].autoencoder
    gap = len(tour.positions) // config.clips // FRAMES_PER_LATENT * FRAMES_PER_LATENT
    clips = [reconstruct(autoencoder, tour, index * gap) for index in range(config.clips)]
    return [psnr_db(made, wanted) for clip in clips for made, wanted in zip(clip.made, clip.reference, strict=True)]
