"""The just-in-time margin finds the quantile it is told to, and gaps are counted by cause."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.scheduling.start_margin import DeadlineStats, StartMargin, StartMarginConfig, UnderrunCause

MS = 1000


@pytest.mark.parametrize("spread_ms", [2.0, 10.0])
def test_the_margin_settles_where_few_chunks_miss_and_not_beyond(spread_ms: float) -> None:
    rng = np.random.default_rng(1)
    margin = StartMargin(StartMarginConfig(miss_share=0.05, step_us=round(spread_ms * MS)))
    missed, settled_us = [], []
    for chunk in range(6000):
        overrun_us = rng.exponential(spread_ms * MS)
        missed.append(overrun_us > margin.us)
        margin.settle(missed=bool(missed[-1]))
        if chunk >= 1000:
            settled_us.append(margin.us)
    assert np.mean(missed[1000:]) == pytest.approx(0.05, abs=0.01)
    # An exponential's 95 % quantile is three times its mean.
    assert np.mean(settled_us) == pytest.approx(3 * spread_ms * MS, rel=0.35)


def test_the_margin_stays_within_its_bounds() -> None:
    config = StartMarginConfig()
    margin = StartMargin(config)
    for _ in range(1000):
        margin.settle(missed=True)
    assert margin.us == config.most_us
    for _ in range(1000):
        margin.settle(missed=False)
    assert margin.us == config.least_us


def test_a_gap_of_a_frame_is_none_and_a_longer_one_has_its_cause() -> None:
    late = DeadlineStats()
    assert not late.settle(0, slack_us=-40 * MS, frame_us=40 * MS, cause=UnderrunCause.OVERRUN)
    assert late.settle(0, slack_us=-41 * MS, frame_us=40 * MS, cause=UnderrunCause.CROWDED)
    assert late.underruns[UnderrunCause.CROWDED] == 1
    assert sum(late.underruns.values()) == 1
    assert late.gap_us == 41 * MS


def test_earliness_is_measured_and_counted_when_needless() -> None:
    late = DeadlineStats()
    for slack_ms in (10, 50, 51, -10):
        late.settle(0, slack_us=slack_ms * MS, frame_us=40 * MS, cause=UnderrunCause.OVERRUN)
    late.settle(
        0, slack_us=500 * MS, frame_us=40 * MS, cause=UnderrunCause.OVERRUN, early=True
    )  # it replaced what was there
    assert late.needless == 1
    assert late.earliness_us.values(0) == [10 * MS, 50 * MS, 51 * MS, 0]
