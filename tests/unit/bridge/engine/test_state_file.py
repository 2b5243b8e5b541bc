"""A state as one file: written whole, read back exactly, and refused when it is not what it should be."""

from __future__ import annotations

import dataclasses
from collections.abc import ItemsView, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge.engine.interface import EngineInfo
from bridge.engine.state_file import name_of, path_of, read_state, write_state
from bridge.errors import EngineError
from bridge.protocol.validation import is_name

INFO = EngineInfo(
    model="helios", runner="any", frame_width=64, frame_height=32, frames_per_chunk=(5,), depth_width=16,
    depth_height=8, camera_method="none", default_map="garden",
)  # fmt: skip
STATE = {
    "history": np.random.default_rng(0).standard_normal((1, 16, 3, 4, 8)).astype(np.float32),
    "seed": np.array(2**64 - 1, np.uint64),
    "prompt_utf8": np.frombuffer("dämmerung".encode(), np.uint8),
    "empty": np.zeros((1, 0, 4), np.float32),
}


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    path = path_of(tmp_path / "new", "slot-1")
    size = write_state(path, STATE, INFO)
    assert size == path.stat().st_size
    assert [file.name for file in path.parent.iterdir()] == ["slot-1.state.npz"]
    assert name_of(path) == "slot-1"
    read = read_state(path, dataclasses.replace(INFO, runner="another"))
    assert read.keys() == STATE.keys()
    for name, array in STATE.items():
        assert read[name].dtype == array.dtype
        np.testing.assert_array_equal(read[name], array)


def test_numpy_alone_can_read_it(tmp_path: Path) -> None:
    path = path_of(tmp_path, "a")
    write_state(path, STATE, INFO)
    with np.load(path, allow_pickle=False) as stored:
        np.testing.assert_array_equal(stored["history"], STATE["history"])


@pytest.mark.parametrize(
    ("changed", "named"),
    [({"model": "other"}, "is of helios 64x32"), ({"frame_width": 128}, r"this is helios 128x32")],
)
def test_another_models_state_is_refused(tmp_path: Path, changed: dict[str, object], named: str) -> None:
    path = path_of(tmp_path, "a")
    write_state(path, STATE, INFO)
    with pytest.raises(EngineError, match=named):
        read_state(path, dataclasses.replace(INFO, **changed))  # type: ignore[arg-type]


def test_what_is_missing_or_broken_is_told(tmp_path: Path) -> None:
    path = path_of(tmp_path, "a")
    with pytest.raises(EngineError, match="no saved state 'a'"):
        read_state(path, INFO)
    write_state(path, STATE, INFO)
    whole = path.read_bytes()
    for damaged in (whole[: len(whole) // 2], b"", b"PK\x03\x04" + bytes(40), b"\x93NUMPY"):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match="'a' is broken"):
            read_state(path, INFO)
    np.savez(path.with_suffix(""), objects=np.array([{}], dtype=object))
    with pytest.raises(EngineError, match="'a' is broken"):
        read_state(path, INFO)


def test_a_refusal_does_not_tell_where_states_lie(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="'a' is broken: Not a directory") as refused:
        read_state(path_of(tmp_path / "file", "a"), INFO)
    assert str(tmp_path) not in str(refused.value)


def test_a_folder_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineError, match="cannot be saved"):
        write_state(path_of(tmp_path / "file", "a"), STATE, INFO)


@pytest.mark.parametrize("name", ["slot-1", "A.b_c", "x" * 64])
def test_names_that_are_names(name: str) -> None:
    assert is_name(name)


@pytest.mark.parametrize("name", ["", ".hidden", "..", "a/b", "a\\b", "a b", "ä", "x" * 65, "a\n", "a\0"])
def test_names_that_are_paths_or_worse(name: str) -> None:
    assert not is_name(name)


def test_a_write_that_fails_leaves_the_older_file_whole(tmp_path: Path) -> None:
    class DiskIsFull(dict[str, Any]):
        def items(self) -> ItemsView[str, Any]:
            def fail() -> Iterator[tuple[str, Any]]:
                yield "history", np.zeros(3)
                raise OSError("no space left on device")

            return fail()  # type: ignore[return-value]

    path = path_of(tmp_path, "a")
    write_state(path, {"history": np.ones(2)}, INFO)
    with pytest.raises(EngineError, match="no space left"):
        write_state(path, DiskIsFull(), INFO)
    np.testing.assert_array_equal(read_state(path, INFO)["history"], np.ones(2))
    assert [file.name for file in tmp_path.iterdir()] == [path.name]
