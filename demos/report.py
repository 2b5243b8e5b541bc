"""The account of a run: how many controls were answered, how fast, from where, and how right the pictures were."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

import bridge
from bridge.errors import ConfigError
from bridge.machine import cpu_name
from bridge.rolling_stats import percentile
from demos.recording import make_folder_for
from demos.session import Figures
from demos.world import ReferenceRenderer
from model.cli_args import commit
from model.demo.world.conditions import Conditions

Json = dict[str, object]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shot:
    """A frame that was shown, and what the world was like for its pixels. time_s: the world's time."""

    frame: bridge.Frame
    conditions: Conditions
    time_s: float

    def reference(self, renderer: ReferenceRenderer) -> NDArray[np.uint8]:
        """What the game's own renderer makes of the camera that the frame says it shows."""
        header = self.frame.header
        camera = bridge.Camera(
            position=header.position, rotation=header.rotation, vertical_fov_deg=header.vertical_fov_deg
        )
        return renderer.frame(camera, self.conditions, self.time_s, (header.height, header.width))


def build_report(
    counts: bridge.Counts,
    figures: Figures,
    welcome: bridge.Welcome,
    *,
    began_us: int,
    seconds: float,
    tick_hz: float,
    budget_ms: float,
    psnrs_db: Sequence[float],
    ledger: bridge.Stats,
) -> Json:
    """The report of a run that began at `began_us` and took `seconds`. Figures that nothing was seen of are null.

    ledger: the server's own account at the end. Two sides tell one story twice: `in_budget` is the client's clock,
    `delivery` the server's.
    """
    latencies, ages, psnrs = (sorted(v) for v in (figures.latencies_ms, figures.control_ages_ms, psnrs_db))
    by_source = {source.value: count for source, count in counts.by_source.items()}
    first_us = figures.first_new_us
    return {
        "controls": counts.controls,
        "answered": counts.answered,
        "unanswered": counts.unanswered,
        "refused": counts.refused,
        "in_budget": counts.in_budget,
        "late": counts.late,
        **by_source,
        "sources": {name: _rounded(count / max(1, counts.answered), 4) for name, count in by_source.items()},
        "generated_fps": _rounded(figures.generated_fps, 2),
        "distinct_generated_frames": figures.new_frames,
        "first_frame_s": None if first_us is None else _rounded((first_us - began_us) / 1e6, 3),
        "seconds": _rounded(seconds, 2),
        "tick_hz": tick_hz,
        "budget_ms": _rounded(budget_ms, 3),
        "latency_ms": {name: _percentile(latencies, share) for name, share in _SHARES.items()},
        "control_age_ms": {name: _percentile(ages, _SHARES[name]) for name in ("p50", "p95")},
        "psnr_db": {
            "mean": _rounded(sum(psnrs) / len(psnrs), 2) if psnrs else None,
            "p5": _percentile(psnrs, 0.05),
            "frames": len(psnrs),
        },
        "model": welcome.model,
        "runner": welcome.runner,
        "frame_size": [welcome.frame_width, welcome.frame_height],
        "engine_restarts": ledger.engine_restarts,
        "ledger": {
            "accounts": dict(ledger.accounts),
            "delivery": _rounded(ledger.delivery, 5),
            "chunks": ledger.chunks,
            "chunk_frames": ledger.chunk_frames,
            "chunk_ms": {"p50": _rounded(ledger.chunk_ms_p50, 1), "p95": _rounded(ledger.chunk_ms_p95, 1)},
            "underruns": dict(ledger.underruns),
            "gap_ms": _rounded(ledger.gap_us / 1e3, 1),
            "margin_ms": _rounded(ledger.margin_us / 1e3, 1),
            "earliness_ms_p50": _rounded(ledger.earliness_us_p50 / 1e3, 1),
            "needless_starts": ledger.needless_starts,
            "replans": ledger.replans,
            "wasted_ms": _rounded(ledger.wasted_us / 1e3, 1),
            "rung": ledger.rung,
            "prediction_error": {
                "deg_p50": _rounded(ledger.prediction_deg_p50, 2),
                "deg_p95": _rounded(ledger.prediction_deg_p95, 2),
                "m_p50": _rounded(ledger.prediction_m_p50, 3),
                "m_p95": _rounded(ledger.prediction_m_p95, 3),
            },
        },
        "cpu": f"{cpu_name()} ({usable_cores()} cores)",
        "python": platform.python_version(),
        "commit": commit(),
    }


_SHARES = {"p50": 0.50, "p95": 0.95, "p99": 0.99}


def write_report(path: Path, report: Json) -> None:
    """Raises: ConfigError: the file cannot be written."""
    make_folder_for(path)
    try:
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    except OSError as exc:
        raise ConfigError(f"report: cannot write {path}: {exc.strerror}") from exc


def summary(report: Json) -> str:
    """The report in three lines, for a terminal."""
    latency, age, psnr = (_mapping(report[name]) for name in ("latency_ms", "control_age_ms", "psnr_db"))
    answered, ledger = report["answered"], _mapping(report["ledger"])
    underruns = {cause: count for cause, count in _mapping(ledger["underruns"]).items() if count}
    return (
        f"{answered} of {report['controls']} controls answered, {report['in_budget']} within "
        f"{report['budget_ms']} ms: {report['generated']} generated, {report['reprojected']} reprojected, "
        f"{report['held']} held\n"
        f"{report['generated_fps']} network frames/s; latency p50 {latency['p50']} ms, p99 {latency['p99']} ms; "
        f"control age p50 {age['p50']} ms, p95 {age['p95']} ms; chunks of {ledger['chunk_frames']} on "
        f"'{ledger['rung']}', underruns {underruns or 'none'}\n"
        f"PSNR against the reference renderer: mean {psnr['mean']} dB, p5 {psnr['p5']} dB ({psnr['frames']} frames)"
    )


def usable_cores() -> int:
    """How many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _percentile(ordered: list[float], share: float) -> float | None:
    return _rounded(percentile(ordered, share), 3) if ordered else None


def _rounded(value: float, digits: int) -> float:
    return round(value, digits)


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
