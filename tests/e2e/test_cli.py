"""The command line as a user meets it: real processes, exit codes, one clear line for a mistake."""

from __future__ import annotations

import json
import signal
import socket
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from bridge.cli.local_service import LISTENING
from bridge.client.client import Client
from bridge.client.types import Camera

COMMAND = [sys.executable, "-m", "bridge"]


def run(*arguments: str, timeout_s: float = 90.0) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=timeout_s, check=False)


@pytest.mark.parametrize("command", ["serve", "play", "bench", "conform", "blockout", "keys", "doctor"])
def test_every_command_has_help_with_examples(command):
    told = run(command, "--help")
    assert told.returncode == 0
    assert f"helios-bridge {command}" in told.stdout.split("examples:")[1]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["serve", "--bind", "nonsense"], "expected tcp://HOST:PORT"),
        (["serve", "--model", "/no/such/folder"], "expected 'demo', a Diffusers folder"),
        (["serve", "--model", "."], "got '.', expected 'demo', a Diffusers folder"),
        (["serve", "--fps", "0"], "fps: got 0"),
        (["serve", "--max-sessions", "0"], "max_sessions: got 0"),
        (["serve", "--model", "synthetic", "--build"], "--build: got --runner auto, expected --runner tensorrt"),
        (["serve", "--model", "synthetic", "--states", "/proc/x"], "cannot write into /proc/x"),
        (["play", "--connect", "127.0.0.1:5599"], "expected tcp://HOST:PORT"),
        (["play", "--headless", "--model", "/no/such/folder"], "expected 'demo', a Diffusers folder"),
        (["play", "--connect", "tcp://127.0.0.1:9", "--headless", "--seconds", "-1"], "seconds: got -1"),
        (["doctor", "--runner", "abacus"], "invalid choice"),
        (["blockout", "from-gltf", "/no/such/level.glb"], "no such file"),
        (["blockout", "from-gltf", "level.glb", "--material", "brick"], "expected NAME-IN-THE-FILE=NAME-IN-THE-MODEL"),
    ],
)
def test_a_mistake_is_one_clear_line(arguments, expected):
    told = run(*arguments)
    assert told.returncode != 0
    assert expected in told.stderr
    assert "Traceback" not in told.stderr + told.stdout


def test_a_taken_port_is_said_so():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        told = run("serve", "--model", "synthetic", "--bind", f"tcp://127.0.0.1:{taken.getsockname()[1]}")
    assert told.returncode == 2
    assert len(told.stderr.strip().splitlines()) == 1


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_serve_stops_cleanly(ending):
    process = subprocess.Popen(
        [*COMMAND, "serve", "--model", "synthetic", "--bind", "tcp://127.0.0.1:*"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout is not None
    address = process.stdout.readline().removeprefix(LISTENING).strip()
    with Client(address) as client:
        assert client.step(Camera(position=(0, 1.6, 0)), timeout_s=5).pixels.shape == (192, 320, 3)
    process.send_signal(ending)
    served = process.stdout.readline()
    _, errors = process.communicate(timeout=15)
    assert process.returncode == 0
    assert served == "serving synthetic on numpy: 320x192, chunks of 5 or 9 frames, camera by channels\n"
    assert errors == "loading synthetic ...\n"


def test_play_waits_for_a_service_that_is_still_loading(tmp_path: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{free.getsockname()[1]}"
    options = ["--headless", "--tour", "--seconds", "1", "--out", str(tmp_path), "--wait", "60"]
    play = subprocess.Popen(
        [*COMMAND, "play", "--connect", address, *options], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert play.stdout is not None
    assert play.stdout.readline().startswith(f"waiting for {address}, up to 60 s")
    serve = subprocess.Popen([*COMMAND, "serve", "--model", "synthetic", "--bind", address], stdout=subprocess.DEVNULL)
    try:
        said, _ = play.communicate(timeout=60)
        assert play.returncode == 0, said
        assert said.startswith("playing the scripted tour")
    finally:
        serve.terminate()
        serve.wait(timeout=15)
        play.kill()


def test_doctor_makes_a_frame_and_says_what_is_here():
    told = run("doctor", "--model", "synthetic")
    assert told.returncode == 0, told.stdout
    for name in ("python", "cpu", "gpu", "can use onnxruntime", "can use tensorrt", "free port", "one frame"):
        assert f"\n{name} " in f"\n{told.stdout}"


def test_bench_transport_writes_its_rows_beside_the_peers(tmp_path: Path):
    report = tmp_path / "transport.json"
    told = run("bench", "transport", "--controls", "9", "--report", str(report), timeout_s=120)
    assert told.returncode == 0, told.stderr
    rows = json.loads(report.read_text())["rows"]
    ours = {row["name"] for row in rows if not row["peer"]}
    assert {"ZeroMQ tcp", "ZeroMQ ipc", "ZeroMQ tcp, CURVE", "ZeroMQ tcp, JPEG", "shared memory, ipc"} <= ours
    peers = {row["name"].split(",")[0].split()[0] for row in rows if row["peer"]}
    assert peers == {name for name in ("websockets", "gRPC") if find_spec(name.replace("gRPC", "grpc"))}
    assert all(0 < row["p50"] <= row["p99"] for row in rows)
    assert told.stderr == ""
    if peers:
        assert "% of the best peer's" in told.stdout
