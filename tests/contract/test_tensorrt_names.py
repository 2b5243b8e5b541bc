"""Every TensorRT name, parameter and flag that the project uses, against the real bindings' own signatures.

The bindings' wheel tells them without TensorRT (tests/tensorrt_api/stubs.py). mypy then checks the code, and must find
an error planted in each module: a check that finds nothing there proves nothing. The fake that other tests run on is
held against the same stubs.
"""

from __future__ import annotations

import ast
import inspect
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("onnx")
from tests.tensorrt_api import fake_tensorrt, stubs

ROOT = Path(__file__).parents[2]
PLANTED = {
    "model/runners/tensorrt.py": (
        ("trt.ILogger.VERBOSE: logging.DEBUG", "trt.ILogger.TRACE: logging.DEBUG"),
        ("runtime.deserialize_cuda_engine(mapped)", "runtime.deserialize_engine(mapped)"),
        ("set_optimization_profile_async(profile, state.queue.handle)", "set_optimization_profile_async(profile)"),
    ),
    "trt_build/inspect.py": (("create_engine_inspector()", "create_inspector()"),),
    "trt_build/build.py": (("trt.BuilderFlag.WEIGHT_STREAMING", "trt.BuilderFlag.FP16"),),
}
"""Each module that imports tensorrt: calls as they are, and ones that TensorRT 11 does not have."""

pytestmark = pytest.mark.skipif(bool(stubs.missing()), reason=f"making TensorRT's stubs needs {stubs.missing()}")


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return stubs.write_stubs(tmp_path_factory.mktemp("stubs"))


def check(stub: Path, root: Path) -> list[str]:
    """mypy's errors in the modules that import tensorrt, below `root`, with TensorRT's real signatures."""
    config = stub.parent.parent / "mypy.ini"
    untyped = "".join(
        f"[mypy-{name}.*]\nignore_missing_imports = True\nfollow_imports = skip\n" for name in ("pycuda",)
    )
    config.write_text(
        "[mypy]\nstrict = True\nwarn_unused_ignores = False\nfollow_imports = silent\n"
        f"[mypy-tensorrt.*]\nignore_errors = True\n{untyped}"
    )
    command = [
        sys.executable, "-m", "mypy", "--config-file", str(config), "--no-error-summary", "--hide-error-context",
        "--cache-dir", str(stub.parent.parent / "cache"), *PLANTED,
    ]  # fmt: skip
    environment = os.environ | {"MYPYPATH": os.pathsep.join([str(stub.parent.parent), str(root)])}
    told = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert told.returncode in (0, 1), told.stdout + told.stderr
    return [line for line in told.stdout.splitlines() if ": error: " in line]


def test_every_module_that_imports_tensorrt_is_checked() -> None:
    importing = {
        str(path.relative_to(ROOT))
        for folder in ("bridge", "model", "trt_build", "demos")
        for path in (ROOT / folder).rglob("*.py")
        if re.search(r"^\s*(import tensorrt|from tensorrt)", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    assert importing == set(PLANTED)


def test_the_code_fits_the_real_signatures(stub: Path) -> None:
    assert check(stub, ROOT) == []


def test_a_planted_error_is_found_in_every_module(stub: Path, tmp_path: Path) -> None:
    for folder in ("model", "trt_build"):
        shutil.copytree(
            ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "weights", "maps", "demo")
        )
    lines = set()
    for name, errors in PLANTED.items():
        planted = text = (ROOT / name).read_text(encoding="utf-8")
        for right, wrong in errors:
            assert text.count(right) == 1, f"{name} no longer says {right!r} once: plant another error"
            planted = planted.replace(right, wrong)
            lines.add((name, text[: text.index(right)].count("\n") + 1))
        (tmp_path / name).write_text(planted, encoding="utf-8")
    found = {(match[1], int(match[2])) for line in check(stub, tmp_path) if (match := re.match(r"(.+?):(\d+):", line))}
    assert lines <= found


Parameters = list[str]


def real_members(stub: Path) -> dict[str, dict[str, list[Parameters] | None]]:
    """Class -> member -> the parameters of each overload; None for what is read or set, not called."""
    classes: dict[str, dict[str, list[Parameters] | None]] = {}
    for node in ast.parse(stub.read_text(encoding="utf-8")).body:
        if not isinstance(node, ast.ClassDef):
            continue
        members: dict[str, list[Parameters] | None] = {}
        for item in node.body:
            if isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                members[item.target.id] = None
            elif isinstance(item, ast.ClassDef):
                members[item.name] = None
            elif isinstance(item, ast.FunctionDef):
                if any(ast.unparse(d) == "property" or ast.unparse(d).endswith(".setter") for d in item.decorator_list):
                    members[item.name] = None
                else:
                    parameters = [argument.arg for argument in item.args.args if argument.arg != "self"]
                    members[item.name] = [*(members.get(item.name) or []), parameters]
        classes[node.name] = members
    return classes


def test_the_fake_has_only_what_tensorrt_has(stub: Path) -> None:
    """Names, and parameters in their order; made by hand are only the constructors of what TensorRT makes itself."""
    real = real_members(stub)
    fakes = {name: kind for name, kind in vars(fake_tensorrt).items() if inspect.isclass(kind)}
    del fakes["World"]
    wrong = []
    for name, kind in fakes.items():
        assert name in real, f"TensorRT has no class {name}"
        for member, value in vars(kind).items():
            if member.startswith("_") and not (member == "__init__" and "__init__" in real[name]):
                continue
            if member not in real[name]:
                wrong.append(f"{name}.{member}")
            elif inspect.isfunction(value):
                parameters = [parameter for parameter in inspect.signature(value).parameters if parameter != "self"]
                overloads = real[name][member]
                if overloads is None or parameters not in overloads:
                    wrong.append(f"{name}.{member}({', '.join(parameters)}), TensorRT has {overloads}")
            elif real[name][member] is not None:
                wrong.append(f"{name}.{member} is called in TensorRT")
    assert wrong == []
