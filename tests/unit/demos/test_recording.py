"""Animations for a page."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from bridge.errors import ConfigError
from demos.clip import side_by_side
from demos.recording import write_animation

NOISE = np.random.default_rng(0).integers(0, 256, (6, 48, 64, 3)).astype(np.uint8)


def test_an_animation_holds_its_pictures_and_their_pace(tmp_path: Path) -> None:
    path = tmp_path / "new" / "a.webp"
    colours = [np.full((48, 64, 3), shade, np.uint8) * np.array([1, 0, 0], np.uint8) for shade in (60, 140, 220)]
    assert write_animation(path, colours, fps=10, most_bytes=10**6) == 90
    done, read = cv2.imreadanimation(str(path))
    assert done
    assert read.durations.tolist() == [100, 100, 100]
    for frame, wanted in zip(read.frames, colours, strict=True):
        blue, green, red = frame[..., :3].reshape(-1, 3).mean(0)
        assert (red, green, blue) == (
            pytest.approx(wanted[0, 0, 0], abs=8),
            pytest.approx(0, abs=12),
            pytest.approx(0, abs=12),
        )


def test_quality_falls_until_it_fits_or_it_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.webp"
    write_animation(path, NOISE, fps=10, most_bytes=10**6)
    large = path.stat().st_size
    assert write_animation(path, NOISE, fps=10, most_bytes=large * 2 // 3) < 90
    assert path.stat().st_size < large * 2 // 3
    with pytest.raises(ConfigError, match="take fewer"):
        write_animation(path, NOISE, fps=10, most_bytes=100)


def test_a_pair_shows_both_pictures_under_their_captions() -> None:
    shown, reference = NOISE[0], NOISE[1]
    pair = side_by_side(shown, reference, "let it rain")
    assert (pair[-48:, :64] == shown).all()
    assert (pair[-48:, -64:] == reference).all()
    silent = side_by_side(shown, reference, "")
    assert (pair[:-48] != silent[:-48]).any()
