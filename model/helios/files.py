"""Which files of a checkpoint are here: what its parts and their indices of shards promise, beside what lies there.

Names, sizes and a file's first bytes: no weights are read, no torch is needed.
"""

from __future__ import annotations

import json
from pathlib import Path

from model.helios.layout import INDEX_FILE, PARTS, SCHEDULER, TEXT_ENCODER, TOKENIZER, TOKENIZER_FILE

STEMS = ("diffusion_pytorch_model", "model")
"""diffusers' and transformers' name for one file of weights."""


_POINTER = b"version https://git-lfs.github.com/spec/v1"


def missing_files(folder: Path) -> list[str]:
    """What loading needs and `folder` has not, relative to it."""
    wanted = [INDEX_FILE, f"{SCHEDULER}/scheduler_config.json", f"{TOKENIZER}/{TOKENIZER_FILE}"]
    wanted += [f"{part}/config.json" for part in PARTS]
    weights = [name for part in PARTS for name in missing_weights(folder, part)]
    return [name for name in wanted if not (folder / name).is_file()] + weights


def missing_weights(folder: Path, part: str) -> list[str]:
    """Of one part: the shards that its index names and that are not here, or the one file; relative to `folder`."""
    if (index := index_of(folder / part)) is not None:
        shards, _ = _read(index)
        return [f"{part}/{name}" for name in sorted(shards) if not (folder / part / name).is_file()]
    if any((folder / part / f"{stem}.safetensors").is_file() for stem in STEMS):
        return []
    return [f"{part}/{STEMS[part == TEXT_ENCODER]}.safetensors"]


def missing_nbytes(folder: Path, part: str) -> int | None:
    """Of a part's weights, how many bytes are not here; None where no index says so."""
    index = index_of(folder / part)
    shards, total = (set(), None) if index is None else _read(index)
    if total is None:
        return None
    files = [folder / part / name for name in shards]
    return max(0, total - sum(file.stat().st_size for file in files if file.is_file()))


def is_pointer(file: Path) -> bool:
    """Whether Git LFS left its pointer where a file's content should be: `git clone` without git-lfs does."""
    with file.open("rb") as opened:
        return opened.read(len(_POINTER)) == _POINTER


def index_of(folder: Path) -> Path | None:
    """A part's index of shards, None where it has one file of weights, or none."""
    found = [folder / f"{stem}.safetensors.index.json" for stem in STEMS]
    return next((index for index in found if index.is_file()), None)


def _read(index: Path) -> tuple[set[str], int | None]:
    """The shards beside an index, and bytes in all where it says so; none where it is no index, which whoever opens the
    weights tells."""
    try:
        loaded = json.loads(index.read_text(encoding="utf-8"))
        shards = {name for name in map(str, loaded["weight_map"].values()) if Path(name).name == name}
        total = loaded.get("metadata", {}).get("total_size")
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return set(), None
    return shards, total if isinstance(total, int) else None
