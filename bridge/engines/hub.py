"""`--model` by a checkpoint's id: found on this machine, or fetched. Reached by name; it needs the torch extra."""

from __future__ import annotations

import importlib
import re
import sys
from pathlib import Path

from bridge.errors import EngineUnavailable
from model.console import install
from model.errors import ModelError

_DOWNLOAD = "model.helios.download"
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def folder_of(name: str, *, offline: bool) -> str:
    """The folder that `--model` means. What is about to be fetched is said on stderr.

    Raises: EngineUnavailable: there is no such folder, or the checkpoint is not here and cannot be fetched.
    """
    if Path(name).is_dir() or _ID.fullmatch(name) is None:
        return name  # whoever opens it says what is wrong with it
    try:
        download = importlib.import_module(_DOWNLOAD)
    except ImportError as exc:
        text = f"{name} is no folder; to fetch it by this id: {install('torch')} ({exc})"
        raise EngineUnavailable(text) from exc
    try:
        found: Path = download.fetch(name, offline=offline, say=_say)
    except ModelError as exc:
        raise EngineUnavailable(f"model: {exc}") from exc
    return str(found)


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
