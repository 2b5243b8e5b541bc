"""The in-process benchmark runs what serves, and its parts make up its total."""

from __future__ import annotations

import pytest

from bridge.bench.inprocess import PARTS, measure


def test_every_part_of_every_control_is_timed() -> None:
    taken = measure(controls=20, warm_up=5)
    assert set(taken) == {*PARTS, "total"}
    assert all(len(values) == 20 for values in taken.values())
    assert taken["total"] == pytest.approx([sum(laps) for laps in zip(*(taken[name] for name in PARTS), strict=True)])
    assert min(taken["total"]) > 0
