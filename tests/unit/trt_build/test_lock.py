"""The lock: one holder at a time, the others told whom they wait for, free again when its holder is gone."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from trt_build.lock import held, is_held

HOLD = """
import sys
from pathlib import Path
from trt_build.lock import held
with held(Path(sys.argv[1]), on_wait=print):
    print("in", flush=True)
    sys.stdin.read()
"""


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def test_it_is_held_inside_the_block_only(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "lock"
    assert not is_held(path)
    with held(path, on_wait=never):
        assert is_held(path)
    assert not is_held(path)


def test_it_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(KeyError), held(tmp_path / "lock", on_wait=never):
        raise KeyError
    with held(tmp_path / "lock", on_wait=never):
        pass


def test_the_second_waits_for_the_first_and_is_told_its_process(tmp_path: Path) -> None:
    path, waits = tmp_path / "lock", []
    first = held(path, on_wait=never)
    first.__enter__()

    def sleep(_: float) -> None:
        waits.append("slept")
        if len(waits) == 4:  # told once, then slept three times
            first.__exit__(None, None, None)

    with held(path, on_wait=waits.append, sleep=sleep):
        assert is_held(path)
    assert waits == [str(os.getpid()), "slept", "slept", "slept"]


def test_a_killed_holder_gives_it_back(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "in\n"
        assert is_held(path)
        holder.kill()
        holder.wait()
    assert not is_held(path)
