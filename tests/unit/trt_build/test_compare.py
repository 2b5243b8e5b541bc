"""Errors between outputs, and when they pass."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from model.precision import Precision
from trt_build.compare import OutputError, differences, table

INFINITE = (float("inf"), float("inf"))
ERROR = OutputError(
    graph="denoiser", case="stage1", output="sample", subject="onnxruntime", reference="torch",
    precision=Precision.FP32, max_error=5e-5, relative_error=1e-6, largest=1.0,
)  # fmt: skip


def test_the_largest_and_the_relative_difference() -> None:
    wanted = np.array([3.0, -4.0], np.float32)
    worst, relative = differences(wanted + np.array([0.0, 0.5], np.float32), wanted)
    assert worst == pytest.approx(0.5)
    assert relative == pytest.approx(0.5 / 5)


def test_what_cannot_be_compared_is_infinitely_wrong() -> None:
    ones = np.ones(3, np.float32)
    assert differences(ones[:2], ones) == INFINITE
    assert differences(ones.astype(np.float64), ones) == INFINITE
    assert differences(np.array([1, np.nan, 1], np.float32), ones) == INFINITE
    assert differences(np.array([1, np.inf, 1], np.float32), ones) == INFINITE
    assert differences(ones, np.zeros(3, np.float32))[1] == float("inf")
    assert differences(np.zeros(3, np.float32), np.zeros(3, np.float32)) == (0.0, 0.0)


def test_pixels_may_round_either_way() -> None:
    wanted = np.array([10, 200, 255], np.uint8)
    assert differences(wanted - np.uint8(1), wanted) == (0.0, 0.0)
    assert differences(wanted - np.uint8(3), wanted)[0] == pytest.approx(2 / 255)


@pytest.mark.parametrize(
    ("change", "passes"),
    [
        ({}, True),
        ({"max_error": 2e-4}, False),
        ({"max_error": 2e-4, "largest": 10.0}, True),
        ({"max_error": float("inf")}, False),
        ({"precision": Precision.BF16, "max_error": 1.0, "relative_error": 0.02}, True),
        ({"precision": Precision.BF16, "relative_error": 0.04}, False),
        ({"precision": Precision.FP8, "relative_error": 0.04}, True),
        ({"precision": Precision.FP8, "relative_error": 0.2}, False),
    ],
)
def test_a_precision_allows_its_error(change: dict[str, float], passes: bool) -> None:
    error = replace(ERROR, **change)
    assert error.passed is passes
    assert ("FAIL" in table([error])) is not passes


def test_the_table_has_a_line_for_each_output() -> None:
    head, *lines = table([ERROR, replace(ERROR, case="stage2", max_error=1.0)]).splitlines()
    assert head.split()[:3] == ["graph", "case", "output"]
    assert [line.split()[1] for line in lines] == ["stage1", "stage2"]
    assert [line.split()[-1] for line in lines] == ["pass", "FAIL"]
