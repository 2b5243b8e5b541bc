"""What all command lines share."""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest

from bridge.cli.main import main as helios_bridge
from bridge.cli.model_options import add_model
from model.cli_args import (
    check_writable,
    commit,
    frame_size,
    install,
    output_file,
    output_folder,
    stage_steps,
    whole_numbers,
)
from trt_build.__main__ import main as trt_build
from trt_build.commands import export


def test_a_size_is_width_by_height() -> None:
    assert frame_size("640x384") == (640, 384)


@pytest.mark.parametrize(
    "text", ["3x", "x3", "384", "0x0", "640x0", "axb", "-3x4", "640x384x3", "640 x 384", "", "٣x٣"]
)
def test_what_is_no_size_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"got '.*', expected WIDTHxHEIGHT in pixels, such as 640x384"):
        frame_size(text)


def test_numbers_stand_between_commas() -> None:
    assert (whole_numbers("1,3,9"), whole_numbers("4"), stage_steps("2,2,1")) == ((1, 3, 9), (4,), (2, 2, 1))


@pytest.mark.parametrize("text", ["", "a", "3,x", "3,", ",3", "1,,2", "-1", "1.5", "1, 2", "٣"])
def test_what_is_no_number_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"got '.*', expected whole numbers .* such as 1,3,9"):
        whole_numbers(text)


@pytest.mark.parametrize("text", ["", "1", "1,1", "1,1,1,1", "0,1,1", "a,1,1"])
def test_steps_are_three(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"got '.*', expected three positive numbers, such as 1,1,1"):
        stage_steps(text)


def test_serving_and_exporting_read_a_size_alike(tmp_path: Path) -> None:
    serve, build = argparse.ArgumentParser(), argparse.ArgumentParser()
    add_model(serve)
    export.add_arguments(build)
    served = serve.parse_args(["--size", "640x384"])
    exported = build.parse_args(["--model", "demo", "--out", str(tmp_path), "--size", "640x384"])
    assert served.size == exported.size == (640, 384)


def test_a_file_to_write_gets_its_folder_and_is_not_there_yet(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "er" / "report.json"
    assert output_file(str(path)) == path
    assert (path.parent.is_dir(), path.exists()) == (True, False)


def test_what_a_file_holds_stays_until_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "report.json"
    path.write_text("the last run's")
    assert output_file(str(path)).read_text() == "the last run's"


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
def test_a_pipe_without_a_reader_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    check_writable(tmp_path / "pipe")


def test_what_cannot_be_written_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match=r"cannot write .*r\.json: .*file"):
        output_file(str(tmp_path / "file" / "r.json"))
    with pytest.raises(argparse.ArgumentTypeError, match="cannot write"):
        output_file(str(tmp_path))
    with pytest.raises(argparse.ArgumentTypeError, match=r"cannot write into .*file"):
        output_folder(str(tmp_path / "file"))
    assert output_folder(str(tmp_path / "a" / "b")).is_dir()


@pytest.mark.parametrize(
    ("main", "arguments"),
    [
        (helios_bridge, ["play", "--headless", "--tour", "--report", "FILE"]),
        (helios_bridge, ["play", "--headless", "--record", "FILE"]),
        (helios_bridge, ["bench", "inprocess", "--report", "FILE"]),
        (helios_bridge, ["conform", "server", "tcp://127.0.0.1:9", "--junit", "FILE"]),
        (helios_bridge, ["play", "--headless", "--out", "FILE"]),
        (trt_build, ["bench", "DIR", "--report", "FILE"]),
        (trt_build, ["verify", "DIR", "--report", "FILE"]),
        (trt_build, ["export", "--model", "demo", "--out", "FILE"]),
    ],
)
def test_no_command_begins_to_work_for_what_it_cannot_write(
    main: Callable[[list[str]], int], arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(SystemExit, match="2"):
        main([str(tmp_path / "taken" / "out") if word == "FILE" else word for word in arguments])
    told = capsys.readouterr()
    assert (f"argument {arguments[-2]}: cannot write" in told.err, told.out) == (True, "")


def test_a_disk_that_fails_trt_build_is_told_in_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: object) -> int:
        raise OSError(28, "No space left on device", "plan")

    monkeypatch.setattr("trt_build.commands.cache.run", full)
    assert trt_build(["cache", "list"]) == 1
    assert capsys.readouterr().err == "trt_build: [Errno 28] No space left on device: 'plan'\n"


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_report_names_the_commit_of_our_own_checkout_alone(tmp_path: Path) -> None:
    """A package installed inside somebody's repository must not pass their commit off as ours."""
    installed = tmp_path / "site-packages"
    installed.mkdir()
    (installed / "module.py").write_text("before")
    author = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for words in (["init", "-q"], ["add", "-A"], [*author, "commit", "-q", "-m", "theirs"]):
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True)
    head = ["git", "-C", str(tmp_path), "rev-parse", "HEAD"]
    theirs = subprocess.run(head, check=True, capture_output=True, text=True).stdout
    assert (theirs.startswith(commit(tmp_path)), commit(installed)) == (True, "unknown")
    (installed / "module.py").write_text("after")
    assert commit(tmp_path).endswith("-dirty")


@pytest.mark.skipif(shutil.which("git") is None, reason="needs git")
def test_a_repository_without_a_commit_has_none_to_name(tmp_path: Path) -> None:
    subprocess.run(["git", "-C", str(tmp_path), "init", "-q"], check=True)
    assert commit(tmp_path) == "unknown"


def test_what_is_said_to_install_is_there_and_on_no_index() -> None:
    """Every remedy in the code goes through `install`, and names an extra that pyproject.toml has."""
    root = Path(__file__).parents[3]
    assert install("mesh") == 'pip install -e ".[mesh]" in the checkout'
    extras = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["optional-dependencies"]
    said = set()
    for folder in ("bridge", "model", "trt_build", "demos", "benchmarks"):
        for file in (root / folder).rglob("*.py"):
            text = file.read_text("utf-8")
            assert "helios-bridge[" not in text, file
            said |= set(re.findall(r"install\([\"'](\w+)[\"']\)|extra=\"(\w+)\"", text))
    named = {one or other for one, other in said}
    assert {"mesh", "torch", "tensorrt", "rtx", "gltf", "dev"} <= named <= set(extras)
