import pytest

from bridge.clock import FakeClock, MonotonicClock, wall_time_s


def test_fake_clock_moves_only_when_told() -> None:
    clock = FakeClock(100)
    assert (clock.now_us(), clock.now_us()) == (100, 100)
    clock.advance_us(50)
    assert clock.now_us() == 150
    clock.sleep_until_us(400)
    clock.sleep_until_us(300)
    assert clock.now_us() == 400


def test_fake_clock_refuses_to_go_back() -> None:
    with pytest.raises(ValueError, match="cannot go back"):
        FakeClock().advance_us(-1)


def test_monotonic_clock_does_not_go_back_and_a_past_deadline_returns_at_once() -> None:
    clock = MonotonicClock()
    start_us = clock.now_us()
    clock.sleep_until_us(start_us - 1_000_000)
    assert clock.now_us() >= start_us
    clock.sleep_until_us(start_us + 500)
    assert clock.now_us() >= start_us + 500


def test_wall_time_is_of_this_century() -> None:
    assert 1.7e9 < wall_time_s() < 4.1e9
