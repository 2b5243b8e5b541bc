"""The report: figures of frames, changes and phrases gathered to what a reader asks for."""

from __future__ import annotations

import math
import os
import platform
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import cv2
import numpy as np
import onnxruntime

from model.cli_args import commit
from model.demo.evaluation.heldout import TextFigures
from model.demo.evaluation.judging import CHUNKS_WATCHED, ChangeFigures, FrameFigures
from model.demo.world.conditions import SLOTS

Json = dict[str, object]


def picture_figures(frames: Sequence[FrameFigures]) -> Json:
    """PSNR, SSIM and sharpness of some frames."""
    psnrs = [frame.psnr_db for frame in frames]
    return {
        "frames": len(frames),
        "psnr_db": {"mean": mean(psnrs), "p5": share(psnrs, 0.05)},
        "ssim": mean(frame.ssim for frame in frames),
        "sharpness": share([frame.sharpness for frame in frames], 0.5),
    }


def by_condition(frames: Sequence[FrameFigures]) -> Json:
    """The pictures' figures for every value of every slot, whatever the other slots showed."""
    return {
        f"{slot} {value}": picture_figures([f for f in frames if getattr(f.conditions, slot) == value])
        for slot, values in SLOTS.items()
        for value in values
    }


def by_map(frames: Sequence[FrameFigures]) -> Json:
    names = dict.fromkeys(frame.map_name for frame in frames)
    return {name: picture_figures([frame for frame in frames if frame.map_name == name]) for name in names}


def camera_figures(frames: Sequence[FrameFigures]) -> Json:
    """How far the cameras are that frames show from those they should; without frames that do not tell (fog)."""
    searched = [frame.pose for frame in frames if frame.pose is not None]
    told = [pose for pose in searched if pose.is_told]
    rotations, positions = [pose.rotation_deg for pose in told], [pose.position_m for pose in told]
    return {
        "frames": len(told),
        "frames_that_do_not_tell": len(searched) - len(told),
        "rotation_deg": {"median": share(rotations, 0.5), "p95": share(rotations, 0.95)},
        "position_m": {"median": share(positions, 0.5), "p95": share(positions, 0.95)},
    }


def action_figures(changes: Sequence[ChangeFigures]) -> Json:
    """The share of changes that show, by the chunk after the text, over those that are in view then."""

    def of(some: Sequence[ChangeFigures]) -> Json:
        verdicts = [
            [change.shows[k] for change in some if len(change.shows) > k and change.shows[k] is not None]
            for k in range(CHUNKS_WATCHED)
        ]
        shown = {f"chunk_{k + 1}": mean(map(float, filter_none(seen))) for k, seen in enumerate(verdicts)}
        return {"changes": len(some), "in_view": len(verdicts[0]), "shown_in": shown}

    return {
        **of(changes),
        "by_slot": {slot: of([change for change in changes if change.change.slot == slot]) for slot in SLOTS},
    }


def text_report(figures: TextFigures) -> Json:
    asked = {kind: count for kind, count in figures.asked.items() if count}
    return {
        "phrases": figures.phrases,
        "right": rounded(figures.whole / figures.phrases),
        "by_slot": {
            kind: {"asked": count, "right": rounded(figures.right[kind] / count)} for kind, count in asked.items()
        },
        "misread": list(figures.misread),
    }


def machine() -> Json:
    """Where and of what the figures are."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "cpu": _cpu_name(), "cores": cores,
        "system": platform.system(), "python": platform.python_version(), "numpy": np.__version__,
        "opencv": cv2.__version__, "onnxruntime": onnxruntime.__version__, "commit": commit(),
    }  # fmt: skip


def mean(values: Iterable[float]) -> float | None:
    seen = list(values)
    return rounded(math.fsum(seen) / len(seen)) if seen else None


def share(values: Sequence[float], part: float) -> float | None:
    """The quantile `part` (0..1) of some values, None of none."""
    return rounded(float(np.quantile(values, part))) if len(values) else None


def rounded(value: float) -> float:
    return round(value, 4)


def filter_none(values: Iterable[bool | None]) -> list[bool]:
    return [value for value in values if value is not None]


def lines(report: Mapping[str, object], *, indent: int = 0) -> list[str]:
    """A report for a terminal: one line a group of figures."""
    out = []
    for key, value in report.items():
        if isinstance(value, dict):
            if any(isinstance(inner, dict) for inner in value.values()):
                out += [f"{'  ' * indent}{key}", *lines(value, indent=indent + 1)]
            else:
                inner = ", ".join(f"{name} {_said(figure)}" for name, figure in value.items())
                out.append(f"{'  ' * indent}{key}: {inner}")
        else:
            out.append(f"{'  ' * indent}{key}: {_said(value)}")
    return out


def _said(figure: object) -> str:
    if figure is None:
        return "-"
    return f"{figure:.4g}" if isinstance(figure, float) else str(figure)


def _cpu_name() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()
