"""When a chunk on show is worth cutting, and how much may be thrown away for it."""

from __future__ import annotations

import pytest

from bridge.scheduling.replanning import ReplanConfig, ReplanTokenBucket, cut_point, has_left

CONFIG = ReplanConfig(angle_deg=6.0, distance_m=0.4, waste_share=0.2, least_gain_us=80_000)
BOUNDARIES = (100_000, 200_000, 300_000)


@pytest.mark.parametrize(
    ("error_deg", "error_m", "changes", "expected"),
    [(5.9, 0.39, False, False), (6.1, 0.0, False, True), (0.0, 0.41, False, True), (0.0, 0.0, True, True)],
)
def test_a_path_is_left_by_angle_distance_or_news(
    error_deg: float, error_m: float, changes: bool, expected: bool
) -> None:
    assert has_left(CONFIG, error_deg=error_deg, error_m=error_m, changes=changes) is expected


@pytest.mark.parametrize(
    ("ready_us", "end_us", "expected"),
    [(50_000, 400_000, 100_000), (100_000, 400_000, 100_000), (199_999, 400_000, 100_000), (200_000, 279_999, None),
     (200_000, 280_000, 200_000), (320_000, 400_000, 300_000), (320_001, 400_000, None), (50_000, 179_999, None)],
)  # fmt: skip
def test_the_cut_is_at_the_last_boundary_before_new_frames_are_there_if_that_gains_enough(
    ready_us: int, end_us: int, expected: int | None
) -> None:
    assert cut_point(CONFIG, boundaries_us=BOUNDARIES, ready_us=ready_us, end_us=end_us) == expected


def test_nothing_left_to_show_is_nothing_to_cut() -> None:
    assert cut_point(CONFIG, boundaries_us=(), ready_us=0, end_us=400_000) is None


@pytest.mark.parametrize("urgent", [True, False])
@pytest.mark.parametrize("share", [0.0, 0.1, 0.5])
def test_waste_is_bounded_per_second_but_for_the_chunk_that_is_under_way(share: float, urgent: bool) -> None:
    tokens = ReplanTokenBucket(ReplanConfig(waste_share=share), 0)
    spent_us = 0
    for now_us in range(0, 60_000_000, 50_000):
        if tokens.allows(now_us, urgent=urgent):
            tokens.spend(now_us, 300_000)
            spent_us += 300_000
    assert tokens.wasted_us == spent_us
    assert spent_us <= share * 61_000_000 + (300_000 if share else 0)
    assert spent_us >= share * 60_000_000 - 300_000


def test_what_is_only_old_leaves_half_of_the_allowance_for_what_is_wrong() -> None:
    tokens = ReplanTokenBucket(ReplanConfig(waste_share=0.5), 0)
    tokens.spend(0, 250_000)
    assert not tokens.allows(0, urgent=False)
    assert tokens.allows(0, urgent=True)
    assert tokens.allows(2, urgent=False)
    tokens.spend(2, 300_000)
    assert not tokens.allows(90_000, urgent=True)  # 50 ms are to be made up for first
    assert tokens.allows(100_004, urgent=True)


def test_an_idle_minute_saves_up_no_more_than_a_second_does() -> None:
    tokens = ReplanTokenBucket(ReplanConfig(waste_share=0.5), 0)
    tokens.allows(60_000_000, urgent=True)
    tokens.spend(60_000_000, 500_000)
    assert not tokens.allows(60_000_000, urgent=True)
