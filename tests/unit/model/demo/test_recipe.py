"""The order of the demo model's training, and that a stopped run goes on where it was."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from model.demo.recipe import SHARES, RecipeConfig, run_recipe, run_side_by_side, stages


def names_of(commands: list[list[str]]) -> str:
    return commands[0][commands[0].index("model.demo.train") + 1]


def test_every_stage_comes_after_what_it_reads(tmp_path: Path) -> None:
    order = [name for name, _ in stages(RecipeConfig(folder=tmp_path, minutes=10))]
    for before, after in [("crops", "prepare"), ("prepare", "switch"), ("switch", "autoencoder"),
                          ("autoencoder", "encode"), ("encode", "denoiser"), ("denoiser", "paint"),
                          ("paint", "decoder"),
                          ("text", "checkpoint")]:  # fmt: skip
        assert order.index(before) < order.index(after)


def test_the_minutes_are_those_of_the_training(tmp_path: Path) -> None:
    given = [
        float(command[command.index("--minutes") + 1])
        for _, commands in stages(RecipeConfig(folder=tmp_path, minutes=50))
        for command in commands
        if "--minutes" in command
    ]
    assert sum(given) == pytest.approx(50)
    assert len(given) == len(SHARES)


def test_a_gpu_trains_in_one_process(tmp_path: Path) -> None:
    by_name = dict(stages(RecipeConfig(folder=tmp_path, minutes=1, device="cuda", processes=8)))
    assert "torch.distributed.run" not in by_name["denoiser"][0]
    assert len(by_name["prepare"]) == 8


def test_a_stage_that_failed_is_run_again_and_one_that_is_done_is_not(tmp_path: Path) -> None:
    config = RecipeConfig(folder=tmp_path, minutes=1)
    ran: list[str] = []

    def breaks_at_text(commands: list[list[str]]) -> None:
        ran.append(names_of(commands))
        if ran[-1] == "text" and ran.count("text") == 1:
            raise subprocess.CalledProcessError(1, commands[0])

    with pytest.raises(subprocess.CalledProcessError):
        run_recipe(config, breaks_at_text)
    run_recipe(config, breaks_at_text)
    assert ran == ["data", "data", "prepare", "switch", "autoencoder", "encode", "text", "text", "denoiser", "paint",
                   "decoder", "checkpoint"]  # fmt: skip
    run_recipe(config, breaks_at_text)
    assert len(ran) == 12


def test_one_failure_ends_the_others() -> None:
    with pytest.raises(subprocess.CalledProcessError):
        run_side_by_side(
            [[sys.executable, "-c", "raise SystemExit(3)"], [sys.executable, "-c", "import signal; signal.pause()"]]
        )
