"""TensorRT's names and signatures as type stubs, made from the real Python bindings on a machine without TensorRT.

    python tests/tensorrt_api/stubs.py FOLDER

writes FOLDER/tensorrt/__init__.pyi. It compiles `null_libraries.c` into a temporary folder, so that the wheel
`tensorrt-cu13-bindings` (a dev dependency) can be imported, and lets pybind11-stubgen read it.
"""

from __future__ import annotations

import ast
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

BINDINGS = "tensorrt_bindings"
LIBRARIES = ("libnvinfer.so.11", "libnvonnxparser.so.11", "libnvinfer_plugin.so.11")
_SOURCE = Path(__file__).with_name("null_libraries.c")
_BUFFER = """class IHostMemory:
    def __buffer__(self, flags: int, /) -> memoryview: ...
"""
"""It is a C buffer, which the generator cannot see; `memoryview(plan)` is how a plan is read."""
_NOT_A_NAME = re.compile(r"\bin(?=: )")


def missing() -> str:
    """What this machine lacks to make the stubs; "" when nothing."""
    if sys.platform != "linux":
        return "the null libraries are for Linux"
    if shutil.which("cc") is None:
        return "a C compiler (cc)"
    absent = [name for name in (BINDINGS, "pybind11_stubgen") if importlib.util.find_spec(name) is None]
    return f"the dev extra ({', '.join(absent)})" if absent else ""


def null_libraries(folder: Path) -> None:
    """Compiles the three libraries into `folder`."""
    for library in LIBRARIES:
        command = ["cc", "-shared", "-fPIC", "-O0", f"-Wl,-soname,{library}", "-o", str(folder / library), str(_SOURCE)]
        subprocess.run(command, check=True)


def write_stubs(folder: Path) -> Path:
    """Writes the package `tensorrt` as stubs into `folder`. Returns its file."""
    with tempfile.TemporaryDirectory() as name:
        libraries, raw = Path(name, "lib"), Path(name, "raw")
        libraries.mkdir()
        null_libraries(libraries)
        subprocess.run(
            [sys.executable, "-m", "pybind11_stubgen", "--ignore-all-errors", "-o", str(raw), BINDINGS],
            env=os.environ | {"LD_LIBRARY_PATH": str(libraries)}, check=True, capture_output=True,
        )  # fmt: skip
        text = parsable((raw / BINDINGS / "tensorrt.pyi").read_text(encoding="utf-8"))
    package = folder / "tensorrt"
    package.mkdir(parents=True, exist_ok=True)
    stub = package / "__init__.pyi"
    text = text.replace(f"{BINDINGS}.tensorrt.", "").replace("class IHostMemory:\n", _BUFFER)
    stub.write_text(text + "__version__: str\n", encoding="utf-8")
    return stub


def parsable(text: str) -> str:
    """The generator's text as Python.

    It writes C++ parameter names (`in`) and orders of defaults that Python does not have. The first are renamed; a
    method that still does not parse keeps its name and loses its signature (none that this project calls does, which
    `tests/contract/test_tensorrt_names.py` checks).
    """
    lines = [_NOT_A_NAME.sub("in_", line) for line in text.splitlines()]
    while True:
        try:
            ast.parse("\n".join(lines))
        except SyntaxError as exc:
            at = (exc.lineno or 0) - 1
            named = re.match(r"(\s*def \w+)\(", lines[at])
            if named is None or lines[at].startswith(f"{named[1]}(*args"):
                raise
            lines[at] = f"{named[1]}(*args: typing.Any, **kwargs: typing.Any) -> typing.Any:"
        else:
            return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(write_stubs(Path(sys.argv[1])))
