"""The tiny decoder beside Wan's own: what the quality ladder falls back on before the picture gets coarser.

Needs the torch extra.
"""

from __future__ import annotations

from pathlib import Path

import torch

from model.helios.graphs import TINY_FILES, tiny_decoder
from model.helios.parts import Dtype
from model.helios.streaming import DecoderMemory, StreamingDecoder
from model.helios.tiny import TinyDecoderStep
from model.runners.torch import TorchGraph
from model.spec import Graph, ModelSpec

_FIRST = {Graph.TINY_DECODER_FIRST: True, Graph.TINY_DECODER: False}


def tiny_beside(path: Path, spec: ModelSpec, *, device: str, dtype: Dtype) -> dict[str, TorchGraph]:
    """`tiny_decoder_first` and `tiny_decoder` of a Helios folder; none where its weights are not beside the model's.

    Raises: CheckpointError: they are there and do not fit.
    """
    if not any((path / name).is_file() for name in TINY_FILES):
        return {}
    tiny = tiny_decoder(path).to(device, dtype.torch)
    memory = DecoderMemory(tiny.decoder_memory_shapes(spec.latent_height, spec.latent_width), dtype.torch)
    memory.to(device)
    return {
        str(name): TorchGraph(
            module=StreamingDecoder(
                TinyDecoderStep(tiny, spec.latents_mean, spec.latents_inv_std, first=first).to(device),
                memory,
                first=first,
            ),
            inputs={"latents": torch.zeros(1, spec.latent_channels, 1, spec.latent_height, spec.latent_width)},
            outputs=("frames",),
            dynamic_axes={},
            memory=memory,
        )
        for name, first in _FIRST.items()
    }
