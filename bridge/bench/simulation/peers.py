"""Two naive services on the same traces, for comparison.

Neither predicts, reprojects or adapts; both make the model's longest chunk from the newest control. A control is
answered by the frame that is due when it arrives; before the first frame it is not answered.
"""

from __future__ import annotations

from dataclasses import dataclass

from bridge.bench.simulation.outcome import Answered
from bridge.bench.simulation.traces import EngineModel, Trace
from bridge.protocol.messages import Source


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """One chunk on show: [from_us, until_us), shaped by the control sent at `control_us`."""

    from_us: int
    until_us: int
    control_us: int


def when_done(trace: Trace, engine: EngineModel) -> list[Answered]:
    """ "Answer when the chunk is done": the next chunk is asked for when the last frame of this one is over."""
    chunks: list[Shown] = []
    now_us = trace.controls[0].sent_us + trace.controls[0].up_us
    while now_us < trace.end_us:
        done_us = now_us + _cost_us(trace, engine, now_us)
        until_us = done_us + _plays_us(engine)
        chunks.append(Shown(from_us=done_us, until_us=until_us, control_us=_newest(trace, now_us)))
        now_us = until_us
    return _answers(trace, chunks)


def fixed_buffer(trace: Trace, engine: EngineModel) -> list[Answered]:
    """ "Fixed buffer of one chunk": while one chunk plays the next is made, and waits for its turn."""
    chunks: list[Shown] = []
    now_us = trace.controls[0].sent_us + trace.controls[0].up_us
    free_us = now_us
    while now_us < trace.end_us:
        done_us = now_us + _cost_us(trace, engine, now_us)
        from_us = max(done_us, free_us)
        free_us = from_us + _plays_us(engine)
        chunks.append(Shown(from_us=from_us, until_us=free_us, control_us=_newest(trace, now_us)))
        now_us = from_us  # the buffer is empty again the moment its chunk begins to play
    return _answers(trace, chunks)


PEERS = {"answer when done": when_done, "fixed buffer": fixed_buffer}


def _plays_us(engine: EngineModel) -> int:
    return round(engine.frames_per_chunk[-1] * 1e6 / engine.fps)


def _cost_us(trace: Trace, engine: EngineModel, at_us: int) -> int:
    return round(engine.cost_us(engine.frames_per_chunk[-1]) * trace.slowness(at_us))


def _newest(trace: Trace, at_us: int) -> int:
    """When the newest control that has arrived by `at_us` was sent."""
    return max(sent.sent_us for sent in trace.controls if sent.sent_us + sent.up_us <= at_us)


def _answers(trace: Trace, chunks: list[Shown]) -> list[Answered]:
    """Every control for which a frame was due when it arrived."""
    answers = []
    left = iter(chunks)
    chunk = next(left, None)
    for seq, sent in enumerate(trace.controls):
        arrival_us = sent.sent_us + sent.up_us
        while chunk is not None and chunk.until_us <= arrival_us:
            chunk = next(left, None)
        if chunk is not None and chunk.from_us <= arrival_us:
            answers.append(
                Answered(
                    seq=seq, sent_us=sent.sent_us, arrived_us=arrival_us + sent.down_us, source=Source.GENERATED,
                    control_us=chunk.control_us, camera_us=chunk.control_us, rung="full",
                )
            )  # fmt: skip
    return answers
