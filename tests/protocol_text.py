"""unity_plugin_protocol.md, by its sections, tables and blocks of code."""

from __future__ import annotations

import pathlib
import re

ROOT = pathlib.Path(__file__).parents[1]
TEXT = (ROOT / "unity_plugin_protocol.md").read_text(encoding="utf-8")


def section(title: str) -> str:
    """The text under the heading that ends with `title`, up to the next heading."""
    match = re.search(rf"^#+ [^\n]*{re.escape(title)}\n(.*?)(?=^#+ |\Z)", TEXT, re.M | re.S)
    assert match is not None, f"no heading {title}"
    return match[1]


def rows(text: str) -> list[list[str]]:
    """The cells of a section's first table, without its head."""
    lines = [line for line in text.splitlines() if line.startswith("|")]
    return [[cell.strip().strip("`") for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def code_block(title: str, language: str) -> str:
    match = re.search(rf"```{language}\n(.*?)```", section(title), re.S)
    assert match is not None
    return match[1]
