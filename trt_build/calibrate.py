"""The ranges of a denoiser's activations, seen while the model makes chunks. Needs the torch extra.

The one chunk loop runs with the float32 denoiser, so that every stage, every step and a filled history are seen.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from model.fp8 import Observer
from model.rollout import Rollout, Tokenize
from model.runners.torch import TorchGraph, TorchRunner
from model.spec import Graph, ModelSpec
from model.state import ChunkRequest
from model.transformer import DenoiserGraph, Form

_SEED = 11


def calibrated_scales(
    spec: ModelSpec,
    graphs: Mapping[str, TorchGraph],
    requests: Sequence[ChunkRequest],
    *,
    tokenize: Tokenize | None = None,
) -> dict[str, float]:
    """Scales by site, as `model.fp8.Scales` takes them, from making the chunks of `requests` one after another."""
    observer = Observer()
    denoiser = graphs[Graph.DENOISER]
    assert isinstance(denoiser.module, DenoiserGraph)
    watched = replace(denoiser, module=denoiser.module.in_form(Form.PLAIN, sites=observer))
    runner = TorchRunner({**graphs, Graph.DENOISER: watched})
    observer.largest.clear()  # the runner tries every graph on its example, which is noise
    rollout = Rollout(spec, runner, clock=time.perf_counter, tokenize=tokenize)
    state = rollout.open(_SEED, requests[0].texts[0])
    for request in requests:
        _, state = rollout.chunk(state, request)
    return observer.scales()
