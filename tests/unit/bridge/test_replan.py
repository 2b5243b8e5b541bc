"""When a chunk on show is worth cutting, and how much may be thrown away for it."""

from __future__ import annotations

import pytest

from bridge.replan import Allowance, ReplanConfig, cut_point, has_left

CONFIG = ReplanConfig(angle_deg=6.0, distance_m=0.4, waste_share=0.2, burst_us=1_000_000, least_gain_us=80_000)
BOUNDARIES = (100_000, 200_000, 300_000)


@pytest.mark.parametrize(
    ("error_deg", "error_m", "news", "expected"),
    [(5.9, 0.39, False, False), (6.1, 0.0, False, True), (0.0, 0.41, False, True), (0.0, 0.0, True, True)],
)
def test_a_path_is_left_by_angle_distance_or_news(error_deg: float, error_m: float, news: bool, expected: bool) -> None:
    assert has_left(CONFIG, error_deg=error_deg, error_m=error_m, news=news) is expected


@pytest.mark.parametrize(
    ("ready_us", "end_us", "expected"),
    [(50_000, 400_000, 100_000), (100_000, 400_000, 100_000), (199_999, 400_000, 100_000), (200_000, 279_999, None),
     (200_000, 280_000, 200_000), (320_000, 400_000, 300_000), (320_001, 400_000, None), (50_000, 179_999, None)],
)  # fmt: skip
def test_the_cut_is_at_the_last_boundary_before_new_frames_are_there_if_that_gains_enough(
    ready_us: int, end_us: int, expected: int | None
) -> None:
    assert cut_point(CONFIG, boundaries_us=BOUNDARIES, ready_us=ready_us, end_us=end_us) == expected


def test_waste_is_bounded_per_second_with_a_burst() -> None:
    allowance = Allowance(CONFIG, 0)
    spent_us = 0
    for now_us in range(0, 60_000_000, 50_000):
        if allowance.affords(now_us, 300_000):
            allowance.spend(now_us, 300_000)
            spent_us += 300_000
    assert allowance.wasted_us == spent_us
    assert 0.2 * 60_000_000 - 300_000 <= spent_us <= 0.2 * 60_000_000 + CONFIG.burst_us


def test_nothing_left_to_show_is_nothing_to_cut() -> None:
    assert cut_point(CONFIG, boundaries_us=(), ready_us=0, end_us=400_000) is None


def test_what_is_only_old_leaves_a_reserve_for_what_is_wrong() -> None:
    allowance = Allowance(ReplanConfig(burst_us=1_000_000, reserve_us=400_000), 0)
    assert allowance.affords(0, 600_000, urgent=False)
    assert not allowance.affords(0, 600_001, urgent=False)
    assert allowance.affords(0, 1_000_000)


def test_an_idle_minute_saves_up_no_more_than_the_burst() -> None:
    allowance = Allowance(CONFIG, 0)
    assert not allowance.affords(60_000_000, CONFIG.burst_us + 1)
    assert allowance.affords(60_000_000, CONFIG.burst_us)
