"""The tables of README.md and demos/clients/README.md against the clients that it lists."""

from __future__ import annotations

from pathlib import Path

import pytest

from demos.clients.catalogue import CLIENTS, HERE, ROOT, EngineClient
from demos.clients.readme_table import HEADING, with_round_trips


def rows(path: Path) -> dict[str, list[str]]:
    """The table's cells by the folder that a row's first cell links to, as clients are named."""
    lines = path.read_text(encoding="utf-8").splitlines()
    table = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines if line.startswith("| [")]
    return {row[0].split("](")[1].rstrip(")").split("/")[-1].replace("_", "-"): row for row in table}


ROWS = rows(HERE / "README.md")


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.name)
def test_every_client_has_a_row_and_its_count_of_lines(client: EngineClient) -> None:
    assert int(ROWS[client.name][2]) == client.lines
    assert int(rows(ROOT / "README.md")[client.name][2]) == client.lines
    assert any("kit" in cell for cell in ROWS[client.name][3:])


@pytest.mark.parametrize("folder", sorted(ROWS))
def test_every_folder_says_how_to_run_it_and_what_is_not_tested(folder: str) -> None:
    text = (HERE / folder.replace("-", "_") / "README.md").read_text(encoding="utf-8")
    assert "**Run.**" in text
    assert "**Tested here**" in text
    assert "**Not " in text


def test_round_trips_are_written_into_both_tables_and_nowhere_else() -> None:
    for path in (ROOT / "README.md", HERE / "README.md"):
        before = path.read_text(encoding="utf-8")
        once = with_round_trips(before, {"c": 1.234, "plain-python": 2.0})
        again = with_round_trips(once, {"c": 5.678})
        lines = [line for line in again.splitlines() if line.startswith(("| client |", "| ["))]
        at = lines[0].split(" | ").index(HEADING)
        cells = {line.split("](")[0].lstrip("| ["): line.split(" | ")[at] for line in lines[1:]}
        assert (cells["C"], cells["plain Python"]) == ("5.68 ms", "2.00 ms")
        assert with_round_trips(again, {}) == again
        kept = [line for line in before.splitlines() if not line.startswith("|")]
        assert kept == [line for line in again.splitlines() if not line.startswith("|")]
