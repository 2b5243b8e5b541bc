"""Values made by whoever asks first, or by a helper before."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from model.deferred import Deferred, Helper


@pytest.fixture
def helper() -> Iterator[Helper]:
    one = Helper("test")
    yield one
    one.close()


def test_a_value_is_made_once_and_only_when_asked_for() -> None:
    made: list[int] = []

    def make() -> int:
        made.append(1)
        return len(made)

    later = Deferred(make)
    assert made == []
    assert [later.get(), later.get()] == [1, 1]


def test_who_asks_while_another_makes_it_waits_for_that_one() -> None:
    begun, go_on, made = threading.Event(), threading.Event(), []

    def make() -> str:
        begun.set()
        assert go_on.wait(5)
        made.append(threading.get_ident())
        return "made"

    later = Deferred(make)
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

    later = Deferred(make)
    for _ in range(2):
        with pytest.raises(ValueError, match="no such part"):
            later.get()


def test_a_helper_makes_values_in_turn_on_a_thread_of_its_own(helper: Helper) -> None:
    order: list[tuple[int, int]] = []
    done = threading.Event()
    values = [Deferred(lambda at=at: order.append((at, threading.get_ident()))) for at in range(5)]  # type: ignore[misc]
    helper.begin([*values, Deferred(done.set)])
    assert done.wait(5)
    assert [at for at, _ in order] == [0, 1, 2, 3, 4]
    assert {thread for _, thread in order}.isdisjoint({threading.get_ident()})


def test_a_value_that_a_helper_cannot_make_fails_where_it_is_asked_for(helper: Helper) -> None:
    def make() -> int:
        raise ValueError("no such part")

    after = threading.Event()
    bad = Deferred(make)
    helper.begin([bad, Deferred(after.set)])
    assert after.wait(5)
    with pytest.raises(ValueError, match="no such part"):
        bad.get()


def test_a_helper_holds_no_value_that_it_has_made(helper: Helper) -> None:
    class Thing:
        pass

    begun, go_on = threading.Event(), threading.Event()
    later = Deferred(Thing)
    held = weakref.ref(later.get())
    helper.begin([later, Deferred(begun.set), Deferred(lambda: go_on.wait(5)), Deferred(Thing)])
    assert begun.wait(5)
    del later
    assert held() is None
    go_on.set()


def test_a_helper_that_is_closed_makes_no_more() -> None:
    begun, go_on, made = threading.Event(), threading.Event(), []
    helper = Helper("test")

    def first() -> None:
        begun.set()
        assert go_on.wait(5)
        made.append("first")

    helper.begin([Deferred(first), Deferred(lambda: made.append("second"))])
    assert begun.wait(5)
    threading.Timer(0.05, go_on.set).start()  # close has taken the second away by then, or the test says so
    helper.close()
    assert made == ["first"]
