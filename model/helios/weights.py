"""A part's tensors: where they lie, whether they fit, and their way to the device.

Files are memory-mapped and each tensor goes straight from its pages to the device, cast there: nothing is held twice.
What does not fit is refused by name from the files' headers alone, before any of it is read. Needs the torch extra.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from torch import Tensor, nn

from model.errors import CheckpointError, some
from model.helios.files import STEMS, index_of, is_pointer

_DTYPES = {
    "F64": torch.float64, "F32": torch.float32, "F16": torch.float16, "BF16": torch.bfloat16, "I64": torch.int64,
    "F8_E4M3": torch.float8_e4m3fn,
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class StoredTensor:
    """One tensor in one file, as its header says."""

    file: Path
    shape: tuple[int, ...]
    dtype: torch.dtype


def stored_tensors(folder: Path) -> dict[str, StoredTensor]:
    """Every tensor of a part, from one safetensors file or the shards that its index names.

    Raises: CheckpointError: no weights there, or a shard is missing, broken or not what the index says.
    """
    if (index := index_of(folder)) is not None:
        return _sharded(index)
    for stem in STEMS:
        if (single := folder / f"{stem}.safetensors").is_file():
            return dict(_header(single))
    raise CheckpointError(f"{folder.name} has no weights: expected {' or '.join(f'{s}.safetensors' for s in STEMS)}")


def check(part: str, module: nn.Module, stored: Mapping[str, StoredTensor], tied: Mapping[str, str]) -> None:
    """Compares names and shapes; `module` may lie on the meta device.

    tied: a tensor's name -> the one that it shares; a file may leave out either.

    Raises: CheckpointError: names what is missing, unexpected or misshapen.
    """
    wanted = {name: tuple(tensor.shape) for name, tensor in module.state_dict().items()}
    missing = {name for name in wanted if _stored_name(name, stored, tied) is None}
    unexpected = set(stored) - set(wanted)
    misshapen = {
        f"{name} is {there.shape}, the config says {wanted[name]}"
        for name, there in stored.items()
        if name in wanted and there.shape != wanted[name]
    }
    found = {"lacks ": missing, "has unexpected ": unexpected, "": misshapen}
    problems = [kind + some(names) for kind, names in found.items() if names]
    if problems:
        raise CheckpointError(f"the weights of {part} do not fit its config: {'; '.join(problems)}")


def load(
    module: nn.Module,
    stored: Mapping[str, StoredTensor],
    tied: Mapping[str, str],
    *,
    device: torch.device,
    dtype_of: Callable[[str], torch.dtype],
    progress: Callable[[int], None] = lambda _: None,
) -> None:
    """Gives `module`, made on the meta device, its tensors on `device`. Call `check` first.

    progress: told the bytes read, tensor by tensor.

    Raises: CheckpointError: a file cannot be read.
    """
    targets: dict[str, list[str]] = {}
    for name in module.state_dict():
        source = _stored_name(name, stored, tied)
        assert source is not None, "check() comes before load()"
        targets.setdefault(source, []).append(name)
    by_file: dict[Path, list[str]] = {}
    for name in targets:
        by_file.setdefault(stored[name].file, []).append(name)
    for file, names in by_file.items():
        try:
            with safetensors.safe_open(file, framework="pt", device=str(device)) as opened:
                for name in names:
                    tensor = opened.get_tensor(name).to(dtype_of(name))
                    parameter = nn.Parameter(tensor, requires_grad=False)
                    for target in targets[name]:
                        _put(module, target, parameter)
                    progress(tensor.numel() * stored[name].dtype.itemsize)
        except (OSError, safetensors.SafetensorError) as exc:
            raise CheckpointError(f"cannot read weights from {file}: {exc}") from exc


def _put(module: nn.Module, name: str, parameter: nn.Parameter) -> None:
    *path, last = name.split(".")
    owner = module.get_submodule(".".join(path))
    if last in owner._buffers:
        owner._buffers[last] = parameter.data
    else:
        owner._parameters[last] = parameter


def _stored_name(name: str, stored: Mapping[str, StoredTensor], tied: Mapping[str, str]) -> str | None:
    """Under which name the file has what the module calls `name`."""
    if name in stored:
        return name
    partners = [tied[name]] if name in tied else [alias for alias, source in tied.items() if source == name]
    return next((partner for partner in partners if partner in stored), None)


def _sharded(index: Path) -> dict[str, StoredTensor]:
    try:
        shard_of = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise CheckpointError(f"{index} is not an index of shards: {exc}") from exc
    found: dict[str, StoredTensor] = {}
    shards = sorted(set(shard_of.values()))
    for shard in shards:
        if Path(shard).name != shard:
            raise CheckpointError(f"{index}: got shard {shard!r}, expected a file beside the index")
    if lost := [shard for shard in shards if not (index.parent / shard).is_file()]:
        raise CheckpointError(f"{index.parent.name} lacks {some(lost)}, which its index of shards names")
    for shard in shards:
        found |= dict(_header(index.parent / shard))
    places = {name: tensor.file.name for name, tensor in found.items()}
    if absent := {name for name, shard in shard_of.items() if places.get(name) != shard}:
        raise CheckpointError(f"{index} names tensors that its shards lack: {some(absent)}")
    return found


def _header(file: Path) -> Iterator[tuple[str, StoredTensor]]:
    """What a file says it holds; only its header is read."""
    try:
        if is_pointer(file):
            raise CheckpointError(f"{file} is a Git LFS pointer, not the weights: `git lfs pull` fetches them")
        with safetensors.safe_open(file, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a mapping
                part = opened.get_slice(name)
                kind = part.get_dtype()
                if kind not in _DTYPES:
                    raise CheckpointError(f"{file}: {name} is stored as {kind}, expected one of {', '.join(_DTYPES)}")
                yield name, StoredTensor(file, tuple(part.get_shape()), _DTYPES[kind])
    except (OSError, safetensors.SafetensorError) as exc:
        raise CheckpointError(f"cannot read weights from {file}: {exc}") from exc


def bytes_of(tensors: Mapping[str, Tensor], dtype_of: Callable[[str], torch.dtype]) -> int:
    """What tensors take once each has its dtype; they may lie on the meta device."""
    return sum(tensor.numel() * dtype_of(name).itemsize for name, tensor in tensors.items())
