"""How long the chunk loop leaves a GPU idle, measured with a stand-in for the GPU."""

from __future__ import annotations

import re

import pytest

pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch


def test_what_the_gpu_takes_is_not_counted() -> None:
    from benchmarks.gpu_sizes import SMALL
    from benchmarks.host_time import host_ms

    idle_ms = host_ms(SMALL, steps=(1, 2, 1), chunk_latents=2, step_s=0.05, chunks=4)
    assert len(idle_ms) == 4
    assert 0 < min(idle_ms) < 100  # the stand-in alone took 200


def test_it_prints_what_it_found(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.host_time import main

    assert main(["--size", "small", "--steps", "1,1,1", "--step-ms", "1", "--chunks", "3"]) == 0
    printed = capsys.readouterr().out
    assert re.match(r"a GPU idle for p50 [\d.]+ ms, p90 [\d.]+ ms of each chunk of 9 latent frames", printed)
    assert printed.endswith("at (1, 1, 1), small size, n=3\n")


@pytest.mark.parametrize("text", ["1,1", "1,0,1", "a,b,c", "1,1,1,1", ""])
def test_other_steps_are_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks.host_time import main

    with pytest.raises(SystemExit):
        main(["--steps", text])
    assert "expected three positive numbers" in capsys.readouterr().err
