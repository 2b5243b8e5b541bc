"""Stores a session's state as one file: the engine's arrays under a header that names the engine.

The format is numpy's .npz without pickles, so any program can read it. The engine's process writes it, because it
has the states. A file appears whole or not at all.
"""

from __future__ import annotations

import contextlib
import json
import os
import zipfile
from pathlib import Path
from typing import Final

import numpy as np

from bridge.engine.interface import EngineInfo, State
from bridge.errors import EngineError
from bridge.protocol.validation import is_name

SUFFIX: Final = ".state.npz"
_ABOUT: Final = "about_json"
_FORMAT: Final = 1


def path_of(folder: Path, name: str) -> Path:
    assert is_name(name), "names are checked where they arrive"
    return folder / f"{name}{SUFFIX}"


def name_of(path: Path) -> str:
    """The inverse of `path_of`."""
    return path.name.removesuffix(SUFFIX)


def write_state(path: Path, state: State, info: EngineInfo) -> int:
    """Writes a state. Returns: its bytes. Raises: EngineError: the file cannot be written."""
    about = np.frombuffer(json.dumps(_about(info)).encode(), np.uint8)
    partial = path.with_suffix(f".{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with partial.open("wb") as file, zipfile.ZipFile(file, "w") as archive:
            for name, array in [*state.items(), (_ABOUT, about)]:
                with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                    np.lib.format.write_array(entry, np.asanyarray(array), allow_pickle=False)
        size = partial.stat().st_size
        partial.replace(path)
    except OSError as exc:
        with contextlib.suppress(OSError):
            partial.unlink()
        raise EngineError(f"the state cannot be saved: {exc.strerror or exc}") from exc
    return size


def read_state(path: Path, info: EngineInfo) -> State:
    """Raises: EngineError: there is no such file, it is broken, or another model wrote it."""
    name = name_of(path)
    try:
        with path.open("rb") as file:
            stored = np.load(file, allow_pickle=False)
            arrays = {key: stored[key] for key in stored.files}
        about = json.loads(arrays.pop(_ABOUT).tobytes())
    except FileNotFoundError as exc:
        raise EngineError(f"there is no saved state {name!r}") from exc
    except (OSError, ValueError, KeyError, AttributeError, EOFError, zipfile.BadZipFile) as exc:
        why = exc.strerror if isinstance(exc, OSError) and exc.strerror else exc  # not the path: clients read this
        raise EngineError(f"the saved state {name!r} is broken: {why}") from exc
    if about != _about(info):
        raise EngineError(f"the saved state {name!r} is of {_said(about)}, this is {_said(_about(info))}")
    return arrays


def _about(info: EngineInfo) -> dict[str, object]:
    """What must be the same for a state to be continued."""
    return {"format": _FORMAT, "model": info.model, "frame": [info.frame_width, info.frame_height]}


def _said(about: object) -> str:
    if not isinstance(about, dict):
        return "something else"
    frame = about.get("frame")
    size = "x".join(map(str, frame)) if isinstance(frame, list) else "?"
    return f"{about.get('model')} {size} (format {about.get('format')})"
