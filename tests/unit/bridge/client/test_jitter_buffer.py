"""Showing frames evenly, and finding the server's clock, over simulated ways."""

from __future__ import annotations

import numpy as np
import pytest

from bridge.client.jitter_buffer import ClockSync, JitterBuffer, JitterBufferConfig

MS = 1000
TICK_US = 16_667


def shown(playout: JitterBuffer, ways_us: np.ndarray, *, tick_us: int = TICK_US) -> list[tuple[int, int]]:
    """(when, seq) of every frame that a game shows which asks each millisecond; answers take `ways_us`."""
    # A connection keeps the order: what is overtaken waits.
    arrivals_us = np.maximum.accumulate(np.arange(len(ways_us)) * tick_us + ways_us)
    seen, arrived = [], 0
    for now_us in range(0, len(ways_us) * tick_us + 300 * MS, MS):
        while arrived < len(arrivals_us) and arrivals_us[arrived] <= now_us:
            playout.arrived(now_us, seq=arrived, sent_us=arrived * tick_us)
            arrived += 1
        due = playout.take(now_us)
        if due is not None:
            seen.append((now_us, due))
    return seen


def even_share(seen: list[tuple[int, int]]) -> float:
    """How many frames follow the one before by a tick, give or take a quarter."""
    between_us = np.diff([when for when, _ in seen[120:]])
    return float(np.mean(np.abs(between_us - TICK_US) <= TICK_US / 4))


def test_without_jitter_there_is_no_buffer_and_a_frame_shows_when_it_comes() -> None:
    playout = JitterBuffer(JitterBufferConfig(fixed_us=None))
    seen = shown(playout, np.full(300, 5.0 * MS))
    assert playout.buffer_us == 0
    assert all(0 <= when - seq * TICK_US - 5 * MS <= MS for when, seq in seen)


def test_jitter_is_hidden_by_a_buffer_about_as_large() -> None:
    rng = np.random.default_rng(3)
    ways_us = 5.0 * MS + rng.uniform(0, 30 * MS, 900)
    at_once, adaptive = JitterBuffer(), JitterBuffer(JitterBufferConfig(fixed_us=None))
    raw, even = shown(at_once, ways_us), shown(adaptive, ways_us)
    assert 20 * MS <= adaptive.buffer_us <= 32 * MS
    assert even_share(raw) < 0.4
    assert even_share(even) > 0.85
    assert len(even) >= 0.9 * len(ways_us)


def test_the_buffer_shrinks_again_when_the_way_is_calm() -> None:
    rng = np.random.default_rng(4)
    wild, calm = 5.0 * MS + rng.uniform(0, 40 * MS, 300), np.full(1800, 5.0 * MS)
    playout = JitterBuffer(JitterBufferConfig(fixed_us=None))
    shown(playout, np.concatenate([wild, calm]))
    assert playout.buffer_us == 0


def test_a_fixed_buffer_stays_and_a_hopeless_way_is_bounded() -> None:
    rng = np.random.default_rng(5)
    ways_us = rng.uniform(0, 900 * MS, 400)
    fixed, adaptive = (
        JitterBuffer(JitterBufferConfig(fixed_us=12 * MS)),
        JitterBuffer(JitterBufferConfig(fixed_us=None)),
    )
    shown(fixed, ways_us)
    shown(adaptive, ways_us)
    assert fixed.buffer_us == 12 * MS
    assert adaptive.buffer_us == JitterBufferConfig().most_us


def test_frames_are_shown_in_order_and_once() -> None:
    rng = np.random.default_rng(6)
    for config in (JitterBufferConfig(), JitterBufferConfig(fixed_us=None)):
        seqs = [seq for _, seq in shown(JitterBuffer(config), 2.0 * MS + rng.uniform(0, 12 * MS, 300))]
        assert seqs == sorted(set(seqs))


def test_the_next_due_moment_is_told_so_that_waiting_can_end_there() -> None:
    playout = JitterBuffer(JitterBufferConfig(fixed_us=20 * MS))
    assert playout.next_us is None
    playout.arrived(105 * MS, seq=0, sent_us=100 * MS)
    assert playout.next_us == 125 * MS
    assert playout.take(124 * MS) is None
    assert playout.take(125 * MS) == 0


@pytest.mark.parametrize("offset_us", [-7_000_000, 0, 123_456_789])
def test_the_offset_is_exact_within_half_the_shortest_round_trip(offset_us: int) -> None:
    rng = np.random.default_rng(7)
    sync = ClockSync()
    for tick in range(200):
        sent_us = tick * TICK_US
        up_us, down_us = (int(300 + rng.exponential(8 * MS)) for _ in range(2))
        server_us = int(rng.uniform(500, 4000))
        sync.add(
            sent_us=sent_us, received_us=sent_us + up_us + server_us + down_us,
            server_sent_us=sent_us + up_us + server_us + offset_us, server_us=server_us,
        )  # fmt: skip
    best = sync.best
    assert best is not None
    assert best.round_trip_us < 4 * MS
    assert abs(best.offset_us - offset_us) <= best.round_trip_us / 2 + 1


def test_old_samples_are_forgotten() -> None:
    sync = ClockSync(keep_us=1_000_000)
    sync.add(sent_us=0, received_us=100, server_sent_us=50, server_us=0)
    sync.add(sent_us=2_000_000, received_us=2_009_000, server_sent_us=2_004_500, server_us=0)
    assert sync.best is not None
    assert sync.best.round_trip_us == 9_000


def test_the_buffer_shrinks_by_a_fifth_a_second_and_not_at_once() -> None:
    config = JitterBufferConfig(fixed_us=None)
    buffer, rng, seen = JitterBuffer(config), np.random.default_rng(4), []
    ways_us = np.concatenate([5_000 + rng.uniform(0, 40_000, 300), np.full(900, 5_000.0)])
    for seq, way_us in enumerate(ways_us):
        sent_us = seq * TICK_US
        buffer.arrived(round(sent_us + way_us), seq=seq, sent_us=sent_us)
        seen.append(buffer.buffer_us)
    calm = np.array(seen[300 + round(config.keep_us / TICK_US) :: 60], float)  # each second, the jitter forgotten
    falling = calm[calm > 0]
    assert len(falling) > 5
    assert falling[1:] / falling[:-1] == pytest.approx(1 - config.shrink_share, abs=0.06)
