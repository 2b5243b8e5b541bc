"""A run's round trips in the READMEs' tables of clients: `run_all --readme` writes them where they were measured."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Final

HEADING: Final = "round trip p50"
_BEHIND: Final = "lines"
_UNKNOWN: Final = "-"


def with_round_trips(text: str, round_trips_ms: Mapping[str, float]) -> str:
    """A README's text with the column `HEADING`; a client that was not measured keeps what stands there.

    Clients are named by the folder that a row's first cell links to.
    """
    lines = text.splitlines()
    heads = [index for index, line in enumerate(lines) if line.startswith("| client |")]
    for head in heads:
        names = _cells(lines[head])
        if HEADING not in names:
            at = names.index(_BEHIND) + 1
            for index in range(head, len(lines)):
                if not lines[index].startswith("|"):
                    break
                cells = _cells(lines[index])
                cells.insert(at, {head: HEADING, head + 1: "---"}.get(index, _UNKNOWN))
                lines[index] = _line(cells, rule=index == head + 1)
        at = _cells(lines[head]).index(HEADING)
        for index in range(head + 2, len(lines)):
            link = re.match(r"\| \[[^\]]*\]\(([^)]*)\)", lines[index])
            if link is None:
                break
            cells = _cells(lines[index])
            measured = round_trips_ms.get(link[1].split("/")[-1].replace("_", "-"))
            if measured is not None:
                cells[at] = f"{measured:.2f} ms"
            lines[index] = _line(cells, rule=False)
    return "\n".join(lines) + "\n"


def write(paths: list[Path], round_trips_ms: Mapping[str, float]) -> None:
    """Writes the column into these files."""
    for path in paths:
        text = with_round_trips(path.read_text(encoding="utf-8"), round_trips_ms)
        path.write_text(text, encoding="utf-8")


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _line(cells: list[str], *, rule: bool) -> str:
    return "|" + "---|" * len(cells) if rule else "| " + " | ".join(cells) + " |"
