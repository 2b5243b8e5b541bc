"""Two runners on the same inputs: how far their outputs lie apart, and whether a precision explains it. Numpy only."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.precision import Precision
from model.runners.base import Arrays, ModuleRunner

Array = NDArray[np.generic]

MAX_ERROR_FP32 = 1e-4
"""Of a float32 graph: largest difference in units of max(1, largest value)."""
RELATIVE_ERROR = {Precision.BF16: 3e-2, Precision.FP8: 1e-1}
"""Relative (root mean square) error that a precision is allowed against float32. bf16 keeps 8 bits (2^-9 a rounding),
E4M3 4 bits (2^-5); both grow over a network's layers and are averaged out by its sums."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One run of one graph: where it stands in the pyramid ("stage0"), or what else tells it apart."""

    graph: str
    name: str
    inputs: Arrays


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputError:
    """max_error: largest difference of two elements. relative_error: the root mean square of the differences over that
    of the reference. largest: of the reference. Infinite where shapes or dtypes differ or something is not finite."""

    graph: str
    case: str
    output: str
    subject: str
    reference: str
    precision: Precision
    max_error: float
    relative_error: float
    largest: float

    @property
    def passed(self) -> bool:
        if self.precision is Precision.FP32:
            return self.max_error <= MAX_ERROR_FP32 * max(1.0, self.largest)
        return self.relative_error <= RELATIVE_ERROR[self.precision]


def compared(
    cases: Iterable[Case], runners: Mapping[str, ModuleRunner], *, reference: str, precision: Mapping[str, Precision]
) -> list[OutputError]:
    """Every runner but the reference against it, by graph, case and output. precision: of each graph."""
    errors = []
    for case in cases:
        wanted = runners[reference].run(case.graph, case.inputs)
        for subject, runner in runners.items():
            if subject == reference:
                continue
            got = runner.run(case.graph, case.inputs)
            for output, array in wanted.items():
                worst, relative = differences(got[output], array)
                errors.append(
                    OutputError(
                        graph=case.graph, case=case.name, output=output, subject=subject, reference=reference,
                        precision=precision[case.graph], max_error=worst, relative_error=relative,
                        largest=float(np.abs(array.astype(np.float64)).max(initial=0.0)),
                    )
                )  # fmt: skip
    return errors


def differences(got: Array, wanted: Array) -> tuple[float, float]:
    """(largest, relative root mean square). 8-bit values one level apart count as equal: rounding may fall either way,
    and are taken as 0..1."""
    if got.shape != wanted.shape or got.dtype != wanted.dtype:
        return float("inf"), float("inf")
    left, right = got.astype(np.float64), wanted.astype(np.float64)
    gap = np.abs(left - right)
    if wanted.dtype == np.uint8:
        gap, right = np.maximum(gap - 1, 0) / 255, right / 255
    if not np.isfinite(gap).all():
        return float("inf"), float("inf")
    worst = float(gap.max(initial=0.0))
    scale = float(np.sqrt(np.mean(right**2))) if right.size else 0.0
    spread = float(np.sqrt(np.mean(gap**2))) if gap.size else 0.0
    return worst, spread / scale if scale else (0.0 if worst == 0.0 else float("inf"))


def table(errors: Sequence[OutputError]) -> str:
    """The errors as aligned columns, one line each."""
    head = ("graph", "case", "output", "compared", "precision", "max error", "relative", "")
    rows = [
        (
            e.graph, e.case, e.output, f"{e.subject} / {e.reference}", str(e.precision),
            f"{e.max_error:.1e}", f"{e.relative_error:.1e}", "pass" if e.passed else "FAIL",
        )
        for e in errors
    ]  # fmt: skip
    widths = [max(len(row[column]) for row in (head, *rows)) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in (head, *rows)
    )
