"""What all command lines share."""

from __future__ import annotations

import argparse
import shutil
import subprocess
from pathlib import Path

import pytest

from bridge.cli_model import add_model
from model.console import commit, frame_size
from trt_build.commands import export


def test_a_size_is_width_by_height() -> None:
    assert frame_size("640x384") == (640, 384)


@pytest.mark.parametrize(
    "text", ["3x", "x3", "384", "0x0", "640x0", "axb", "-3x4", "640x384x3", "640 x 384", "", "٣x٣"]
)
def test_what_is_no_size_is_refused_with_what_was_expected(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=r"got '.*', expected WIDTHxHEIGHT in pixels, such as 640x384"):
        frame_size(text)


def test_serving_and_exporting_read_a_size_alike() -> None:
    serve, build = argparse.ArgumentParser(), argparse.ArgumentParser()
    add_model(serve)
    export.add_arguments(build)
    served = serve.parse_args(["--size", "640x384"])
    exported = build.parse_args(["--model", "demo", "--out", "out", "--size", "640x384"])
    assert served.size == exported.size == (640, 384)


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
