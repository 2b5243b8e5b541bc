"""`bench budget`: a table, a report and a picture, the same for the same seed."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import pytest

from bridge.bench.frame_budget import OURS, bench_budget, names_of
from bridge.bench.simulation.peers import PEERS
from bridge.errors import ConfigError


def test_figures_of_us_and_both_peers_are_written_and_drawn(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "deep" / "budget.json"
    assert bench_budget(["steady", "bursty"], seconds=4.0, seed=3, report=path) == 0
    report = json.loads(path.read_text())
    assert report["simulated"] is True
    assert set(report["traces"]) == {"steady", "bursty"}
    for found in report["traces"].values():
        assert set(found) == {OURS, *PEERS}
        for one in found.values():
            assert {"delivery", "control_age_ms", "camera_ms", "sources"} <= set(one)
        assert {"accounts", "underruns", "wasted", "rungs"} <= set(found[OURS])
    assert [one["own_frame"] for one in report["ticks"].values()] == [1.0, 1.0, 1.0]
    long_chunks = report["long_chunks"]
    for one in long_chunks:
        assert one["wasted"] <= one["waste_share"] + 0.7 / 4.0  # and the chunk under way
        assert set(one["times_better"]) == set(PEERS)
    alone = [one for one in long_chunks if not one["overlaps"]]
    ages = {(one["decode_share"], one["waste_share"]): one["control_age_ms"]["p50"] for one in alone}
    assert ages[0.5, 0.5] < ages[0.0, 0.5]
    assert ages[0.5, 0.5] < ages[0.5, 0.0]
    picture = cv2.imread(str(path.with_suffix(".png")))
    assert picture is not None
    assert picture.std() > 5  # something is drawn
    printed = capsys.readouterr().out
    assert printed.count(OURS) == 2
    again = tmp_path / "again.json"
    bench_budget(["steady", "bursty"], seconds=4.0, seed=3, report=again)
    assert json.loads(again.read_text()) == report


def test_a_trace_that_is_not_there_is_refused_with_those_that_are() -> None:
    assert names_of("steady,jittery") == ("steady", "jittery")
    assert len(names_of("all")) == 6
    with pytest.raises(ConfigError, match="got 'windy', expected all or some of steady"):
        names_of("windy")
