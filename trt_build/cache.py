"""Finished plans on disk, each in a folder of its own with the key it was built for.

    <root>/<graph>-<digest of the key>/plan.engine
                                       manifest.json
    <root>/.building-<digest>-<pid>/   a build under way; what a killed one leaves, and nothing ever reads
    <root>/.<digest>.lock              held while that key is built

A folder appears under its final name in one step, after its files have reached the disk: what has that name is whole.
No TensorRT and no GPU here.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from trt_build.errors import BuildError
from trt_build.key import EngineKey, key_from_json
from trt_build.lock import held, is_held

PLAN_FILE = "plan.engine"
MANIFEST_FILE = "manifest.json"
FORMAT = 1
_BUILDING = ".building-"
_PIECE_BYTES = 1 << 26


def default_root() -> Path:
    """Where `build` puts plans and serving looks for them; XDG_CACHE_HOME moves it."""
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "helios-bridge" / "engines"


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanTraits:
    """How a plan was built, as far as it matters to whoever loads it.

    weight_streaming: it may run with part of its weights in host memory. stripped: it has no weights, and takes them
    from the ONNX file when it is loaded. notes: what else `cache list` and `inspect` show.
    """

    weight_streaming: bool = False
    stripped: bool = False
    workspace_bytes: int = 0
    optimization_level: int = 3
    notes: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One finished plan. used_s: when it was last asked for, seconds since 1970."""

    folder: Path
    key: EngineKey
    traits: PlanTraits
    plan_bytes: int
    build_s: float
    used_s: float

    @property
    def plan(self) -> Path:
        return self.folder / PLAN_FILE


@dataclass(frozen=True, slots=True)
class Miss:
    """No plan for a key. reason: "missing", or "stale: TensorRT 11.3 -> 11.4" against the closest one there is."""

    key: EngineKey
    reason: str


