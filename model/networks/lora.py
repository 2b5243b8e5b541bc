"""Adapters of a Helios transformer: LoRA pairs and camera channels, merged into its weights.

A file is safetensors in diffusers' names: `<module>.lora_A.weight`, `<module>.lora_B.weight`, perhaps `<module>.alpha`
(arXiv 2106.09685: W + alpha / rank * B A; alpha is the rank where it is not given), and whole tensors named as the
transformer's own `patch_*` ones. One that brings camera channels has the network that makes them too, as
`conditioner.*` (`model.networks.conditioner.Conditioner`). Merging costs nothing at run time. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import safetensors
import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor

from model.errors import CheckpointError
from model.networks.checkpoints import PATCHES

_DOWN, _UP, _ALPHA = ".lora_A.weight", ".lora_B.weight", ".alpha"
_PREFIX, _CONDITIONER = "transformer.", "conditioner."
_LAST_OF_CONDITIONER = "out.weight"


@dataclass(frozen=True, slots=True)
class Pair:
    """W + scale * up @ down. down: (rank, in), up: (out, rank)."""

    down: Tensor
    up: Tensor
    scale: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LoraAdapter:
    """pairs: by the weight's name. patches: whole tensors, by name. conditioner: its tensors, empty without camera
    channels."""

    path: Path
    pairs: Mapping[str, Pair]
    patches: Mapping[str, Tensor]
    conditioner: Mapping[str, Tensor]

    @property
    def camera_channels(self) -> int:
        """Channels that it brings beside the latents."""
        return len(self.conditioner[_LAST_OF_CONDITIONER]) if self.conditioner else 0

    @property
    def brings(self) -> str:
        """What is in it, for people: "LoRA of rank 4 to 16 for 80 of the weights, 24 camera channels"."""
        parts = []
        if ranks := {len(pair.down) for pair in self.pairs.values()}:
            rank = " to ".join(str(rank) for rank in sorted({min(ranks), max(ranks)}))
            parts.append(f"LoRA of rank {rank} for {len(self.pairs)} of the weights")
        if self.patches:
            parts.append(f"{len(self.patches)} of the patch embeddings' tensors")
        parts.append(f"{self.camera_channels or 'no'} camera channels")
        return ", ".join(parts)

    def check(self, model: HeliosTransformer3DModel) -> None:
        """Raises: CheckpointError: names or shapes do not fit `model`, which has not got its camera channels yet and
        may lie on the meta device."""
        weights = dict(model.named_parameters())
        given: dict[str, tuple[int, ...]]
        given = {name: (len(pair.up), pair.down.shape[1]) for name, pair in self.pairs.items()}
        given |= {name: tuple(tensor.shape) for name, tensor in self.patches.items()}
        for name, shape in given.items():
            if name not in weights:
                raise CheckpointError(f"{self.path}: the transformer has no {name}")
            wanted = list(weights[name].shape)
            if name in self.patches and len(wanted) > 1:
                wanted[1] += self.camera_channels
            if shape != tuple(wanted):
                raise CheckpointError(f"{self.path}: {name} would be {shape}, the transformer has {tuple(wanted)}")

    def merge(self, model: HeliosTransformer3DModel) -> None:
        """Changes `model`, which passed `check` and has its camera channels since, weight by weight in place."""
        weights = dict(model.named_parameters())
        with torch.no_grad():
            for name, pair in self.pairs.items():
                weight = weights[name]
                change = pair.scale * (pair.up.to(weight.device) @ pair.down.to(weight.device))
                weight.copy_(weight.float() + change)
            for name, tensor in self.patches.items():
                weights[name].copy_(tensor)


def read_adapter(path: Path, *, device: str = "cpu") -> LoraAdapter:
    """device: "meta" reads the file's header and LoRAs' scales alone: enough for `check`, not for `merge`.

    Raises: CheckpointError: the file cannot be read, or is none of an adapter.
    """
    tensors = _tensors(path, device)
    conditioner = {
        name.removeprefix(_CONDITIONER): tensor for name, tensor in tensors.items() if name.startswith(_CONDITIONER)
    }
    if conditioner and _LAST_OF_CONDITIONER not in conditioner:
        raise CheckpointError(f"{path}: its conditioner lacks {_LAST_OF_CONDITIONER}")
    read = {_CONDITIONER + name for name in conditioner}
    pairs = {}
    for name in [name for name in tensors if name.endswith(_DOWN)]:
        module = name.removesuffix(_DOWN)
        pairs[f"{module}.weight"] = _pair(path, module, tensors)
        read |= {name, module + _UP, module + _ALPHA}
    patches = {name: tensor for name, tensor in tensors.items() if name.split(".")[0] in PATCHES and name not in read}
    if unknown := sorted(tensors.keys() - read - patches.keys()):
        wanted = "LoRA pairs, patch embeddings and a conditioner"
        raise CheckpointError(f"{path}: expected {wanted}, got {', '.join(unknown[:4])}")
    return LoraAdapter(path=path, pairs=pairs, patches=patches, conditioner=conditioner)


def apply_adapter(model: HeliosTransformer3DModel, path: Path) -> None:
    """Merges a file without camera channels of its own into `model` in place; all or nothing.

    Raises: CheckpointError: the file cannot be read, or names or shapes are not the model's.
    """
    adapter = read_adapter(path)
    adapter.check(model)
    adapter.merge(model)


def _tensors(path: Path, device: str) -> dict[str, Tensor]:
    """By name without the prefix, in float32."""
    tensors: dict[str, Tensor] = {}
    try:
        with safetensors.safe_open(path, framework="pt") as opened:
            for name in opened.keys():  # noqa: SIM118  # not a mapping
                if device == "meta" and not name.endswith(_ALPHA):
                    tensor = torch.empty(opened.get_slice(name).get_shape(), device="meta")
                else:
                    tensor = opened.get_tensor(name).float()
                tensors[name.removeprefix(_PREFIX)] = tensor
    except (OSError, safetensors.SafetensorError) as exc:
        raise CheckpointError(f"cannot read the adapter {path}: {exc}") from exc
    return tensors


def _pair(path: Path, module: str, tensors: Mapping[str, Tensor]) -> Pair:
    down, up = tensors[module + _DOWN], tensors.get(module + _UP)
    if up is None:
        raise CheckpointError(f"{path}: {module}{_DOWN} has no {_UP[1:]} beside it")
    if down.ndim != 2 or up.ndim != 2 or up.shape[1] != len(down):
        raise CheckpointError(f"{path}: {module} has a pair of {tuple(down.shape)} and {tuple(up.shape)}")
    alpha = float(tensors[module + _ALPHA]) if module + _ALPHA in tensors else float(len(down))
    return Pair(down, up, alpha / len(down))
