"""Values made by whoever asks first, or by a helper before."""

from __future__ import annotations

import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.later import Helper, Later


def test_a_value_is_made_once_and_only_when_asked_for() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    later = Later(make)
    assert made == []
    assert [later.get(), later.get()] == [1, 1]


def test_who_asks_while_another_makes_it_waits_for_that_one() -> None:
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make() -> str:
        begun.set()
        assert go_on.wait(5)
        made.append(threading.get_ident())
        return "made"

    later = Later(make)
    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(later.get)
        assert begun.wait(5)
        second = pool.submit(later.get)
        go_on.set()
        assert [first.result(5), second.result(5)] == ["made", "made"]
    assert len(made) == 1


def test_what_cannot_be_made_says_so_to_each_who_asks() -> None:
    def make() -> int:
        raise ValueError("no such part")

    later = Later(make)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such part"):
            later.get()


def test_a_helper_makes_values_in_turn_on_a_thread_of_its_own() -> None:
    order: list[tuple[int, int]] = []
    values = [Later(lambda at=at: order.append((at, threading.get_ident()))) for at in range(5)]  # type: ignore[misc]
    helper = Helper("test")
    try:
        helper.begin(values)
        values[-1].get()
    finally:
        helper.close()
    assert sorted(at for at, _ in order) == [0, 1, 2, 3, 4]
    helped = [at for at, thread in order if thread != threading.get_ident()]
    assert helped == sorted(helped)


def test_a_value_that_a_helper_cannot_make_fails_where_it_is_asked_for() -> None:
    def make() -> int:
        raise ValueError("no such part")

    after = threading.Event()
    bad, good = Later(make), Later(after.set)
    helper = Helper("test")
    try:
        helper.begin([bad])
        helper.begin([good])
        assert after.wait(5)
        with pytest.raises(ValueError, match="no such part"):
            bad.get()
    finally:
        helper.close()


def test_a_helper_holds_no_value_that_it_has_made() -> None:
    class Thing:
        pass

    done = threading.Event()
    later = Later(Thing)
    held = weakref.ref(later.get())
    helper = Helper("test")
    try:
        helper.begin([later, Later(done.set)])
        assert done.wait(5)
        del later
        assert held() is None
    finally:
        helper.close()
