"""Walks with every client against one service in turn, and prints a row of each: what came back, and how fast.

    python -m demos.clients.run_all --seconds 60 --report clients.json --readme

A client that is not answered in full, or not started, makes the exit status 1; one whose tools are missing is named as
skipped and does not. Round trips are the client's own figures: from sending a control to having read its answer;
`--readme` writes them into the READMEs' tables.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.config import ServeConfig
from demos.clients import readme_table
from demos.clients.catalogue import BY_NAME, CLIENTS, HERE, ROOT, BuildFailed, EngineClient, environment
from model.cli_args import output_file

Row = dict[str, Any]
_START_S = 60.0  # builds are done by then; a slow runtime on a busy machine is not
_HEADINGS = ("client", "lines", "controls", "shown", "unanswered", "in ring", "round trip p50", "p99", "")


def walk(client: EngineClient, address: str, seconds: float, folder: Path) -> Row:
    """One client's row. `status`: passed, failed (with `why`) or skipped (with `why`)."""
    row: Row = {"client": client.name, "lines": client.lines}
    if client.missing:
        return {**row, "status": "skipped", "why": f"needs {', '.join(client.missing)}"}
    try:
        command = client.make(folder)
    except BuildFailed as exc:
        return {**row, "status": "failed", "why": str(exc)}
    done = subprocess.run(
        [*command, address, str(seconds)],
        env=environment(), capture_output=True, text=True, timeout=seconds + _START_S, check=False,
    )  # fmt: skip
    lines = done.stdout.strip().splitlines()
    if done.returncode != 0 or not lines:
        return {**row, "status": "failed", "why": (done.stderr or done.stdout).strip()[-400:]}
    row |= {key: value for key, value in json.loads(lines[-1]).items() if key != "client"}
    row["unanswered"] = row["controls"] - row["generated"] - row["reprojected"] - row["held"]
    return {**row, "status": "passed" if row["unanswered"] == 0 else "failed", "why": ""}


def cells(row: Row) -> tuple[str, ...]:
    """A row as the table shows it."""
    if "controls" not in row:
        return (row["client"], str(row["lines"]), *[""] * 6, f"{row['status']}: {row['why'].splitlines()[0]}")
    return (
        row["client"], str(row["lines"]), str(row["controls"]), str(row["shown"]), str(row["unanswered"]),
        str(row.get("in_ring", "-")), f"{row['round_trip_us_p50'] / 1e3:.2f} ms",
        f"{row['round_trip_us_p99'] / 1e3:.2f} ms", row["status"],
    )  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m demos.clients.run_all", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--model", default="demo", help="of the service: demo, synthetic, or a folder")
    parser.add_argument("--only", action="append", choices=list(BY_NAME), help="may be given several times")
    parser.add_argument("--report", type=output_file, metavar="FILE.json")
    parser.add_argument("--readme", action="store_true", help="write the round trips into the READMEs' tables")
    words = parser.parse_args()
    chosen = [client for client in CLIENTS if not words.only or client.name in words.only]
    rows: list[Row] = []
    service = LocalService(ServeConfig(bind=FREE_PORT, model=words.model, fps=30.0))
    with service, tempfile.TemporaryDirectory() as folder:
        print("| " + " | ".join(_HEADINGS) + " |")
        print("|" + "---|" * len(_HEADINGS))
        for client in chosen:
            rows.append(walk(client, service.address, words.seconds, Path(folder) / client.name))
            print("| " + " | ".join(cells(rows[-1])) + " |", flush=True)
    counts = {status: sum(row["status"] == status for row in rows) for status in ("passed", "failed", "skipped")}
    print(", ".join(f"{count} {status}" for status, count in counts.items()))
    if words.report is not None:
        machine = {"machine": platform.platform(), "cpus": os.cpu_count(), "python": platform.python_version()}
        report = {**machine, "model": words.model, "seconds": words.seconds, "rows": rows}
        words.report.write_text(json.dumps(report, indent=1) + "\n", encoding="utf-8")
    if words.readme:
        measured = {row["client"]: row["round_trip_us_p50"] / 1e3 for row in rows if row["status"] == "passed"}
        readme_table.write([ROOT / "README.md", HERE / "README.md"], measured)
    return 1 if counts["failed"] else 0


if __name__ == "__main__":
    sys.exit(main())
