"""A part of a Helios folder whose large weights stay in their files: 14 billion numbers in the memory of a laptop.

What runs or is exported reads one weight at a time. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import safetensors
from torch import Tensor

from model.helios import components
from model.helios.components import Component
from model.helios.layout import TEXT_ENCODER, TRANSFORMER
from model.helios.weights import StoredTensor
from model.networks.weight_offload import Fetch, hold_places, stream_large

_STREAMED = {TRANSFORMER: "blocks", TEXT_ENCODER: "encoder"}
"""Where a part's numbers are: 98 % of the full-size transformer and all but the norms of the text encoder."""


def load_streamed(part: Component) -> Any:
    """As `components.load`, on the CPU. A part without large layers is loaded whole. The part itself is used up.

    Raises: CheckpointError: a file cannot be read.
    """
    place = _STREAMED.get(part.name)
    if place is not None:
        stored, prefix = part.stored, f"{place}."
        tied = components.TIED.get(part.name, {})

        def read(name: str) -> Fetch:
            full = f"{prefix}{name}"
            return _reading(full if full in stored else tied[full], stored)

        stream_large(part.module.get_submodule(place), read, part.dtype)
        if part.name == TEXT_ENCODER:
            module: Any = part.module
            module.shared = module.encoder.embed_tokens
    loaded = components.load(part, device="cpu")
    hold_places(loaded)
    return loaded


def _reading(name: str, stored: Mapping[str, StoredTensor]) -> Fetch:
    def fetch() -> Tensor:
        with safetensors.safe_open(stored[name].file, framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    return fetch
