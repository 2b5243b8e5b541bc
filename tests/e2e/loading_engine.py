"""An engine that shows how far it has loaded, and never gets there."""

from __future__ import annotations

import threading
from typing import NoReturn


def create() -> NoReturn:
    from tqdm import tqdm

    for _ in tqdm(range(2), desc="loading for ever"):
        threading.Event().wait()
    raise AssertionError("it waits for ever")
