"""The TypeScript types are those of the protocol as it is now."""

from __future__ import annotations

from demos.clients.javascript.make_types import FILE, typescript


def test_the_file_is_what_the_script_writes() -> None:
    assert FILE.read_text(encoding="utf-8") == typescript(), "run python -m demos.clients.javascript.make_types"


def test_what_may_be_left_out_is_optional_for_who_sends_it() -> None:
    text = typescript()
    control = text.split("export interface Control {")[1].split("}")[0]
    assert "  seq: Integer;" in control
    assert "  events?: Event[];" in control
    welcome = text.split("export interface Welcome {")[1].split("}")[0]
    assert "?" not in welcome
