"""Fetching a checkpoint by id, from a hub of a few lines on loopback: what is said, resumed, kept and refused."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from model.errors import CheckpointError
from tests.checkpoint_hub import ID, NOWHERE, serving

pytest.importorskip("torch")
pytest.importorskip("huggingface_hub")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore::ResourceWarning")]


@pytest.fixture
def hub(helios_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, dict[str, Any]]]:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    with serving(helios_folder) as served:
        yield served


def fetch(hub: tuple[str, dict[str, Any]], cache: Path, *, offline: bool = False) -> tuple[Path, list[str]]:
    from model.helios.download import fetch

    said: list[str] = []
    return fetch(ID, offline=offline, say=said.append, endpoint=hub[0], cache=cache), said


def test_a_checkpoint_is_announced_fetched_and_found_again(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.components import rehearse
    from model.helios.layout import read_folder

    folder, said = fetch(hub, tmp_path)
    assert rehearse(read_folder(folder), dtypes={}).keys() == {"transformer", "text_encoder", "vae"}
    assert len(said) == 1
    assert "licence apache-2.0" in said[0]
    assert "GB to fetch into" in said[0]
    state = hub[1]
    assert all(not name.endswith(".bin") for name, _ in state["fetched"])
    assert (folder / "tokenizer" / "tokenizer.json").read_bytes() == state["files"]["tokenizer/tokenizer.json"]

    state["fetched"].clear()
    again, said = fetch(hub, tmp_path)
    assert (again, said, state["fetched"]) == (folder, [], [])
    assert fetch((NOWHERE, {}), tmp_path, offline=True)[0] == folder


def test_a_broken_connection_is_taken_up_where_it_broke(
    hub: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE", 65536)  # it writes 10 MB at a time
    state = hub[1]
    name = largest(state)
    state["breaks"] = name
    folder, _ = fetch(hub, tmp_path)
    assert (folder / name).read_bytes() == state["files"][name]
    first, second = [start for fetched, start in state["fetched"] if fetched == name]
    assert first == 0
    assert 0 <= len(state["files"][name]) // 2 - second < 65536


def test_a_fetch_that_failed_goes_on_with_the_files_that_are_missing(
    hub: tuple[str, dict[str, Any]], tmp_path: Path
) -> None:
    state = hub[1]
    state["shut"] = name = largest(state)
    with pytest.raises(CheckpointError, match=r"could not be fetched.*the same command goes on"):
        fetch(hub, tmp_path)
    with pytest.raises(CheckpointError, match=r"is not (whole )?in .*; leave --offline out to fetch"):
        fetch(hub, tmp_path, offline=True)
    before = {fetched for fetched, _ in state["fetched"]} - {name}
    state["shut"] = ""
    state["fetched"].clear()
    folder, _ = fetch(hub, tmp_path)
    assert (folder / name).read_bytes() == state["files"][name]
    whole = {fetched for fetched, _ in state["fetched"]}
    assert name in whole
    assert before  # some files came the first time, and did not come again
    assert len(before & whole) < len(before)


def test_a_whole_checkpoint_needs_no_network(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    folder, _ = fetch(hub, tmp_path)
    found, (said,) = fetch((NOWHERE, {}), tmp_path)
    assert found == folder
    assert re.fullmatch(rf"{ID}: the hub does not answer \(.+\); taken as it is in {tmp_path}", said)


def test_files_lost_from_a_cache_are_named(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    """Also where huggingface_hub has no list of what a revision consists of, as its versions before 2 left none."""
    folder, _ = fetch(hub, tmp_path)
    shards = sorted((folder / "transformer").glob("*.safetensors"))
    for shard in shards:
        shard.unlink()
    for listing in tmp_path.glob("models--*/trees/*"):
        listing.unlink()
    with pytest.raises(CheckpointError, match=rf"it lacks transformer/{shards[0].name}, .*leave --offline out") as told:
        fetch(hub, tmp_path, offline=True)
    assert str(told.value).count(str(tmp_path)) == 1
    with pytest.raises(CheckpointError, match=rf"has all but transformer/{shards[0].name}, .*the same command goes on"):
        fetch((NOWHERE, {}), tmp_path)


def largest(state: dict[str, Any]) -> str:
    return max(state["files"], key=lambda name: len(state["files"][name]))


def test_what_is_not_there_is_told(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.download import fetch

    with pytest.raises(CheckpointError, match=r"there is no some/other on the hub, or it is private"):
        fetch("some/other", offline=False, say=print, endpoint=hub[0], cache=tmp_path)
    with pytest.raises(CheckpointError, match="leave --offline out"):
        fetch(ID, offline=True, say=print, endpoint=hub[0], cache=tmp_path)
    with pytest.raises(CheckpointError, match=r"could not be fetched"):
        fetch(ID, offline=False, say=print, endpoint=NOWHERE, cache=tmp_path)


def test_a_disk_that_is_too_small_is_told_before_anything_moves(
    hub: tuple[str, dict[str, Any]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr("model.helios.download.shutil.disk_usage", lambda _: usage)
    with pytest.raises(CheckpointError, match="HF_HUB_CACHE to a larger disk"):
        fetch(hub, tmp_path)
    assert hub[1]["fetched"] == []


def test_configs_alone_are_enough_for_a_plan(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.download import fetch_configs
    from model.helios.layout import GenerationConfig
    from model.helios.memory_plan import plan, rows

    session = GenerationConfig(frame_height=64, frame_width=128)
    folder = fetch_configs(ID, offline=False, endpoint=hub[0], cache=tmp_path)
    assert {name.rpartition(".")[2] for name, _ in hub[1]["fetched"]} == {"json"}
    planned = plan(folder, session, fetched_later=True)
    assert planned.problems == ""
    assert not planned.runs_here
    shards = [len(data) for name, data in hub[1]["files"].items() if name.startswith("transformer/") and "safe" in name]
    assert planned.to_come["transformer"] == pytest.approx(sum(shards), rel=0.1)  # shards have headers
    told = dict(rows(planned))
    assert told["weights"].startswith("not here yet; `serve` fetches 0.0 GB")
    assert "configs" in told["can be loaded"]
    assert told["memory transformer"].endswith("its files are not here yet")

    assert fetch_configs(ID, offline=False, endpoint=NOWHERE, cache=tmp_path) == folder
    whole, _ = fetch(hub, tmp_path)
    hub[1]["fetched"].clear()
    assert fetch_configs(ID, offline=False, endpoint=NOWHERE, cache=tmp_path) == whole
    assert dict(rows(plan(whole, session, fetched_later=True)))["can be loaded"].startswith("yes")


def test_configs_that_cannot_be_had_are_told_in_one_line(hub: tuple[str, dict[str, Any]], tmp_path: Path) -> None:
    from model.helios.download import fetch_configs

    with pytest.raises(CheckpointError, match=r"^the configs of .* could not be fetched: [^\n]+$"):
        fetch_configs(ID, offline=False, endpoint=NOWHERE, cache=tmp_path)
    with pytest.raises(CheckpointError, match="leave --offline out"):
        fetch_configs(ID, offline=True, cache=tmp_path)
    with pytest.raises(CheckpointError, match="there is no some/other on the hub"):
        fetch_configs("some/other", offline=False, endpoint=hub[0], cache=tmp_path)
    with pytest.raises(CheckpointError, match="is no id"):
        fetch_configs("some--other/x", offline=False, endpoint=hub[0], cache=tmp_path)
