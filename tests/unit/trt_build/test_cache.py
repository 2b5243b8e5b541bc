"""Plans on disk: whole or not there, found by key, stale with a reason, pruned by use."""

from __future__ import annotations

import errno
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from trt_build import cache as cache_module
from trt_build.cache import MANIFEST_FILE, PLAN_FILE, EngineCache, Entry, Miss, PlanTraits
from trt_build.errors import BuildError
from trt_build.key import EngineKey

KEY = EngineKey(
    model="helios-demo", graph_name="denoiser", weights="aa" * 32, graph="bb" * 32, shapes="fixed", steps="1,1,1",
    precision="bf16", tensorrt="11.3", gpu="NVIDIA H100", compute_capability="9.0", driver="580",
)  # fmt: skip


def store(cache: EngineCache, key: EngineKey = KEY, plan: bytes = b"plan", **traits: Any) -> Entry:
    return cache.store(key, memoryview(plan), PlanTraits(**traits), build_s=1.5)


def never(holder: str) -> None:
    raise AssertionError(f"waited for {holder}")


def test_a_stored_plan_is_found_with_all_that_was_said_of_it(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path / "engines")
    stored = store(cache, plan=b"0123", weight_streaming=True, notes={"layers": "7"})
    found = cache.find(KEY)
    assert isinstance(found, Entry)
    assert found.plan.read_bytes() == b"0123"
    assert (found.key, found.traits, found.build_s) == (stored.key, stored.traits, 1.5)
    assert found.traits.notes["layers"] == "7"


def test_a_large_plan_is_written_in_pieces_and_tells_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "_PIECE_BYTES", 3)
    told: list[int] = []
    cache = EngineCache(tmp_path)
    entry = cache.store(KEY, memoryview(b"01234567"), PlanTraits(), build_s=0, advance=told.append)
    assert told == [3, 3, 2]
    assert entry.plan.read_bytes() == b"01234567"


def test_an_empty_cache_misses(tmp_path: Path) -> None:
    assert EngineCache(tmp_path / "none").find(KEY) == Miss(KEY, "missing: none was built here")


def test_a_miss_says_what_changed_against_the_closest_plan(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    store(cache, replace(KEY, gpu="NVIDIA L4", compute_capability="8.9", tensorrt="11.4"))
    store(cache)
    store(cache, replace(KEY, graph_name="decoder", tensorrt="11.4"))
    store(cache, replace(KEY, model="another", tensorrt="11.4"))
    miss = cache.find(replace(KEY, tensorrt="11.4"))
    assert isinstance(miss, Miss)
    assert miss.reason == "stale: TensorRT 11.3 -> 11.4"


def test_the_same_key_again_takes_the_place_of_the_first(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    store(cache, plan=b"old")
    store(cache, plan=b"newer", stripped=True)
    (entry,) = cache.entries()
    assert (entry.plan.read_bytes(), entry.traits.stripped) == (b"newer", True)
    assert [path.name for path in tmp_path.iterdir()] == [entry.folder.name]


@pytest.mark.parametrize("step", ["mkdir", "write", "fsync", "rename"])
def test_a_write_that_fails_leaves_nothing_that_looks_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    cache = EngineCache(tmp_path)

    def fail(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    where, name = {
        "mkdir": (Path, "mkdir"), "write": (cache_module, "_write"), "fsync": (os, "fsync"), "rename": (Path, "rename")
    }[step]  # fmt: skip
    monkeypatch.setattr(where, name, fail)
    with pytest.raises(OSError, match="No space left"):
        store(cache)
    monkeypatch.undo()
    assert cache.entries() == []
    assert isinstance(cache.find(KEY), Miss)
    assert [path for path in tmp_path.iterdir() if path.name != ".lock"] == []


@pytest.mark.parametrize("left", ["no manifest", "half a manifest", "half a plan", "another format"])
def test_what_is_not_whole_is_not_found(tmp_path: Path, left: str) -> None:
    cache = EngineCache(tmp_path)
    folder = store(cache, plan=b"0123456789").folder
    manifest = folder / MANIFEST_FILE
    if left == "no manifest":
        manifest.unlink()
    elif left == "half a manifest":
        manifest.write_text(manifest.read_text()[:40])
    elif left == "half a plan":
        (folder / PLAN_FILE).write_bytes(b"01234")
    else:
        manifest.write_text(json.dumps({**json.loads(manifest.read_text()), "format": 99}))
    assert cache.entries() == []
    assert isinstance(cache.find(KEY), Miss)
    store(cache, plan=b"again")
    assert isinstance(cache.find(KEY), Entry)


def test_a_plan_under_another_keys_name_is_not_found(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    folder = store(cache).folder
    other = replace(KEY, driver="590")
    shutil.copytree(folder, tmp_path / f"denoiser-{other.digest()}")
    assert isinstance(cache.find(other), Miss)


def test_a_full_disk_is_told_before_writing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=10**9))
    with pytest.raises(BuildError, match=r"takes 3\.5 GB at .*, 1\.0 GB are free; free 2\.5 GB .*prune"):
        EngineCache(tmp_path).check_room(3_500_000_000, what="the plan")


def aged(entry: Entry, used_s: int) -> Entry:
    os.utime(entry.folder / MANIFEST_FILE, (used_s, used_s))
    return entry


def test_prune_removes_the_least_recently_used_until_the_rest_fits(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    keys = [replace(KEY, driver=str(number)) for number in range(4)]
    for at, key in enumerate(keys):
        aged(store(cache, key, b"x" * 10), 1_000_000 + at)
    cache.find(keys[0])  # used now
    assert [entry.key for entry in cache.prune(25)] == [keys[1], keys[2]]
    assert {entry.key for entry in cache.entries()} == {keys[0], keys[3]}
    assert cache.prune(25) == []
    assert len(cache.prune(0)) == 2


def test_prune_sweeps_what_killed_builds_left_but_not_a_build_under_way(tmp_path: Path) -> None:
    cache = EngineCache(tmp_path)
    dead, live = tmp_path / f".building-{KEY.digest()}-1", replace(KEY, driver="590")
    running = tmp_path / f".building-{live.digest()}-2"
    dead.mkdir(), running.mkdir()
    with cache.building(live, on_wait=never):
        cache.prune(10**12)
    assert (dead.exists(), running.exists()) == (False, True)
    assert cache.entries() == []


def test_a_cache_that_may_only_be_read_still_finds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = EngineCache(tmp_path)
    store(cache)

    def refuse(*_: Any) -> None:
        raise PermissionError(errno.EACCES, "read-only")

    monkeypatch.setattr(os, "utime", refuse)
    assert isinstance(cache.find(KEY), Entry)
