"""A build's progress: phases inside phases, drawn in place on a terminal and as lines elsewhere."""

from __future__ import annotations

import io
from typing import Any

from trt_build.progress import BuildProgress, Phase, ProgressDisplay, bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def nested() -> BuildProgress:
    progress = BuildProgress()
    progress.start("Building", None, 4)
    progress.step("Building", 0)
    progress.start("Timing", "Building", 10)
    return progress


def display(progress: BuildProgress, out: Any, seconds: float = 65) -> ProgressDisplay:
    times = iter([0.0, *[seconds] * 9])
    return ProgressDisplay(progress, out, lambda: next(times), title="denoiser")


def test_a_phase_stands_one_deeper_than_its_parent() -> None:
    assert nested().open_phases() == [
        Phase(name="Building", depth=0, done=1, steps=4),
        Phase(name="Timing", depth=1, done=0, steps=10),
    ]


def test_a_finished_phase_is_told_once() -> None:
    progress = nested()
    progress.finish("Timing")
    assert [phase.name for phase in progress.open_phases()] == ["Building"]
    assert [phase.name for phase in progress.take_finished()] == ["Timing"]
    assert progress.take_finished() == []


def test_steps_go_on_until_it_is_cancelled() -> None:
    progress = nested()
    assert progress.step("Timing", 3)
    progress.cancel()
    assert not progress.step("Timing", 4)
    assert progress.open_phases()[1].done == 5


def test_calls_about_phases_that_never_started_do_no_harm() -> None:
    progress = BuildProgress()
    assert progress.step("never", 0)
    progress.finish("never")
    progress.start("orphan", "never", 2)
    assert progress.open_phases()[0].depth == 0


def test_a_bar_is_as_full_as_its_phase() -> None:
    assert bar(Phase(name="x", depth=0, done=1, steps=2)) == f"[{'#' * 12}{'-' * 12}]  50% x"
    assert bar(Phase(name="x", depth=1, done=5, steps=2)) == f"  [{'#' * 24}] 100% x"
    assert bar(Phase(name="x", depth=0, done=0, steps=0)) == f"[{'-' * 24}]   0% x"


def test_a_terminal_shows_every_open_phase_in_place() -> None:
    out = Terminal()
    shown = display(nested(), out)
    shown.draw()
    first = out.getvalue()
    assert first.count("\n") == 2
    assert "denoiser [######------------------]  25% Building 1:05" in first
    shown.draw()
    assert out.getvalue()[len(first) :].startswith("\x1b[1A\x1b[2K" * 2)
    shown.clear()
    assert out.getvalue().endswith("\x1b[1A\x1b[2K" * 2)


def test_without_a_terminal_outer_phases_are_told_when_they_are_done() -> None:
    out, progress = io.StringIO(), nested()
    shown = display(progress, out)
    shown.draw()
    assert out.getvalue() == ""
    progress.finish("Timing")
    progress.finish("Building")
    shown.draw()
    shown.clear()
    assert out.getvalue() == "denoiser: Building done after 1:05\n"
