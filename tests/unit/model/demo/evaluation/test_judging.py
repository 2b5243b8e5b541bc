"""Judging painted chunks, with painters whose faults are known."""

from __future__ import annotations

import numpy as np
import pytest

from model.demo.evaluation.judging import Judge, nearest_look
from model.demo.evaluation.painting import PaintedChunk
from model.demo.evaluation.report import action_figures, by_condition, camera_figures, picture_figures
from model.demo.evaluation.runs import EvaluationConfig, Seen, look_at_actions
from model.demo.evaluation.tours import Tour, draw_tour
from model.demo.training.clips import FPS
from model.demo.world.renderer import render
from model.scene.maps import load_map

CHUNK = 12
TOUR = draw_tour(load_map("hall"), frames=12 * CHUNK, seed=0, multiple=CHUNK)


def chunks(tour: Tour, starts: range, *, late_frames: int = 0):
    """What a perfect painter makes, that hears texts late; only frames that the judge looks at are painted."""
    for start in starts:
        frames = np.zeros((CHUNK, 192, 320, 3), np.uint8)
        for index in (0, CHUNK - 1):
            frame = start + index
            told = tour.conditions(max(0, frame - late_frames)).vector()
            colour = render(np, tour.parts, tour.camera(frame), told, frame / FPS).colour
            frames[index] = np.round(colour * 255)
        yield PaintedChunk(first=start, frames=frames, seconds=0.1, state=None)  # type: ignore[arg-type]


def judged(**how) -> Judge:
    judge = Judge(TOUR, every=CHUNK, pose_every=2 * CHUNK)
    first = TOUR.changes[0].frame
    for chunk in chunks(TOUR, range(first - 2 * CHUNK, first + 3 * CHUNK, CHUNK), **how):
        judge.see(chunk)
    return judge


def test_a_perfect_painter_is_found_perfect():
    judge = judged()
    assert picture_figures(judge.frames)["psnr_db"] == {"mean": 60.0, "p5": 60.0}
    camera = camera_figures(judge.frames)
    assert camera["frames"] >= 1
    assert camera["frames"] + camera["frames_that_do_not_tell"] == 3
    assert camera["rotation_deg"]["median"] < 1e-3
    (change,) = judge.changes
    assert change.shows == (True, True, True)
    assert action_figures(judge.changes)["shown_in"] == {"chunk_1": 1.0, "chunk_2": 1.0, "chunk_3": 1.0}
    values = by_condition(judge.frames)
    assert values[f"{change.change.slot} {change.change.value}"]["frames"] == 3
    assert values["weather fog"] == {
        "frames": 0,
        "psnr_db": {"mean": None, "p5": None},
        "ssim": None,
        "sharpness": None,
    }


def test_a_painter_that_hears_late_is_found_late():
    (change,) = judged(late_frames=CHUNK).changes
    assert change.shows == (False, True, True)


def look(red: int, *, at: slice = slice(0, 8)) -> np.ndarray:
    picture = np.full((16, 16, 3), 90, np.uint8)
    picture[at, :, 0] = red
    return picture


@pytest.mark.parametrize(("red", "shows"), [(200, True), (170, True), (110, False), (90, False)])
def test_a_frame_shows_the_look_that_it_is_nearest_to(red, shows):
    assert nearest_look(look(red), {"off": look(90), "on": look(200)}, "on") is shows


def test_pixels_in_which_two_looks_agree_have_no_say():
    shown = look(200)
    shown[8:] = 255  # painted wrongly, in either case
    assert nearest_look(shown, {"off": look(90), "on": look(200)}, "on") is True


def test_what_is_out_of_view_is_not_judged():
    assert nearest_look(look(90), {"off": look(90), "on": look(95)}, "on") is None


class TruePainter:
    chunk_frames = CHUNK

    def paint(self, tour: Tour, *, seed: int):
        del seed
        return chunks(tour, range(0, len(tour.positions), CHUNK))


def test_on_an_asked_tour_something_is_asked_for_every_second_and_seen_to_come():
    seen, config = Seen(), EvaluationConfig(maps=("village",), asked_seconds=8.0)
    look_at_actions(TruePainter(), config, "village", seen)  # type: ignore[arg-type]
    frames = [change.change.frame for change in seen.changes]
    assert frames == list(range(24, 8 * 24 - CHUNK, 24))
    assert {change.change.slot for change in seen.changes} >= {"time", "weather", "door"}
    assert action_figures(seen.changes)["shown_in"]["chunk_1"] == 1.0
    assert seen.frames == []
