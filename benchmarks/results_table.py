"""Writes RESULTS.md from the newest run of each benchmark in `results/`.

    python -m benchmarks.results_table

A run is one JSON file, `results/DATE_NAME.json`: benchmark, date, commit, command, conditions, machine (cpu, cores,
instruction_sets, gpu), versions, headline (one line for the table) and figures.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent / "results"
TABLE = Path(__file__).parent / "RESULTS.md"
FIELDS = ("benchmark", "date", "commit", "command", "conditions", "machine", "versions", "headline", "figures")
_HEAD = """# Results

The newest run of each benchmark; all figures of a run are in its file. Nothing here is estimated. The machines are
shared virtual ones without a GPU; one command varies from run to run by a third. Older runs are in git's history.

| benchmark | date | machine | headline |
|---|---|---|---|
"""


def newest(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """The newest run of each benchmark, by its name; file names begin with the date."""
    runs = {}
    for path in sorted(folder.glob("*.json")):
        run = json.loads(path.read_text("utf-8"))
        runs[run["benchmark"]] = {**run, "file": f"results/{path.name}"}
    return [runs[name] for name in sorted(runs)]


def table(runs: list[dict[str, Any]]) -> str:
    """RESULTS.md as it should be."""
    rows = []
    for run in runs:
        machine = run["machine"]
        told = f"{machine['cores']} cores, {machine['gpu'] or machine['instruction_sets'][-1]}"
        rows.append(f"| [{run['benchmark']}]({run['file']}) | {run['date']} | {told} | {run['headline']} |\n")
    return _HEAD + "".join(rows)


if __name__ == "__main__":
    TABLE.write_text(table(newest()), "utf-8")
