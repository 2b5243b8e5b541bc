"""Computes figures from a simulated session that a naive service has as well: delivery, control age, camera age."""

from __future__ import annotations

import math
from collections.abc import Sequence

from bridge.bench.simulation.outcome import Answered, Outcome
from bridge.bench.simulation.traces import Trace
from bridge.protocol.messages import Source
from bridge.rolling_stats import percentile

Json = dict[str, object]


def figures(trace: Trace, answers: Sequence[Answered]) -> Json:
    """Delivery, freshness and sources of one session.

    delivery: controls for which their own frame, or that of a newer control, left within one tick of their arrival at
    the server, of all sent; own_frame: those that got their own. A control without one was overtaken: the client shows
    the newest frame of a tick, so it would never have seen it. control_age_ms: sampled at
    every tick of the client: now minus the sending of the newest control that shaped the picture on show, frozen
    pictures included. camera_ms: the same for the control whose camera the picture shows.
    """
    own, served = _in_time(trace, answers)
    ages_us, cameras_us = _on_show(trace, answers)
    return {
        "controls": len(trace.controls),
        "answered": len(answers),
        "delivery": round(served / len(trace.controls), 5),
        "own_frame": round(own / len(trace.controls), 5),
        "control_age_ms": _percentiles(ages_us),
        "camera_ms": _percentiles(cameras_us),
        "sources": {
            source.value: round(sum(answer.source is source for answer in answers) / max(1, len(answers)), 4)
            for source in Source
        },
    }


def own_figures(trace: Trace, outcome: Outcome) -> Json:
    """The same for our side, with what only the ledger knows."""
    ledger = outcome.ledger
    length_us = max(1, trace.end_us)
    return figures(trace, outcome.answers) | {
        "accounts": {account.value: count for account, count in outcome.accounts.items()},
        "totals_held": outcome.totals_held,
        "chunks": ledger.chunks,
        "frames_per_chunk_p50": sorted(outcome.lengths)[len(outcome.lengths) // 2] if outcome.lengths else None,
        "replans": ledger.replans,
        "underruns": {cause: count for cause, count in ledger.underruns.items() if count},
        "gap_ms": round(ledger.gap_us / 1e3, 1),
        "needless_starts": ledger.needless_starts,
        "wasted": round(outcome.wasted_us / length_us, 4),
        "engine_busy": round(outcome.busy_us / length_us, 4),
        "rung_changes": len(outcome.rungs) - 1,
        "rungs": sorted({answer.rung for answer in outcome.answers if answer.rung}),
        "prediction_error_p50": {
            "deg": round(ledger.prediction_deg_p50, 2), "m": round(ledger.prediction_m_p50, 3)
        },
    }  # fmt: skip


def age_series(trace: Trace, answers: Sequence[Answered]) -> list[tuple[int, int]]:
    """(moment, control age) in microseconds at every tick at which something is on show."""
    ages_us, _ = _on_show(trace, answers)
    return ages_us


def _in_time(trace: Trace, answers: Sequence[Answered]) -> tuple[int, int]:
    """How many controls were answered in time: by their own frame, and by that or a newer control's."""
    began_us = _began_us(trace, answers)
    left_us = {answer.seq: answer.arrived_us - trace.controls[answer.seq].down_us - began_us for answer in answers}
    own = served = 0
    newer_us = math.inf  # when the first frame of a newer control left
    for seq in range(len(trace.controls) - 1, -1, -1):
        due_us = trace.controls[seq].sent_us + trace.controls[seq].up_us + trace.tick_us
        newer_us = min(newer_us, left_us.get(seq, math.inf))
        own += left_us.get(seq, math.inf) <= due_us
        served += newer_us <= due_us
    return own, served


def _began_us(trace: Trace, answers: Sequence[Answered]) -> int:
    """The trace's zero on the clock of the answers."""
    return answers[0].sent_us - trace.controls[answers[0].seq].sent_us if answers else 0


def _on_show(trace: Trace, answers: Sequence[Answered]) -> tuple[list[tuple[int, int]], list[tuple[int, int]]]:
    in_order = sorted(answers, key=lambda answer: answer.arrived_us)
    began_us = _began_us(trace, in_order)
    ages_us: list[tuple[int, int]] = []
    cameras_us: list[tuple[int, int]] = []
    shown: Answered | None = None
    arrived = 0
    for sent in trace.controls:
        tick_us = began_us + sent.sent_us + trace.tick_us  # what the tick shows is what has come by its end
        while arrived < len(in_order) and in_order[arrived].arrived_us <= tick_us:
            if shown is None or in_order[arrived].seq > shown.seq:
                shown = in_order[arrived]
            arrived += 1
        if shown is not None and shown.control_us is not None:
            ages_us.append((tick_us - began_us, tick_us - shown.control_us))
            cameras_us.append((tick_us - began_us, tick_us - shown.camera_us))
    return ages_us, cameras_us


def _percentiles(points: Sequence[tuple[int, int]]) -> dict[str, float | None]:
    ordered = sorted(value / 1e3 for _, value in points)
    return {
        name: round(percentile(ordered, share), 1) if ordered else None
        for name, share in (("p50", 0.5), ("p95", 0.95), ("p99", 0.99))
    }
