"""Adapters of a Helios transformer: LoRA pairs and patch embeddings for camera channels, merged into its weights.

A file is safetensors in diffusers' names: `<module>.lora_A.weight`, `<module>.lora_B.weight`, perhaps `<module>.alpha`
(arXiv 2106.09685: W + alpha / rank * B A; alpha is the rank where it is not given), and whole tensors named as the
transformer's own `patch_*` ones. Merging costs nothing at run time. Needs the torch extra.
"""

from __future__ import annotations

from pathlib import Path

import safetensors
import safetensors.torch
import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor

from model.errors import CheckpointError

_DOWN, _UP, _ALPHA, _PREFIX = ".lora_A.weight", ".lora_B.weight", ".alpha", "transformer."


def apply_adapter(model: HeliosTransformer3DModel, path: Path) -> None:
    """Changes `model` in place; all or nothing.

    Raises: CheckpointError: the file cannot be read, or names or shapes are not the model's.
    """
    try:
        stored = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError) as exc:
        raise CheckpointError(f"cannot read the adapter {path}: {exc}") from exc
    tensors = {name.removeprefix(_PREFIX): tensor.float() for name, tensor in stored.items()}
    weights = dict(model.named_parameters())
    changed: dict[str, Tensor] = {}
    read: set[str] = set()
    for name, tensor in tensors.items():
        if name.endswith(_DOWN):
            module = name.removesuffix(_DOWN)
            names = {name, module + _UP, module + _ALPHA} & tensors.keys()
            if module + _UP not in names or f"{module}.weight" not in weights:
                raise CheckpointError(f"{path}: {name} has no {_UP[1:]} beside it or no such module in the transformer")
            up = tensors[module + _UP]
            alpha = float(tensors[module + _ALPHA]) if module + _ALPHA in names else float(tensor.shape[0])
            if up.shape[1:] != tensor.shape[:1]:
                raise CheckpointError(f"{path}: {module} has ranks {tensor.shape[0]} and {tuple(up.shape)[1:]}")
            old = weights[f"{module}.weight"].detach()
            product = alpha / tensor.shape[0] * (up @ tensor)
            # of another shape it is refused below, with every other tensor that does not fit
            changed[f"{module}.weight"] = old.float() + product if product.shape == old.shape else product
            read |= names
        elif name.startswith("patch_") and name in weights:
            changed[name] = tensor
            read.add(name)
    if unknown := sorted(tensors.keys() - read):
        raise CheckpointError(f"{path}: expected LoRA pairs and patch embeddings, got {', '.join(unknown[:4])}")
    for name, tensor in changed.items():
        if tensor.shape != weights[name].shape:
            got, wanted = tuple(tensor.shape), tuple(weights[name].shape)
            raise CheckpointError(f"{path}: {name} would be {got}, the transformer has {wanted}")
    with torch.no_grad():
        for name, tensor in changed.items():
            weights[name].copy_(tensor)
