"""The table of results is made from the newest runs, and every run says how it was measured."""

from __future__ import annotations

import json
from datetime import date
from pathlib import Path

import pytest

from benchmarks.results_table import FIELDS, FOLDER, TABLE, newest, table


def test_the_table_is_current() -> None:
    assert TABLE.read_text("utf-8") == table(newest()), "run: python -m benchmarks.results_table"


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.json")), ids=lambda path: path.stem)
def test_a_run_says_how_it_was_measured(path: Path) -> None:
    run = json.loads(path.read_text("utf-8"))
    assert set(run) == set(FIELDS)
    assert path.name == f"{date.fromisoformat(run['date'])}_{run['benchmark']}.json"
    assert run["machine"]["cores"] > 0
    assert run["machine"]["instruction_sets"]
    assert run["command"] or run["conditions"]
    assert 0 < len(run["headline"]) <= 120
    assert run["figures"]


def test_the_newest_run_of_a_benchmark_counts(tmp_path: Path) -> None:
    for day in ("2026-01-02", "2026-01-01"):
        (tmp_path / f"{day}_a.json").write_text(json.dumps({"benchmark": "a", "date": day}))
    assert [run["date"] for run in newest(tmp_path)] == ["2026-01-02"]
