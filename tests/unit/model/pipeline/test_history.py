from __future__ import annotations

import numpy as np

from model.pipeline.history import appended, frame_indices, split_history


def frames(*numbers: int) -> np.ndarray:
    return np.array(numbers, dtype=np.float32).reshape(1, 1, -1, 1, 1)


def numbers(latents: np.ndarray) -> list[int]:
    return [int(n) for n in latents.ravel()]


def test_the_newest_frames_are_split_oldest_first() -> None:
    history = split_history(frames(9, 1, 2, 3, 4, 5, 6, 7), (4, 2, 1), None)
    assert [numbers(term) for term in (history.long, history.mid, history.short)] == [[1, 2, 3, 4], [5, 6], [7]]


def test_a_prefix_goes_before_the_short_history() -> None:
    history = split_history(frames(1, 2, 3, 4), (2, 1, 1), frames(99))
    assert numbers(history.short) == [99, 4]
    assert numbers(history.long) == [1, 2]


def test_indices_are_those_of_helios() -> None:
    indices = frame_indices((16, 2, 1), prefix=True, new=9)
    assert indices.long.tolist() == [list(range(1, 17))]
    assert indices.mid.tolist() == [[17, 18]]
    assert indices.short.tolist() == [[0, 19]]
    assert indices.new.tolist() == [list(range(20, 29))]


def test_without_a_prefix_history_starts_at_zero() -> None:
    indices = frame_indices((4, 2, 1), prefix=False, new=2)
    assert (indices.long[0, 0], indices.short.tolist(), indices.new.tolist()) == (0, [[6]], [[7, 8]])


def test_appending_drops_the_oldest_and_changes_nothing_in_place() -> None:
    before = frames(1, 2, 3)
    assert numbers(appended(before, frames(4, 5))) == [3, 4, 5]
    assert numbers(appended(before, frames(4, 5, 6, 7))) == [5, 6, 7]
    assert numbers(before) == [1, 2, 3]
