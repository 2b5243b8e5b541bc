"""`helios-bridge doctor --axes`: right here, and wrong where a conversion is."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from bridge.cli.axes_check import GOLDEN, TURNS, play_turns
from bridge.cli.main import main
from bridge.geometry import Pose
from bridge.protocol import axes
from bridge.protocol.messages import Axes


def test_every_turn_looks_as_it_must(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--axes"]) == 0
    said = capsys.readouterr().out
    assert said.count(" ok\n") == len(TURNS) * len(Axes)
    assert "every turn looks as it must" in said


def test_a_mirrored_conversion_is_seen(start_service: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """Unity taken for right-handed, with Z backward, is a common mistake. Only leaning looks the same then."""
    service = start_service(engine={"room": "labelled", "width": 160, "height": 96, "cost_ms": 0.0})
    monkeypatch.setitem(axes._OURS_FROM_CLIENT, Axes.UNITY, axes._OURS_FROM_CLIENT[Axes.OPENGL])
    seen = {each.turn.name: each.is_right for each in play_turns(service.address, Axes.UNITY)}
    assert seen == {turn.name: turn.name in ("unturned", "leaning right by 90") for turn in TURNS}


@pytest.mark.parametrize("engine", Axes)
def test_the_golden_turns_are_unit_quaternions_and_seven(engine: Axes) -> None:
    assert len(GOLDEN[engine]) == len(TURNS)
    for _, sent in GOLDEN[engine]:
        assert math.isclose(np.linalg.norm(sent), 1.0, abs_tol=1e-12)
        Pose(position=np.zeros(3), rotation=np.array(sent), vertical_fov_deg=90.0)
