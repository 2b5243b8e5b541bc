import inspect
import pickle
import re

import pytest

from bridge import errors
from bridge.errors import BridgeError, ErrorCode, RemoteProtocolError


def test_docstring_draws_the_tree_as_it_is() -> None:
    drawn: list[tuple[int, str]] = []
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ((?:[| ]   )*)(?:\+-- )?([A-Z]\w+)", line)
        if match and ("+--" in line or match[2] == "BridgeError"):
            drawn.append((line.index(match[2]), match[2]))
    parent_of: dict[str, str] = {}
    for position, (indent, name) in enumerate(drawn):
        above = [other for other_indent, other in drawn[:position] if other_indent < indent]
        if above:
            nearest = max(index for index, (i, _) in enumerate(drawn[:position]) if i < indent)
            parent_of[name] = drawn[nearest][1]
    classes = {name: kind for name, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, Exception)}
    assert {name: kind.__bases__[0].__name__ for name, kind in classes.items() if kind is not BridgeError} == parent_of
    assert drawn[0][1] == "BridgeError"


def test_every_error_is_a_bridge_error() -> None:
    for _, kind in inspect.getmembers(errors, inspect.isclass):
        assert kind is ErrorCode or issubclass(kind, BridgeError) or kind.__module__ != "bridge.errors"


def test_error_codes_are_lower_case_words_and_differ() -> None:
    assert all(re.fullmatch(r"[a-z]+(_[a-z]+)*", code.value) for code in ErrorCode)
    assert len({code.value for code in ErrorCode}) == len(ErrorCode)


def test_remote_protocol_error_carries_what_the_peer_is_told() -> None:
    error = RemoteProtocolError(ErrorCode.BAD_MESH, "part 3: no triangles", seq=7, in_reply_to="SCENE")
    assert str(error) == "bad_mesh: part 3: no triangles"
    assert (error.code, error.seq, error.in_reply_to, error.fatal) == (ErrorCode.BAD_MESH, 7, "SCENE", False)


def test_engine_errors_cross_a_process_border() -> None:
    again = pickle.loads(pickle.dumps(errors.EngineUnavailable("install helios-bridge[mesh]")))
    assert isinstance(again, errors.EngineUnavailable)
    assert str(again) == "install helios-bridge[mesh]"


def test_session_busy_says_when_to_come_again() -> None:
    with pytest.raises(errors.SessionError) as caught:
        raise errors.SessionBusy("full", retry_after_us=5)
    assert isinstance(caught.value, errors.SessionBusy)
    assert caught.value.retry_after_us == 5
