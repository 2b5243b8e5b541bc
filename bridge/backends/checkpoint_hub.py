"""Finds a checkpoint by its hub id on this machine, or downloads it. Imported by name; needs the torch extra."""

from __future__ import annotations

import importlib
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bridge.errors import EngineUnavailable
from model.cli_args import install
from model.errors import ModelError

_DOWNLOAD = "model.helios.download"
_ID = re.compile(r"[\w.-]+/[\w.-]+")


def folder_of(name: str, *, offline: bool) -> str:
    """The folder that `--model` means. What is about to be fetched is said on stderr.

    Raises: EngineUnavailable: there is no such folder, or the checkpoint is not here and cannot be fetched.
    """
    return _folder(name, lambda download: download.fetch(name, offline=offline, say=_say))


def planned_folder_of(name: str, *, offline: bool) -> str:
    """As `folder_of`, but of a checkpoint that is not here its configs alone are fetched.

    Raises: EngineUnavailable: they cannot be.
    """
    return _folder(name, lambda download: download.fetch_configs(name, offline=offline))


def is_id(name: str) -> bool:
    """Whether `--model` can only mean a checkpoint on the hub."""
    return not Path(name).is_dir() and _ID.fullmatch(name) is not None


def _folder(name: str, fetch: Callable[[Any], Path]) -> str:
    if not is_id(name):
        return name  # whoever opens it says what is wrong with it
    try:
        return str(fetch(importlib.import_module(_DOWNLOAD)))
    except ImportError as exc:
        text = f"{name} is no folder; to fetch it by this id: {install('torch')} ({exc})"
        raise EngineUnavailable(text) from exc
    except ModelError as exc:
        raise EngineUnavailable(f"model: {exc}") from exc


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
