"""A checkpoint by its id: found in Hugging Face's cache on this machine, or fetched into it.

What is about to be fetched, under which licence and where to, is said before it starts. Progress bars are
`huggingface_hub`'s, and so is going on: within a run where a connection broke, and from one run to the next
with the files that are whole (the checkpoint's shards are a few gigabytes each). Needs the torch extra.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache
from huggingface_hub.constants import HF_HUB_CACHE
from huggingface_hub.errors import HTTPError, RepositoryNotFoundError

from model.errors import CheckpointError, some
from model.helios.files import missing_files
from model.helios.layout import INDEX_FILE, PARTS, SCHEDULER, TOKENIZER

_FOLDERS = (*PARTS, SCHEDULER, TOKENIZER)
_WANTED = [INDEX_FILE, *(f"{folder}/*" for folder in _FOLDERS)]
_CONFIGS = [INDEX_FILE, *(f"{folder}/*.json" for folder in _FOLDERS)]
"""Megabytes: with them a checkpoint is planned, without its weights."""
_UNWANTED = ["*.bin", "*.msgpack", "*.h5", "*.onnx*", "*.gguf"]  # the same weights in other forms
_GB = 1e9


def fetch(
    model_id: str,
    *,
    offline: bool,
    say: Callable[[str], None],
    endpoint: str | None = None,
    cache: Path | None = None,
) -> Path:
    """The folder of a checkpoint. offline: as it is in the cache. say: is told what is about to be fetched.

    endpoint, cache: None takes huggingface_hub's own (HF_ENDPOINT, HF_HUB_CACHE).

    One that is whole in the cache is taken from there when the hub does not answer, which `say` is told.

    Raises: CheckpointError: it is not here and cannot be fetched; what was fetched so far is kept.
    """
    root = cache or Path(HF_HUB_CACHE)
    common = _arguments(root, endpoint, _WANTED)
    if offline:
        here, lacks = _in_cache(model_id, root)
        if here is None:
            raise CheckpointError(f"{model_id} is not in {root}; leave --offline out to fetch it")
        if lacks:
            raise CheckpointError(
                f"{model_id} is not whole in {root}: it lacks {some(lacks)}; leave --offline out to fetch the rest"
            )
        return here
    try:
        info = HfApi(endpoint=endpoint).model_info(model_id)
        files = snapshot_download(model_id, dry_run=True, **common)
        _announce(model_id, _licence_of(info), files, root, say)
        return Path(snapshot_download(model_id, **common))
    except RepositoryNotFoundError as exc:
        raise CheckpointError(f"there is no {model_id} on the hub, or it is private: {_first_line(exc)}") from exc
    except (HTTPError, OSError, ValueError) as exc:
        here, lacks = _in_cache(model_id, root)
        if here is not None and not lacks:
            say(f"{model_id}: the hub does not answer ({_first_line(exc)}); taken as it is in {root}")
            return here
        kept = f"has no {INDEX_FILE} of it" if here is None else f"has all but {some(lacks)}"
        raise CheckpointError(
            f"{model_id} could not be fetched: {_first_line(exc)}; {root} {kept}; the same command goes on from there"
        ) from exc


def fetch_configs(model_id: str, *, offline: bool, endpoint: str | None = None, cache: Path | None = None) -> Path:
    """As `fetch`, but weights are there only where they already were: enough to plan the checkpoint by.

    What is whole is taken as it is, and nobody is asked.

    Raises: CheckpointError: its configs are not here and cannot be fetched.
    """
    root = cache or Path(HF_HUB_CACHE)
    here, lacks = _in_cache(model_id, root)
    if here is not None and (offline or not lacks):
        return here
    if offline:
        raise CheckpointError(f"{model_id} is not in {root}; leave --offline out to fetch its configs")
    try:
        return Path(snapshot_download(model_id, **_arguments(root, endpoint, _CONFIGS)))
    except RepositoryNotFoundError as exc:
        raise CheckpointError(f"there is no {model_id} on the hub, or it is private: {_first_line(exc)}") from exc
    except (HTTPError, OSError, ValueError) as exc:
        if here is not None and all(name.endswith(".safetensors") for name in lacks):
            return here
        raise CheckpointError(f"the configs of {model_id} could not be fetched: {_reason(exc)}") from exc


def _arguments(root: Path, endpoint: str | None, wanted: list[str]) -> dict[str, Any]:
    return {"cache_dir": root, "endpoint": endpoint, "allow_patterns": wanted, "ignore_patterns": _UNWANTED}


def _in_cache(model_id: str, root: Path) -> tuple[Path | None, list[str]]:
    """The folder of its newest revision here, None for none, and which files it lacks."""
    try:
        found = try_to_load_from_cache(model_id, INDEX_FILE, cache_dir=root)
    except ValueError as exc:
        raise CheckpointError(f"{model_id} is no id of a checkpoint: {_first_line(exc)}") from exc
    here = Path(found).parent if isinstance(found, str) else None
    return here, [] if here is None else missing_files(here)


def _announce(model_id: str, licence: str, files: list[Any], root: Path, say: Callable[[str], None]) -> None:
    """Raises: CheckpointError: the disk is too small for what is missing."""
    total = sum(file.file_size or 0 for file in files)
    missing = sum(file.file_size or 0 for file in files if file.will_download)
    if not missing:
        return
    root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(root).free
    say(
        f"{model_id}: licence {licence}; {missing / _GB:.2f} GB of {total / _GB:.2f} GB to fetch into {root}, "
        f"{free / _GB:.0f} GB free there"
    )
    if missing > free:
        raise CheckpointError(
            f"{model_id} needs {missing / _GB:.1f} GB in {root}, {free / _GB:.1f} GB are free; "
            "set HF_HUB_CACHE to a larger disk"
        )


def _licence_of(info: Any) -> str:
    """As the model's card names it."""
    card = info.card_data
    named = getattr(card, "license", None) if card is not None else None
    tagged = [tag.partition(":")[2] for tag in info.tags or () if tag.startswith("license:")]
    return str(named or (tagged[0] if tagged else "not named on its card"))


def _reason(exc: BaseException) -> str:
    """What happened first: huggingface_hub raises a tale of its cache from the error of its connection."""
    return _first_line(exc.__cause__ or exc)


def _first_line(exc: BaseException) -> str:
    return (str(exc).strip().splitlines() or [type(exc).__name__])[0]
