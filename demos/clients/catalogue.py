"""Every client in this folder: what it needs, how it is built, and the command that walks with it.

A walk is the same short game in each language: `COMMAND ADDRESS SECONDS` hands over a level, walks a circle at 60 Hz
and prints one line of JSON (README.md of this folder). Tests, the conformance kit and run_all.py start clients here.
"""

from __future__ import annotations

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
ROOT: Final = HERE.parents[1]
_BUILD_S: Final = 300.0

Command = list[str]


class BuildFailed(Exception):
    """A client did not build; the message holds the compiler's words."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineClient:
    """One client.

    axes, units_per_metre: what it speaks. programs, modules: what must be installed, else it is skipped by name.
    sources: the files that an engine programmer takes over, relative to this folder. build: commands that make it in a
    folder. walk: the command without ADDRESS and SECONDS. shared_memory, curve: what it can beyond the plain protocol.
    """

    name: str
    axes: str
    sources: tuple[str, ...]
    walk: Callable[[Path], Command]
    build: Callable[[Path], Sequence[Command]] = field(default=lambda folder: ())
    units_per_metre: float = 1.0
    programs: tuple[str, ...] = ()
    modules: tuple[str, ...] = ()
    shared_memory: bool = False
    curve: bool = False

    @property
    def missing(self) -> list[str]:
        """What would have to be installed first."""
        programs = [program for program in self.programs if shutil.which(program) is None]
        return programs + [module for module in self.modules if importlib.util.find_spec(module) is None]

    @property
    def lines(self) -> int:
        """Lines of code in `sources`, blank lines and whole-line comments left out."""
        return sum(_code_lines(HERE / source) for source in self.sources)

    def make(self, folder: Path) -> Command:
        """Builds in `folder` and returns the walk's command. Raises: BuildFailed."""
        folder.mkdir(parents=True, exist_ok=True)
        for command in self.build(folder):
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_BUILD_S, check=False)
            if done.returncode != 0:
                raise BuildFailed(f"{self.name}: {' '.join(command)}\n{done.stdout[-4000:]}{done.stderr[-4000:]}")
        return self.walk(folder)


def environment() -> dict[str, str]:
    """What a walk's process needs to find this project, installed or not."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def _code_lines(file: Path) -> int:
    text = file.read_text(encoding="utf-8")
    if file.suffix == ".md":
        text = "".join(re.findall(r"```python\n(.*?)```", text, re.S))
    comment = ("#",) if file.suffix in (".py", ".gd", ".md") else ("//", "/*", "* ", "*/")
    return sum(bool(line.strip()) and not line.strip().startswith(comment) for line in text.splitlines())


def _c(folder: Path) -> list[Command]:
    configure = ["cmake", "-S", str(HERE / "c"), "-B", str(folder), "-DCMAKE_BUILD_TYPE=Release"]
    return [configure, ["cmake", "--build", str(folder)]]


def _javascript(folder: Path) -> list[Command]:
    files = [str(path) for path in sorted((HERE / "javascript").iterdir()) if path.suffix in (".mjs", ".ts", ".json")]
    return [["cp", *files, str(folder)], ["npm", "install", "--no-audit", "--no-fund", "--no-package-lock"]]


def _godot(folder: Path) -> Command:
    # Godot takes a bare word for a scene's name, so the two arguments are given names.
    script = f'exec godot3-server --path "{HERE / "godot"}" -s walk.gd --address="$1" --seconds="$2"'
    return ["sh", "-c", script, "walk"]


def _unity(folder: Path) -> list[Command]:
    sources = [HERE / "unity/Runtime/HeliosClient.cs", HERE / "unity/Walk~/Walk.cs"]
    return [
        ["mcs", "-langversion:6", "-r:System.Core", "-warnaserror", f"-out:{folder / 'Walk.exe'}", *map(str, sources)]
    ]


CLIENTS: Final = (
    EngineClient(
        name="panda3d",
        axes="opengl",
        shared_memory=True,
        sources=("panda3d/blockout.py", "panda3d/card.py", "panda3d/game.py"),
        modules=("panda3d",),
        walk=lambda folder: [sys.executable, "-m", "demos.clients.panda3d"],
    ),
    EngineClient(
        name="plain-python",
        axes="opengl",
        sources=("../../unity_plugin_protocol.md",),
        modules=("zmq", "msgpack"),
        walk=lambda folder: [sys.executable, "-m", "demos.clients.plain_python"],
    ),
    EngineClient(
        name="unity",
        axes="unity",
        shared_memory=True,
        sources=("unity/Runtime/HeliosClient.cs",),
        programs=("mcs", "mono"),
        build=_unity,
        walk=lambda folder: ["mono", str(folder / "Walk.exe")],
    ),
    EngineClient(
        name="c",
        axes="opengl",
        shared_memory=True,
        curve=True,
        sources=("c/helios_bridge.h", "c/helios_bridge.c"),
        programs=("cmake", "gcc", "pkg-config"),
        build=_c,
        walk=lambda folder: [str(folder / "walk")],
    ),
    EngineClient(
        name="godot",
        axes="godot",
        sources=("godot/helios_bridge.gd",),
        programs=("godot3-server",),
        walk=_godot,
    ),
    EngineClient(
        name="javascript",
        axes="opengl",
        curve=True,
        sources=("javascript/helios_bridge.mjs", "javascript/messages.d.ts"),
        programs=("node", "npm"),
        build=_javascript,
        walk=lambda folder: ["node", str(folder / "walk.mjs")],
    ),
)
BY_NAME: Final = {client.name: client for client in CLIENTS}
