"""Sheets of samples, drawn from the shipped weights."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from model.demo.checkpoint import load_checkpoint  # noqa: E402
from model.demo.training import samples  # noqa: E402
from model.demo.world.conditions import Conditions  # noqa: E402

pytestmark = pytest.mark.torch
CELL_ROWS, CELL_COLS = 192 + 18 + 6, 320 + 6


@pytest.fixture
def _one_scene(monkeypatch):
    monkeypatch.setattr(samples, "_SCENES", (("garden", Conditions()), ("hall", Conditions(time="night"))))


@pytest.mark.usefixtures("_one_scene")
def test_reconstructions_show_originals_over_what_came_back():
    sheet = samples.reconstructions(load_checkpoint()[1].autoencoder)
    assert sheet.shape == (6 + 2 * CELL_ROWS, 6 + 4 * CELL_COLS, 3)
    picture = sheet[24 : 24 + 192, 6 : 6 + 320].astype(int)
    returned = sheet[24 + CELL_ROWS : 24 + CELL_ROWS + 192, 6 : 6 + 320]
    assert 0 < abs(picture - returned).mean() < 0.5 * picture.std()


@pytest.mark.usefixtures("_one_scene")
def test_rollouts_show_the_conditions_that_are_in_force():
    spec, model = load_checkpoint()
    sheet = samples.rollouts(model, spec)
    assert sheet.shape == (6 + 4 * CELL_ROWS, 6 + 4 * CELL_COLS, 3)
    day, night = (sheet[row * CELL_ROWS + 24 : row * CELL_ROWS + 24 + 192, 6:].mean() for row in (0, 2))
    assert night < 0.7 * day
