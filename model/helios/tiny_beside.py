"""The tiny decoder beside Wan's own: what the quality ladder falls back on before the picture gets coarser.

Needs the torch extra.
"""

from __future__ import annotations

from pathlib import Path

from model.helios.components import Dtype
from model.helios.graphs import streaming_decoders, tiny_decoder, tiny_decoder_file
from model.runners.torch import TorchGraph
from model.spec import Graph, ModelSpec

_NAMES = {Graph.DECODER_FIRST: Graph.TINY_DECODER_FIRST, Graph.DECODER: Graph.TINY_DECODER}


def tiny_beside(path: Path, spec: ModelSpec, *, device: str, dtype: Dtype) -> dict[str, TorchGraph]:
    """`tiny_decoder_first` and `tiny_decoder` of a Helios folder; none where its weights are not beside the model's.

    Raises: CheckpointError: they are there and do not fit.
    """
    if tiny_decoder_file(path) is None:
        return {}
    decoders = streaming_decoders(spec, None, tiny_decoder(path).to(device, dtype.torch))
    return {str(_NAMES[name]): graph for name, graph in decoders.items()}
