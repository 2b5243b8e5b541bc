"""The clip of a tour, through a real service."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from demos.clip import main


def test_a_clip_shows_the_picture_beside_its_own_reference(
    start_service: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A service that paints the truth: both halves are alike, or the clip pairs a frame with another's reference."""
    monkeypatch.syspath_prepend(Path(__file__).parent)
    service = start_service(patience={"factory": "painting_engine:create"}, engine={"width": 80, "height": 48})
    path = tmp_path / "tour.webp"
    assert main(["--connect", service.address, "--seconds", "1", "--from", "4", "--fps", "8", "--out", str(path)]) == 0
    assert "8 pictures" in capsys.readouterr().out
    done, clip = cv2.imreadanimation(str(path))
    assert done
    assert len(clip.frames) == 8
    height, width = clip.frames[0].shape[:2]
    errors = []
    for frame in clip.frames:
        picture = frame[height - 48 :, :, :3].astype(float)
        errors.append(np.abs(picture[:, :80] - picture[:, width - 80 :]).mean())
    assert np.median(errors) < 8
    assert np.abs(clip.frames[0].astype(int) - clip.frames[-1]).mean() > 3  # the tour moves


def test_nobody_there_is_said_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--connect", "tcp://127.0.0.1:9", "--wait", "0.2", "--out", str(tmp_path / "a.webp")]) == 1
    assert "tcp://127.0.0.1:9" in capsys.readouterr().err
