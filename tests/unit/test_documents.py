"""The READMEs and CONTRIBUTING name files, modules and commands that exist."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from bridge.cli.main import _parser

ROOT = Path(__file__).parents[2]
DOCUMENTS = [
    ROOT / name
    for name in (
        "README.md", "CONTRIBUTING.md", "bridge/README.md", "model/README.md", "trt_build/README.md",
        "demos/README.md", "tests/README.md",
    )
]  # fmt: skip
TOP = ("bridge", "model", "trt_build", "demos", "tests", "benchmarks")


def text(document: Path) -> str:
    return document.read_text("utf-8")


@pytest.fixture(params=DOCUMENTS, ids=lambda document: str(document.relative_to(ROOT)))
def document(request: pytest.FixtureRequest) -> Path:
    found: Path = request.param
    return found


def test_the_readme_is_short() -> None:
    lines = text(ROOT / "README.md").splitlines()
    assert len(lines) <= 200
    prose = re.sub(r"```.*?```", "", "\n".join(lines), flags=re.DOTALL)
    for paragraph in re.split(r"\n\s*\n|\n(?=- )", prose):
        if not paragraph.lstrip().startswith(("|", "<", "!")):
            assert len(paragraph.strip().splitlines()) <= 5, paragraph


def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text(document)):
        if not target.startswith("http"):
            assert (document.parent / target).exists(), target


def test_paths_and_modules_exist(document: Path) -> None:
    named = set(re.findall(r"(?<![\w/.-])((?:" + "|".join(TOP) + r")/[\w/.]+)", text(document)))
    for path in sorted(named):
        written = path.rstrip("./")
        if "NAME" not in written and "/weights" not in written:
            assert (ROOT / written).exists() or (document.parent / written).exists(), path
    if document.parent.name in TOP:
        for path in re.findall(r"`((?:\w+/)+\w+\.py)`", text(document)):
            assert (document.parent / path).exists() or (ROOT / path).exists(), path
    for module in set(re.findall(r"python -m ((?:" + "|".join(TOP) + r")[\w.]*)", text(document))):
        assert importlib.util.find_spec(module.rstrip(".")) is not None, module


def commands() -> list[str]:
    """Every `helios-bridge ...` line of a code block, without its comment."""
    found = []
    for document in DOCUMENTS:
        for block in re.findall(r"```(?:sh|bat)\n(.*?)```", text(document), re.DOTALL):
            for line in block.splitlines():
                match = re.search(r"helios-bridge (.+)", line.split("#")[0])
                if match and not line.startswith("git clone"):
                    found.append(match[1].strip())
    return sorted(set(found))


@pytest.mark.parametrize("command", commands())
def test_commands_are_understood(command: str) -> None:
    _parser().parse_args(command.split())
