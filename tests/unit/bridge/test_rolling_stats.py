"""Percentiles and rates over the last moments."""

from __future__ import annotations

import pytest

from bridge.presentation.session_metrics import SessionMetrics
from bridge.protocol.messages import Stats
from bridge.rolling_stats import RateMeter, RollingWindow, percentile


@pytest.mark.parametrize(("share", "expected"), [(0.0, 1.0), (0.5, 2.0), (0.51, 3.0), (0.95, 4.0), (1.0, 4.0)])
def test_percentile_is_nearest_rank(share: float, expected: float) -> None:
    assert percentile([1.0, 2.0, 3.0, 4.0], share) == expected


def test_window_forgets_by_age_and_by_number() -> None:
    window = RollingWindow(capacity=3, keep_us=100)
    assert window.percentiles(0, (0.5,)) is None
    for time_us in (0, 10, 20, 30):
        window.add(time_us, time_us)
    assert window.values(30) == [10, 20, 30]
    assert window.values(121) == [30]
    assert window.percentiles(1000, (0.5,)) is None


def test_rate_of_a_steady_stream_is_exact_from_the_second_event_on() -> None:
    meter = RateMeter(window_us=1_000_000)
    assert meter.per_second(0) == 0.0
    for tick in range(100):
        meter.add(tick * 40_000)
        if tick:
            assert meter.per_second(tick * 40_000) == pytest.approx(25.0)


def test_rate_falls_to_zero_when_nothing_comes() -> None:
    meter = RateMeter(window_us=1_000_000)
    for tick in range(10):
        meter.add(tick * 100_000)
    assert meter.per_second(1_400_000) == pytest.approx(5.0)
    assert meter.per_second(3_000_000) == 0.0


def test_session_metrics_leave_the_ledger_alone_and_fill_the_rest() -> None:
    metrics = SessionMetrics()
    assert metrics.fill(Stats(controls=3), 0) == Stats(controls=3)
    for tick in range(1, 101):
        metrics.server_us.add(0, tick)
        metrics.chunk_ms.add(0, tick / 2)
        metrics.client_lateness_us.add(0, -tick)
    filled = metrics.fill(Stats(controls=3), 0)
    assert (filled.controls, filled.server_us_p50, filled.server_us_p95) == (3, 50, 95)
    assert (filled.chunk_ms_p50, filled.chunk_ms_p95) == (25.0, 47.5)
    assert filled.client_lateness_us_p95 == -6