class EngineCache:
    """The plans under one folder. Any number of processes may use it at once."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def find(self, key: EngineKey) -> Entry | Miss:
        """The plan for a key, which then counts as used now, or why there is none."""
        folder = self._folder(key)
        entry = _read_entry(folder)
        if entry is not None and entry.key == key:
            with contextlib.suppress(OSError):  # a cache that may only be read
                os.utime(folder / MANIFEST_FILE)
            return entry
        return Miss(key, self._reason(key))

    def entries(self) -> list[Entry]:
        """All finished plans, the least recently used first."""
        folders = sorted(self.root.iterdir()) if self.root.is_dir() else []
        found = (_read_entry(folder) for folder in folders if not folder.name.startswith("."))
        return sorted((entry for entry in found if entry is not None), key=lambda entry: (entry.used_s, entry.folder))

    @contextlib.contextmanager
    def building(self, key: EngineKey, *, on_wait: Callable[[str], None]) -> Iterator[None]:
        """Held by the one process that builds a key; others wait here, and should look again once they are in."""
        with held(self._lock(key), on_wait=on_wait):
            yield

    def store(
        self,
        key: EngineKey,
        plan: memoryview,
        traits: PlanTraits,
        *,
        build_s: float,
        advance: Callable[[int], object] = lambda _: None,
    ) -> Entry:
        """Writes a plan, whole or not at all; it takes the place of one with the same key.

        Call it inside `building`. advance: told the bytes of every piece once it is written.

        Raises: BuildError: the disk has no room for it.
        """
        self.check_room(plan.nbytes, what=f"{key.graph_name}'s plan")
        fresh = self.root / f"{_BUILDING}{key.digest()}-{os.getpid()}"
        shutil.rmtree(fresh, ignore_errors=True)
        fresh.mkdir(parents=True)
        try:
            _write(fresh / PLAN_FILE, _pieces(plan), advance)
            manifest = {
                "format": FORMAT,
                "key": asdict(key),
                "traits": asdict(traits),
                "plan_bytes": plan.nbytes,
                "build_s": round(build_s, 3),
                "built_at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            }
            text = json.dumps(manifest, indent=2) + "\n"
            _write(fresh / MANIFEST_FILE, [memoryview(text.encode())], lambda _: None)
            folder = self._folder(key)
            if folder.exists():
                # Out of the way first: a folder cannot be renamed onto one that is not empty.
                shutil.rmtree(_renamed(folder, self.root / f"{_BUILDING}old-{key.digest()}-{os.getpid()}"))
            _renamed(fresh, folder)
        except BaseException:
            shutil.rmtree(fresh, ignore_errors=True)
            raise
        _flush_folder(self.root)
        entry = _read_entry(folder)
        assert entry is not None
        return entry

    def check_room(self, wanted_bytes: int, *, what: str) -> None:
        """Raises: BuildError: so many bytes do not fit on the cache's disk; says how many are lacking."""
        self.root.mkdir(parents=True, exist_ok=True)
        free = shutil.disk_usage(self.root).free
        if wanted_bytes > free:
            raise BuildError(
                f"{what} takes {wanted_bytes / 1e9:.1f} GB at {self.root}, {free / 1e9:.1f} GB are free; free "
                f"{(wanted_bytes - free) / 1e9:.1f} GB (`python -m trt_build cache prune --keep-gb N`) or give --cache"
            )

    def prune(self, keep_bytes: int) -> list[Entry]:
        """Removes the least recently used plans until the rest fits; and all that killed builds left.

        Returns: what was removed.
        """
        self._sweep()
        kept = self.entries()
        removed = []
        while kept and sum(entry.plan_bytes for entry in kept) > keep_bytes:
            entry = kept.pop(0)
            shutil.rmtree(entry.folder)
            removed.append(entry)
        return removed

    def _sweep(self) -> None:
        for folder in self.root.glob(f"{_BUILDING}*") if self.root.is_dir() else ():
            digest = folder.name.removeprefix(_BUILDING).removeprefix("old-").partition("-")[0]
            if not is_held(self.root / f".{digest}.lock"):
                shutil.rmtree(folder, ignore_errors=True)

    def _reason(self, key: EngineKey) -> str:
        """Against the entry with the fewest changes, the newest of those."""
        changes = [
            key.changes(entry.key)
            for entry in reversed(self.entries())
            if (entry.key.model, entry.key.graph_name) == (key.model, key.graph_name)
        ]
        if not changes:
            return "missing: none was built here"
        closest = min(changes, key=len)
        return f"stale: {', '.join(closest)}"

    def _folder(self, key: EngineKey) -> Path:
        return self.root / f"{key.graph_name}-{key.digest()}"

    def _lock(self, key: EngineKey) -> Path:
        return self.root / f".{key.digest()}.lock"


def _read_entry(folder: Path) -> Entry | None:
    """None for what is no finished plan: another file, a foreign format, a plan of another length than was written."""
    manifest = folder / MANIFEST_FILE
    try:
        loaded: Any = json.loads(manifest.read_text(encoding="utf-8"))
        if loaded["format"] != FORMAT or (folder / PLAN_FILE).stat().st_size != loaded["plan_bytes"]:
            return None
        return Entry(
            folder=folder,
            key=key_from_json(loaded["key"]),
            traits=PlanTraits(**loaded["traits"]),
            plan_bytes=int(loaded["plan_bytes"]),
            build_s=float(loaded["build_s"]),
            used_s=manifest.stat().st_mtime,
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _pieces(plan: memoryview) -> Iterator[memoryview]:
    data = plan.cast("B")
    for start in range(0, len(data), _PIECE_BYTES):
        yield data[start : start + _PIECE_BYTES]


def _write(path: Path, pieces: Iterable[memoryview], advance: Callable[[int], object]) -> None:
    with path.open("wb") as file:
        for piece in pieces:
            file.write(piece)
            advance(len(piece))
        file.flush()
        os.fsync(file.fileno())


def _renamed(source: Path, target: Path) -> Path:
    source.rename(target)
    return target


def _flush_folder(folder: Path) -> None:
    """So that the new name survives a power cut too; Windows cannot open folders."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
