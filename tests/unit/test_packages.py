"""Each package says in its `__init__` what it is for, and names modules that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = sorted(
    folder.parent
    for top in ("bridge", "model", "trt_build")
    for folder in (ROOT / top).rglob("__init__.py")
    if len(list(folder.parent.glob("*.py"))) > 2
    and folder.parent.name != "commands"
    and folder.parent != ROOT / "bridge"
)


@pytest.mark.parametrize("package", PACKAGES, ids=lambda package: str(package.relative_to(ROOT)))
def test_a_package_says_what_it_is_for_in_five_to_fifteen_lines(package: Path) -> None:
    told = ast.get_docstring(ast.parse((package / "__init__.py").read_text("utf-8")))
    assert told is not None
    assert 5 <= len(told.splitlines()) <= 15
    modules = {path.stem for path in package.glob("*.py")} | {path.name for path in package.iterdir() if path.is_dir()}
    first = told[told.index("Read first:") :].split("Must not know:")[0]
    named = set(re.findall(r"`(\w+)/?`", first))
    assert named & modules
    assert {name for name in named - modules if name.islower()} <= {"play"}
