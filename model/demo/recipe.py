"""`python -m model.demo.recipe`: the whole way from nothing to the demo model's checkpoint, one stage after the other.

Every stage is a process of its own (`python -m model.demo.train STAGE`); one that ended well leaves a mark in the run's
folder and is not run again. A run that was stopped goes on where it was.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

SHARES = {"autoencoder": 0.20, "text": 0.04, "denoiser": 0.46, "decoder": 0.30}
"""How the minutes for training are divided. Text is soon learned; the denoiser never is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RecipeConfig:
    """minutes: of training in all; drawing and preparing clips come on top. processes: that work side by side.

    On a CPU each process trains with one thread and a share of every batch; on a GPU one process trains.
    """

    folder: Path
    minutes: float
    crops: int = 1000
    full: int = 240
    processes: int = 2
    device: str = "cpu"


Command = list[str]
Run = Callable[[Sequence[Command]], None]


def stages(config: RecipeConfig) -> list[tuple[str, list[Command]]]:
    """What to run, in order: a name, and the commands that run side by side."""
    workers = [["--worker", str(i), "--workers", str(config.processes)] for i in range(config.processes)]

    def drawn(stage: str, *more: str) -> list[Command]:
        return [[*_command(config, stage), *more, *worker] for worker in workers]

    device = ["--device", config.device]
    return [
        ("crops", drawn("data", "--clips", str(config.crops), *device)),
        ("full", drawn("data", "--clips", str(config.full), "--full", *device)),
        ("prepare", drawn("prepare")),
        ("switch", drawn("switch")),
        ("autoencoder", [_training(config, "autoencoder")]),
        ("encode", drawn("encode")),
        ("text", [_training(config, "text")]),
        ("denoiser", [_training(config, "denoiser")]),
        ("paint", drawn("paint")),
        ("decoder", [_training(config, "decoder")]),
        ("checkpoint", [_command(config, "checkpoint")]),
    ]


def run_recipe(config: RecipeConfig, run: Run) -> None:
    """Runs what is not done yet. Raises: subprocess.CalledProcessError: a stage failed."""
    marks = config.folder / "done"
    marks.mkdir(parents=True, exist_ok=True)
    for name, commands in stages(config):
        if not (marks / name).exists():
            run(commands)
            (marks / name).touch()


def run_side_by_side(commands: Sequence[Command]) -> None:
    """Raises: subprocess.CalledProcessError: one of them failed; the others are ended."""
    environment = {**os.environ, "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1")}
    running = [subprocess.Popen(command, env=environment) for command in commands]
    try:
        for process, command in zip(running, commands, strict=True):
            if process.wait() != 0:
                raise subprocess.CalledProcessError(process.returncode, command)
    finally:
        for process in running:
            process.terminate()
            process.wait()


def _command(config: RecipeConfig, stage: str) -> Command:
    return [sys.executable, "-m", "model.demo.train", stage, "--resume", str(config.folder), "--threads", "1"]


def _training(config: RecipeConfig, stage: str) -> Command:
    command = _command(config, stage)
    if config.device == "cpu" and config.processes > 1 and stage != "text":
        command[1:2] = ["-m", "torch.distributed.run", "--nproc-per-node", str(config.processes), "-m"]
    return [*command, "--minutes", f"{config.minutes * SHARES[stage]:g}", "--device", config.device]


def main(arguments: list[str] | None = None) -> int:
    """Returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m model.demo.recipe", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--resume", default="runs/demo", metavar="DIR", help="the run's folder; goes on where it is")
    parser.add_argument("--minutes", type=float, default=90.0, help="training in all")
    parser.add_argument("--crops", type=int, default=1000, help="clips of a quarter of the picture")
    parser.add_argument("--full", type=int, default=240, help="clips of the whole picture")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    options = parser.parse_args(arguments)
    config = RecipeConfig(
        folder=Path(options.resume), minutes=options.minutes, crops=options.crops, full=options.full,
        processes=options.processes, device=options.device,
    )  # fmt: skip
    run_recipe(config, run_side_by_side)
    return 0


if __name__ == "__main__":
    sys.exit(main())
