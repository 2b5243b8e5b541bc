"""`serve --build` that is asked to stop while it builds: its builder ends, then it does, and says 130."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("onnx")
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")

ROOT = Path(__file__).parents[2]
SERVE = """
import subprocess, sys
from bridge.cli.main import main
from bridge.backends import plans

started = subprocess.Popen
plans._misses = lambda folder: {"denoiser": None}
plans.subprocess.Popen = lambda command, **how: started([sys.executable, "-c", sys.argv[1]], **how)
sys.exit(main(["serve", "--model", "demo", "--runner", "tensorrt", "--build"]))
"""
BUILDER = """
import io, os, threading
from trt_build.watched import run_watched

def work(progress):
    print(os.getpid(), flush=True)
    while progress.step("Building", 0) or STUCK:
        threading.Event().wait(0.05)
    print("timings saved", flush=True)

run_watched(work, title="denoiser", out=io.StringIO(), clock=lambda: 0.0)
"""
"""TensorRT's place is taken by a loop that looks for the cancellation between its steps, or never."""


@contextlib.contextmanager
def serving(*, stuck: bool) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`serve --build` in a process group of its own, as a shell starts it, and its builder's process. Both end."""
    serve = subprocess.Popen(
        [sys.executable, "-c", SERVE, BUILDER.replace("STUCK", str(stuck))], cwd=ROOT, process_group=0,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert serve.stdout is not None
    builder = int(serve.stdout.readline())
    try:
        yield serve, builder
    finally:
        serve.kill()
        with contextlib.suppress(ProcessLookupError):
            os.kill(builder, signal.SIGKILL)
        serve.communicate()


@pytest.mark.parametrize(("ending", "stuck"), [(signal.SIGINT, False), (signal.SIGINT, True), (signal.SIGTERM, False)])
def test_a_signal_to_serve_alone_ends_its_builder_too(ending: signal.Signals, stuck: bool) -> None:
    with serving(stuck=stuck) as (serve, builder):
        began = time.monotonic()
        os.kill(serve.pid, ending)
        told, errors = serve.communicate(timeout=30)
        took_s = time.monotonic() - began
        assert serve.returncode == 130, errors
        assert ("timings saved" in told) is not stuck
        assert took_s > 4 or not stuck  # patience for its timings; a build is then given up
        with pytest.raises(ProcessLookupError):
            os.kill(builder, 0)


def test_ctrl_c_at_a_terminal_reaches_the_builder_once() -> None:
    """The terminal asks every process of the foreground group; asked twice, a builder leaves its timings behind."""
    with serving(stuck=False) as (serve, _):
        os.killpg(serve.pid, signal.SIGINT)
        told, errors = serve.communicate(timeout=30)
        assert serve.returncode == 130, errors
        assert "timings saved" in told
