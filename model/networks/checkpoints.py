"""Weights on disk <-> torch modules: safetensors files, and transformers in the Diffusers folder layout.

Loading is strict: a name too many, a name too few or a wrong shape is refused with the names. Needs the torch extra.
"""

from __future__ import annotations

import pickle
from pathlib import Path

import safetensors
import safetensors.torch
import torch
from diffusers import HeliosTransformer3DModel
from torch import nn

from model.errors import CheckpointError, some


def save_weights(module: nn.Module, path: Path) -> None:
    """Writes a module's state to one safetensors file, by way of a temporary one: a reader never sees half a file."""
    partial = path.with_suffix(".partial")
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in module.state_dict().items()}
    safetensors.torch.save_file(state, partial)
    partial.replace(path)


def load_weights(module: nn.Module, path: Path) -> None:
    """Fills a module from a safetensors file, or from a `.pth` file of tensors alone.

    Raises: CheckpointError: no such file, or its names or shapes are not the module's.
    """
    given = read_weights(path)
    wanted = module.state_dict()
    problems = [f"lacks {some(wanted.keys() - given.keys())}"] if wanted.keys() - given.keys() else []
    if given.keys() - wanted.keys():
        problems.append(f"has unknown {some(given.keys() - wanted.keys())}")
    misshapen = {
        f"{name} is {tuple(given[name].shape)}, the model has {tuple(wanted[name].shape)}"
        for name in given.keys() & wanted.keys()
        if given[name].shape != wanted[name].shape
    }
    if misshapen:
        problems.append(some(misshapen))
    if problems:
        raise CheckpointError(f"{path} does not fit {type(module).__name__}: {'; '.join(problems)}")
    module.load_state_dict(given)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """The tensors of a safetensors or `.pth` file. Raises: CheckpointError: it cannot be read."""
    loaded: dict[str, torch.Tensor]
    try:
        if path.suffix == ".pth":
            loaded = torch.load(path, map_location="cpu", weights_only=True)
        else:
            loaded = safetensors.torch.load_file(path)
    except (OSError, safetensors.SafetensorError, pickle.UnpicklingError, RuntimeError) as exc:
        raise CheckpointError(f"cannot read weights from {path}: {exc}") from exc
    return loaded


def load_transformer(folder: Path, *, extra_channels: int = 0) -> HeliosTransformer3DModel:
    """A Helios transformer from a Diffusers folder (`config.json` and safetensors), in float32.

    extra_channels: conditioning channels to add after the latents; their weights are zero, so that the output is the
    same until they are trained.

    Raises: CheckpointError: the folder holds no such model.
    """
    if not (folder / "config.json").is_file():
        raise CheckpointError(f"{folder} has no config.json; expected a Diffusers `transformer` folder")
    try:
        model, report = HeliosTransformer3DModel.from_pretrained(
            folder, torch_dtype=torch.float32, output_loading_info=True, local_files_only=True
        )
    except (OSError, ValueError, RuntimeError) as exc:
        raise CheckpointError(f"{folder} does not load as a Helios transformer: {exc}") from exc
    for kind in ("missing_keys", "unexpected_keys"):
        if report[kind]:
            raise CheckpointError(f"{folder}: {kind.replace('_', ' ')} {some(set(report[kind]))}")
    return widened(model, extra_channels) if extra_channels else model


PATCHES = ("patch_embedding", "patch_short", "patch_mid", "patch_long")
"""The layers of a Helios transformer that take latents in."""


def widened(model: HeliosTransformer3DModel, extra_channels: int) -> HeliosTransformer3DModel:
    """`model`, changed to take `extra_channels` more; it gives the same output whatever they hold."""
    for name in PATCHES:
        old = getattr(model, name)
        if old is None:
            continue
        wider = nn.Conv3d(
            old.in_channels + extra_channels, old.out_channels, old.kernel_size, old.stride,
            bias=old.bias is not None, device=old.weight.device, dtype=old.weight.dtype,
        )  # fmt: skip
        with torch.no_grad():
            wider.weight.zero_()
            wider.weight[:, : old.in_channels] = old.weight
            if wider.bias is not None:
                wider.bias.copy_(old.bias)
        setattr(model, name, wider.requires_grad_(requires_grad=old.weight.requires_grad))
    model.register_to_config(in_channels=model.config.in_channels + extra_channels)
    return model.eval()
