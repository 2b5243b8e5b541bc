"""What the C, Unreal and JavaScript clients are held against beside their walks: valgrind, compilers, types."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from demos.clients.catalogue import BY_NAME, HERE, environment

DECLARATIONS = Path(__file__).parents[1] / "contract/engines"
UNREAL_HEADERS = (
    "Components/ActorComponent.h", "CoreMinimal.h", "HeliosBridgeComponent.generated.h", "Camera/CameraComponent.h",
    "Components/StaticMeshComponent.h", "Engine/StaticMesh.h", "Engine/Texture2D.h", "EngineUtils.h",
    "PhysicsEngine/BodySetup.h",
)  # fmt: skip


def need(*programs: str) -> None:
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        pytest.skip(f"needs {', '.join(missing)}")


@pytest.fixture(scope="module")
def c_walk(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    need(*BY_NAME["c"].programs)
    return BY_NAME["c"].make(tmp_path_factory.mktemp("c"))


@pytest.mark.parametrize("in_ring", [True, False], ids=["shared memory", "sockets"])
def test_the_c_client_is_clean_under_valgrind(c_walk: list[str], shared_service, *, in_ring: bool) -> None:
    need("valgrind")
    valgrind = ["valgrind", "-q", "--error-exitcode=9", "--leak-check=full", "--show-leak-kinds=definite,indirect"]
    more = {} if in_ring else {"HELIOS_NO_SHARED_MEMORY": "1"}
    done = subprocess.run(
        [*valgrind, *c_walk, shared_service.address, "2"],
        env={**environment(), **more}, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["shown"] > 10
    assert (report["in_ring"] > 0) is in_ring


@pytest.mark.parametrize(
    ("options", "expected"),
    [("http://here", "address: got http://here"), ("tcp://nowhere", "address: got tcp://nowhere")],
)
def test_an_address_that_is_none_is_said_so(c_walk: list[str], options: str, expected: str) -> None:
    done = subprocess.run([*c_walk, options, "1"], capture_output=True, text=True, timeout=20, check=False)
    assert done.returncode == 2
    assert expected in done.stderr


def test_the_c_header_is_c_and_cpp(tmp_path: Path) -> None:
    need("gcc", "g++")
    for name, flags in (("use.c", ["-std=c11"]), ("use.cpp", ["-x", "c++", "-std=c++11"])):
        (tmp_path / name).write_text('#include "helios_bridge.h"\nint main(void) { return (int)hb_now_us(); }\n')
        command = [
            "gcc",
            *flags,
            "-Wall",
            "-Wextra",
            "-Wpedantic",
            "-Werror",
            "-fsyntax-only",
            "-I",
            str(HERE / "c"),
        ]
        subprocess.run([*command, str(tmp_path / name)], check=True)


def test_the_unreal_sample_compiles_against_hand_written_declarations(tmp_path: Path) -> None:
    need("g++")
    for header in UNREAL_HEADERS:
        (tmp_path / header).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / header).write_text('#include "unreal_declarations.h"\n')
    folders = [tmp_path, DECLARATIONS, HERE / "c", HERE / "unreal"]
    includes = [word for folder in folders for word in ("-I", str(folder))]
    flags = ["-std=c++17", "-fsyntax-only", "-Wall", "-Wextra", "-Wno-unused-parameter", "-Werror"]
    subprocess.run(["g++", *flags, *includes, str(HERE / "unreal/HeliosBridgeComponent.cpp")], check=True)


def test_javascript_keeps_its_types(tmp_path: Path) -> None:
    need("node", "npm")
    BY_NAME["javascript"].make(tmp_path)
    done = subprocess.run(
        ["node_modules/.bin/tsc", "-p", "tsconfig.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    # The same check must notice a slip in a field's name.
    walk = tmp_path / "walk.mjs"
    walk.write_text(walk.read_text(encoding="utf-8").replace("vertical_fov_deg:", "vertical_fov:"), encoding="utf-8")
    slipped = subprocess.run(
        ["node_modules/.bin/tsc", "-p", "tsconfig.json"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert "vertical_fov" in slipped.stdout
