"""The networks of a Helios folder, made from its configs and filled from its shards.

They are made on the meta device: sizes and names are known, and what does not fit is refused, before anything is
allocated. Needs the torch extra.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from accelerate import init_empty_weights
from diffusers import AutoencoderKLWan, HeliosTransformer3DModel
from torch import nn
from transformers import UMT5Config, UMT5EncoderModel

from model.errors import CheckpointError
from model.helios import weights
from model.helios.layout import PARTS, TEXT_ENCODER, TRANSFORMER, VAE, HeliosFolder
from model.helios.weights import StoredTensor

TIED = {TEXT_ENCODER: {"encoder.embed_tokens.weight": "shared.weight"}}
"""By part: a tensor's name -> the one that it shares."""
Report = Callable[[str, int, int], None]
"""part, bytes read so far, bytes in all."""


class Dtype(enum.StrEnum):
    """What weights are held in."""

    BF16 = "bf16"
    FP32 = "fp32"

    @property
    def torch(self) -> torch.dtype:
        return torch.bfloat16 if self is Dtype.BF16 else torch.float32


@dataclass(frozen=True, slots=True, kw_only=True)
class Component:
    """One network on the meta device, and where its tensors lie; `stored` is empty for a folder of configs alone."""

    name: str
    module: nn.Module
    stored: Mapping[str, StoredTensor]
    dtype: torch.dtype

    def dtype_of(self, tensor: str) -> torch.dtype:
        """Of a tensor once loaded: the part's, or float32 where diffusers keeps that.

        transformers keeps it beside float16 alone, which is not offered here.
        """
        kept: Collection[str] = getattr(self.module, "_keep_in_fp32_modules", None) or ()
        if self.name == TEXT_ENCODER:
            kept = ()
        return torch.float32 if any(name in tensor.split(".") for name in kept) else self.dtype

    @property
    def parameters(self) -> int:
        return sum(tensor.numel() for tensor in self._tensors().values())

    @property
    def nbytes(self) -> int:
        """Once loaded."""
        return weights.bytes_of(self._tensors(), self.dtype_of)

    @property
    def stored_nbytes(self) -> int:
        """In its files, what is loaded of them."""
        names = self._tensors()
        return sum(s.dtype.itemsize * torch.Size(s.shape).numel() for n, s in self.stored.items() if n in names)

    def _tensors(self) -> dict[str, torch.Tensor]:
        tied = TIED.get(self.name, {})
        return {name: tensor for name, tensor in self.module.state_dict().items() if name not in tied}


def survey(
    folder: HeliosFolder, *, dtypes: Mapping[str, Dtype], to_come: Collection[str] = ()
) -> tuple[dict[str, Component], list[str]]:
    """Every part on the meta device, and what is wrong with its weights: missing, unexpected or misshapen tensors.

    dtypes: by part; bf16 where none is given. to_come: parts whose weights are yet to be fetched and not looked at.

    Raises: CheckpointError: a config makes no such network.
    """
    found, problems = {}, []
    for name in PARTS:
        module = _empty(name, folder.config(name))
        stored: dict[str, StoredTensor] = {}
        try:
            if name not in to_come:
                stored = weights.stored_tensors(folder.path / name)
                weights.check(name, module, stored, TIED.get(name, {}))
        except CheckpointError as exc:
            problems.append(str(exc))
        dtype = dtypes.get(name, Dtype.BF16).torch
        found[name] = Component(name=name, module=module, stored=stored, dtype=dtype)
    return found, problems


def rehearse(folder: HeliosFolder, *, dtypes: Mapping[str, Dtype]) -> dict[str, Component]:
    """As `survey`, for loading: what is wrong with any part is refused before the first is read.

    Raises: CheckpointError: a config makes no such network, or weights are missing, unexpected or misshapen.
    """
    found, problems = survey(folder, dtypes=dtypes)
    if problems:
        raise CheckpointError(f"{folder.path}: " + "; ".join(problems))
    return found


def load(part: Component, *, device: str, report: Report = lambda *_: None) -> Any:
    """The part's network on `device`, in evaluation mode. The part itself is used up.

    Raises: CheckpointError: a file cannot be read.
    """
    done, total = 0, part.stored_nbytes

    def progress(nbytes: int) -> None:
        nonlocal done
        done += nbytes
        report(part.name, done, total)

    tied = TIED.get(part.name, {})
    weights.load(part.module, part.stored, tied, device=torch.device(device), dtype_of=part.dtype_of, progress=progress)
    for buffers in (module._buffers for module in part.module.modules()):
        for name, buffer in buffers.items():
            if buffer is not None:
                buffers[name] = buffer.to(device)
    return part.module.eval()


def _empty(name: str, config: Mapping[str, Any]) -> nn.Module:
    """Parameters on the meta device; the few buffers that no file has (rotary frequencies) for real."""
    try:
        with init_empty_weights(include_buffers=False):
            made: nn.Module
            if name == TRANSFORMER:
                made = HeliosTransformer3DModel.from_config(dict(config))
            elif name == VAE:
                made = AutoencoderKLWan.from_config(dict(config))
            else:
                made = UMT5EncoderModel(UMT5Config.from_dict(dict(config)))
            return made
    except (TypeError, ValueError, KeyError, RuntimeError) as exc:
        raise CheckpointError(f"the config of {name} makes no network: {exc}") from exc
