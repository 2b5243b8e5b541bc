"""Timing graphs: every profile at its tuned size, warm-up apart, ranks that are times that were measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from model.runners.onnxruntime import OrtRunner
from tests.tensorrt_api.exports import write_export
from trt_build.__main__ import main
from trt_build.bench import Timing, drawn, measure, table
from trt_build.manifest import read_manifest


def test_every_profile_is_timed_after_its_warm_up(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    ticks = iter(range(1000))
    timings = measure(
        OrtRunner(folder, threads=1), read_manifest(folder), runs=3, warm_up=2, clock=lambda: next(ticks) / 1e3
    )
    assert [(t.graph, t.profile) for t in timings] == [("scale", "short"), ("scale", "long"), ("words", "fixed")]
    assert all(t.times_ms == pytest.approx((1, 1, 1)) for t in timings)
    assert next(ticks) == 3 * 3 * 2  # the clock is read around timed runs only


def test_inputs_have_the_tuned_size(tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    runner, manifest = OrtRunner(folder, threads=1), read_manifest(folder)
    inputs = drawn(runner.graphs["scale"], manifest.graphs["scale"].profiles[1])
    assert {name: array.shape for name, array in inputs.items()} == {"x": (6, 2), "offset": (1, 2)}


@pytest.mark.parametrize(("share", "time"), [(0.5, 2.0), (0.75, 3.0), (0.76, 4.0), (0.99, 4.0), (0.0, 1.0)])
def test_a_rank_is_the_nearest_measured_time(share: float, time: float) -> None:
    assert Timing(graph="g", profile="p", times_ms=(1.0, 2.0, 3.0, 4.0)).at(share) == time


def test_the_command_reports_what_it_measured(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder, report = write_export(tmp_path / "export"), tmp_path / "bench.json"
    arguments = ["--runner", "onnxruntime", "--runs", "4", "--warm-up", "1", "--report", str(report)]
    assert main(["bench", str(folder), *arguments]) == 0
    printed = capsys.readouterr().out
    assert "onnxruntime" in printed
    assert "p99 ms" in printed
    written = json.loads(report.read_text())
    assert [len(timing["times_ms"]) for timing in written["timings"]] == [4, 4, 4]
    assert table([Timing(graph="scale", profile="x", times_ms=(1.0,))]).count("\n") == 1


def test_no_runs_at_all_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["bench", str(write_export(tmp_path / "export")), "--runs", "0"]) == 2
    assert "expected 1 or more" in capsys.readouterr().err
