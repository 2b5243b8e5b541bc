"""The quality ladder goes down when it must, up when it may, and does not swing."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.scheduling.quality_ladder import QualityLadder, QualityLadderConfig

S = 1_000_000
RUNGS = 4
SPEEDS = np.array([1.0, 1.8, 2.4, 4.0])  # network frames a second on each rung, of the first rung's


def climb(ladder: QualityLadder, first_hz: list[float]) -> list[int]:
    """The rung at each tenth of a second, on a machine that makes `first_hz` on the first rung."""
    return [ladder.update(tick * S // 10, tuple(hz * SPEEDS)) for tick, hz in enumerate(first_hz)]


def changes(rungs: list[int]) -> int:
    return int(np.count_nonzero(np.diff(rungs)))


def test_a_fast_machine_stays_at_the_top() -> None:
    assert set(climb(QualityLadder(RUNGS), [20.0] * 600)) == {0}


def test_a_slow_machine_goes_down_to_the_first_rung_that_does() -> None:
    rungs = climb(QualityLadder(RUNGS), [5.0] * 600)
    assert rungs[-1] == 2
    assert changes(rungs) == 2
    assert rungs[10] == 0  # not at the first sign


def test_a_short_dip_changes_nothing() -> None:
    dip = [20.0] * 100 + [2.0] * 14 + [20.0] * 100
    assert set(climb(QualityLadder(RUNGS), dip)) == {0}


def test_it_comes_back_up_when_the_machine_does() -> None:
    rungs = climb(QualityLadder(RUNGS), [5.0] * 300 + [40.0] * 600)
    assert (rungs[299], rungs[-1]) == (2, 0)


def test_between_two_rungs_it_does_not_swing() -> None:
    """Enough while on the lower rung, too little on the upper one: a machine whose load follows ours."""
    ladder, rungs = QualityLadder(RUNGS), []
    for tick in range(36_000):  # an hour
        rung = ladder.rung
        rates = 14.0 * SPEEDS if rung else 9.0 * SPEEDS
        rungs.append(ladder.update(tick * S // 10, tuple(rates)))
    assert changes(rungs) <= 2 * 13  # waits of 5, 10, 20 ... 600 s: each try is two changes
    assert changes(rungs[18_000:]) <= 2 * 4


@pytest.mark.parametrize("seed", range(3))
def test_noise_around_the_limit_does_not_make_it_swing(seed: int) -> None:
    noise = np.random.default_rng(seed).normal(1.0, 0.25, 6000)
    assert changes(climb(QualityLadder(RUNGS), list(10.0 * noise))) <= 4


def test_the_last_rung_makes_nothing_and_is_for_hopeless_machines() -> None:
    config = QualityLadderConfig()
    assert climb(QualityLadder(RUNGS), [0.2] * 600)[-1] == RUNGS - 1
    assert climb(QualityLadder(RUNGS), [config.hopeless_hz / 5] * 600)[-1] == RUNGS
    rungs = climb(QualityLadder(RUNGS), [config.hopeless_hz / 5] * 600 + [1.0] * 600)
    assert rungs[-1] == RUNGS - 1


def test_a_pinned_rung_stays() -> None:
    assert set(climb(QualityLadder(RUNGS, pinned=1), [0.01] * 100)) == {1}
    with pytest.raises(ValueError, match="got rung 5, expected 0 to 4"):
        QualityLadder(RUNGS, pinned=5)


@pytest.mark.parametrize(("share", "tried"), [(0.97, False), (1.03, True)])
def test_a_dearer_rung_is_tried_only_with_headroom(share: float, tried: bool) -> None:
    config, ladder = QualityLadderConfig(), QualityLadder(4)
    slow = [5.0] * 100  # rung 2 is the first with enough
    later = [share * config.headroom * config.least_hz / SPEEDS[1]] * 200
    rungs = [ladder.update(tick * 100_000, tuple(hz * SPEEDS)) for tick, hz in enumerate(slow + later)]
    assert (rungs[99], min(rungs[100:])) == (2, 1 if tried else 2)
