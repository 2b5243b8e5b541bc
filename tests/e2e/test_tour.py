"""`play` without a window: the scripted tour over a real socket, and what it writes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import cv2
import pytest

from bridge import ConnectTimeout
from demos.headless import run_headless
from demos.options import PlayOptions

SECONDS = 3.0


def test_a_tour_is_played_and_accounted_for(start_service: Any, tmp_path: Path) -> None:
    service = start_service(fps=24.0)
    options = PlayOptions(connect=service.address, headless=True, tour=True, seconds=SECONDS, out_dir=tmp_path)
    assert run_headless(options) == 0

    report = json.loads((tmp_path / "report.json").read_text())
    assert 0.8 * SECONDS * 60 <= report["controls"] <= SECONDS * 60 + 1
    assert report["controls"] == report["answered"] + report["unanswered"]
    assert report["answered"] == report["generated"] + report["reprojected"] + report["held"]
    assert report["answered"] == report["in_budget"] + report["late"]
    assert report["answered"] >= 0.5 * report["controls"]
    assert report["distinct_generated_frames"] > 24
    assert report["generated_fps"] > 8
    assert report["latency_ms"]["p50"] <= report["latency_ms"]["p95"] <= report["latency_ms"]["p99"]
    assert (report["model"], report["frame_size"], report["engine_restarts"]) == ("synthetic", [96, 64], 0)
    # The test pattern is not the garden: a number, and a bad one.
    assert 4 < report["psnr_db"]["mean"] < 15
    assert report["psnr_db"]["frames"] > 20

    video = cv2.VideoCapture(str(tmp_path / "tour.mp4"))
    assert abs(video.get(cv2.CAP_PROP_FRAME_COUNT) - 24 * SECONDS) <= 6
    pictures = [video.read()[1] for _ in range(60)]
    assert cv2.absdiff(pictures[20], pictures[59]).mean() > 5  # the tour moves
    sheet = cv2.imread(str(tmp_path / "tour.png"))
    assert sheet.shape[1] > 4 * 96
    assert sheet.std() > 20


def test_a_service_that_paints_the_truth_is_found_right(
    start_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Poses, words and scene of the comparison are those of the picture, or a perfect painter would score badly."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    service = start_service(patience={"factory": "painting_engine:create"}, engine={"width": 80, "height": 48})
    options = PlayOptions(connect=service.address, headless=True, seconds=5.0, out_dir=tmp_path)
    assert run_headless(options) == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["psnr_db"]["mean"] > 26


def test_record_and_report_go_where_they_are_told(start_service: Any, tmp_path: Path) -> None:
    options = PlayOptions(
        connect=start_service().address, headless=True, seconds=0.6, tick_hz=30.0, out_dir=tmp_path / "out",
        record=tmp_path / "a" / "film.mp4", report=tmp_path / "b" / "r.json",
    )  # fmt: skip
    assert run_headless(options) == 0
    assert cv2.VideoCapture(str(tmp_path / "a" / "film.mp4")).read()[0]
    report = json.loads((tmp_path / "b" / "r.json").read_text())
    assert (report["tick_hz"], report["budget_ms"]) == (30.0, 33.333)
    assert 16 <= report["controls"] <= 19


def test_nobody_there_is_said_in_one_line_after_a_word_while_it_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("demos.headless._PROMPTLY_S", 0.05)
    with pytest.raises(ConnectTimeout, match=r"tcp://127\.0\.0\.1:9 within 0\.3 s: .* --wait .* --curve FOLDER"):
        run_headless(PlayOptions(connect="tcp://127.0.0.1:9", headless=True, out_dir=tmp_path, wait_s=0.3))
    assert capsys.readouterr().out.startswith("waiting for tcp://127.0.0.1:9, up to 0.3 s")


def test_without_a_display_the_tour_is_played_headless(tmp_path: Path) -> None:
    """The whole command in a process of its own, as a newcomer on a server types it."""
    hidden = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
    environment = {name: value for name, value in os.environ.items() if name not in hidden}
    command = [sys.executable, "-m", "bridge", "play", "--model", "synthetic", "--seconds", "2", "--out", str(tmp_path)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    if sys.platform.startswith("linux"):
        assert "no display" in done.stdout
        assert {path.name for path in tmp_path.iterdir()} == {"report.json", "tour.mp4", "tour.png"}
