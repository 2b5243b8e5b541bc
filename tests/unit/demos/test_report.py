"""The account of a run, its pictures and its files."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

import bridge
from bridge.config import ServeConfig
from bridge.errors import ConfigError
from demos.headless import run_headless
from demos.options import PlayOptions
from demos.recording import VIDEO_FPS, Pair, VideoFile, contact_sheet, write_png, write_video
from demos.report import build_report, summary, usable_cores, write_report
from demos.session import Figures
from tests.valid_messages import WELCOME

LEDGER = bridge.Stats(
    controls=10, accounts={"generated": 9, "late": 1}, delivery=0.9, underruns={"overrun": 2, "paused": 0}, gap_us=1500,
    chunk_frames=4, rung="full", engine_restarts=1,
)  # fmt: skip


def _report(counts: bridge.Counts, figures: Figures, psnrs_db: list[float]) -> dict[str, Any]:
    return build_report(
        counts, figures, WELCOME, began_us=1_000_000, seconds=2.0, tick_hz=60.0, budget_ms=16.667, psnrs_db=psnrs_db,
        ledger=LEDGER,
    )  # fmt: skip


def test_holds_every_figure_asked_for() -> None:
    counts = bridge.Counts(controls=10, refused=1, in_budget=7, late=1)
    counts.by_source |= {bridge.Source.GENERATED: 3, bridge.Source.REPROJECTED: 4, bridge.Source.HELD: 1}
    figures = Figures(
        latencies_ms=[1.0] * 7 + [40.0], control_ages_ms=[90.0, 110.0], new_frames=25, first_new_us=1_500_000,
        last_new_us=2_500_000,
    )  # fmt: skip
    report = _report(counts, figures, [20.0, 22.0])
    assert report["controls"] == 10
    assert (report["answered"], report["unanswered"], report["refused"]) == (8, 2, 1)
    assert (report["generated"], report["reprojected"], report["held"]) == (3, 4, 1)
    assert (report["in_budget"], report["late"]) == (7, 1)
    assert report["generated_fps"] == 24.0
    assert report["first_frame_s"] == 0.5
    assert report["latency_ms"] == {"p50": 1.0, "p95": 40.0, "p99": 40.0}
    assert report["control_age_ms"] == {"p50": 90.0, "p95": 110.0}
    assert report["psnr_db"] == {"mean": 21.0, "p5": 20.0, "frames": 2}
    assert {"tick_hz", "budget_ms", "model", "runner", "frame_size", "cpu", "python", "commit"} <= set(report)
    assert report["engine_restarts"] == 1
    assert report["ledger"]["accounts"] == {"generated": 9, "late": 1}
    assert (report["ledger"]["delivery"], report["ledger"]["gap_ms"]) == (0.9, 1.5)
    assert "8 of 10 controls answered" in summary(report)
    assert "chunks of 4 on 'full', underruns {'overrun': 2}" in summary(report)


def test_a_run_without_a_single_answer_still_reports(tmp_path: Path) -> None:
    report = _report(bridge.Counts(controls=5), Figures(), [])
    write_report(tmp_path / "deep" / "r.json", report)
    read = json.loads((tmp_path / "deep" / "r.json").read_text())
    assert (read["unanswered"], read["generated_fps"], read["psnr_db"]["mean"]) == (5, 0.0, None)
    assert read["latency_ms"] == {"p50": None, "p95": None, "p99": None}
    assert read["cpu"].endswith(f"({usable_cores()} cores)")


def test_a_contact_sheet_shows_every_pair_whole() -> None:
    pairs = [
        Pair(
            shown=np.full((20, 30, 3), 40 + n, np.uint8),
            reference=np.full((20, 30, 3), 140 + n, np.uint8),
            title="",
            subtitle="",
        )
        for n in range(6)
    ]
    sheet = contact_sheet(pairs)
    for n in range(6):
        assert (sheet == 40 + n).all(-1).sum() == 600
        assert (sheet == 140 + n).all(-1).sum() == 600


def test_a_video_keeps_its_colours_and_its_length(tmp_path: Path) -> None:
    red = np.zeros((32, 48, 3), np.uint8)
    red[..., 0] = 220
    write_video(tmp_path / "a.mp4", [red] * 12)
    video = cv2.VideoCapture(str(tmp_path / "a.mp4"))
    _, bgr = video.read()
    assert video.get(cv2.CAP_PROP_FRAME_COUNT) == 12
    assert bgr[..., 2].mean() > 180
    assert bgr[..., 0].mean() < 40


def test_a_recording_keeps_to_its_rate(tmp_path: Path) -> None:
    picture = np.zeros((32, 48, 3), np.uint8)
    recording = VideoFile(tmp_path / "b.mp4", (32, 48))
    for number in range(60):  # a second of a 60 Hz game
        if recording.wants(number / 60):
            recording.add(picture, number / 60)
    recording.close()
    frames = cv2.VideoCapture(str(tmp_path / "b.mp4")).get(cv2.CAP_PROP_FRAME_COUNT)
    assert frames + recording.left_out == VIDEO_FPS


def test_what_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nosuch"):
        write_video(tmp_path / "a.nosuch", [np.zeros((8, 8, 3), np.uint8)])
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot make the folder"):
        write_report(tmp_path / "file" / "r.json", {})
    (tmp_path / "r.json").mkdir()
    with pytest.raises(ConfigError, match=r"cannot write .*r\.json"):
        write_report(tmp_path / "r.json", {})
    (tmp_path / "folder.png").mkdir()
    with pytest.raises(ConfigError, match=r"folder\.png"):
        write_png(tmp_path / "folder.png", np.zeros((8, 8, 3), np.uint8))


@pytest.mark.parametrize(
    "wrong",
    [
        {"seconds": 0.0},
        {"seconds": float("nan")},
        {"tick_hz": 0.0},
        {"seed": -1},
        {"wait_s": 0.0},
        {"connect": "nowhere"},
    ],
)
def test_options_are_checked(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        PlayOptions(**{"connect": ServeConfig().bind, **wrong})  # type: ignore[arg-type]


def test_a_tour_that_could_not_be_kept_is_not_begun(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    nobody = PlayOptions(connect="tcp://127.0.0.1:9", headless=True, out_dir=tmp_path / "file")
    with pytest.raises(ConfigError, match=r"cannot write .*report\.json"):
        run_headless(nobody)
