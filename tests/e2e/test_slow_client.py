"""Clients that read slowly, late or never: fewer frames for them, never older ones, and nobody else notices."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from bridge import Camera, Source, Stats
from bridge.protocol.codec import decode, encode
from bridge.protocol.messages import Control, FrameHeader, Hello, StatsRequest, Welcome
from bridge.transport.sockets import DealerSocket

HERE = Camera(position=(0.0, 0.0, 0.0))
CREDIT = 2


def control(seq: int, received: int = -1) -> Control:
    return Control(
        seq=seq, t_us=seq * 16_667, position=(0, 0, 0), rotation=(0, 0, 0, 1), vertical_fov_deg=60,
        frame_received_seq=received,
    )  # fmt: skip


def connect(address: str) -> DealerSocket:
    socket = DealerSocket(address)
    hello = encode(Hello(version_major=1, version_minor=0, client="slow", credit=CREDIT))
    while socket.send(hello).value != "sent":
        time.sleep(0.005)
    assert isinstance(prefetch_prompt(socket, Welcome), Welcome)
    return socket


def prefetch_prompt(socket: DealerSocket, kind: type, timeout_s: float = 3.0) -> Any:
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        if (parts := socket.receive()) is None:
            time.sleep(0.001)
        elif isinstance(message := decode(parts).message, kind):
            return message
    return None


def test_a_client_that_never_reads_costs_two_frames_and_disturbs_nobody(start_service: Any) -> None:
    service = start_service()
    with connect(service.address) as mute, service.client() as friend:
        latencies = []
        for seq in range(150):
            mute.send(encode(control(seq)))
            frame = friend.step(HERE, timeout_s=2.0)
            latencies.append(frame.latency_ms)
            time.sleep(0.005)
        assert friend.counts.unanswered == 0
        assert np.median(latencies) < 100
        # Now it reads: the frames its credit allowed for, and none of the other 148.
        waiting = []
        while (header := prefetch_prompt(mute, FrameHeader, timeout_s=0.3)) is not None:
            waiting.append(header.seq)
        assert waiting == [0, 1]
        # One sign of life, and what comes is new.
        mute.send(encode(control(150, received=1)))
        newer = prefetch_prompt(mute, FrameHeader)
        assert newer.seq >= 149


def test_a_slow_reader_gets_fewer_frames_and_each_newer_than_the_last(start_service: Any) -> None:
    service = start_service()
    seen: list[int] = []
    with service.client(credit=CREDIT) as client:
        for _ in range(20):
            for _ in range(6):
                newest = client.send(HERE)
                time.sleep(0.005)
            frame = client.receive(timeout_s=2)
            seen.append(frame.seq)
            # What is read was answered after the last reading, not queued up before it.
            assert newest - frame.seq <= 6 + CREDIT
        stats = client.stats()
    assert seen == sorted(set(seen))
    assert stats.controls == 120
    assert stats.controls == stats.answered + stats.dropped + stats.refused + stats.waiting
    assert stats.dropped > 0


def test_many_controls_between_two_looks_are_answered_with_the_newest(start_service: Any) -> None:
    service = start_service()
    with service.client() as client:
        while client.step(HERE).source is Source.HELD:
            time.sleep(0.01)
        for _ in range(10):
            first = client.send(HERE)
            second = client.send(HERE)
            assert second == first + 1
            time.sleep(0.1)
            frame = client.poll()
            assert frame is not None
            assert frame.seq == second
            assert client.poll() is None


def test_stats_still_come_to_who_has_no_credit(start_service: Any) -> None:
    service = start_service()
    with connect(service.address) as mute:
        for seq in range(10):
            mute.send(encode(control(seq)))
        mute.send(encode(StatsRequest()))
        stats = prefetch_prompt(mute, Stats)
        assert stats is not None
        assert stats.controls == 10
        assert 1 <= stats.answered <= CREDIT  # of those that came together only the newest is answered
        assert stats.controls == stats.answered + stats.dropped + stats.waiting
