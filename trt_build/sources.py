"""What `--model` names -> a model's spec, torch graphs and what to calibrate it on. Needs the torch extra."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from model.demo.walks import walk_requests
from model.runners.torch import TorchGraph
from model.spec import ModelSpec
from model.state import ChunkRequest
from trt_build.errors import BuildError

DEMO = "demo"
_DEMO_LOADER = "model.demo.checkpoint:load_graphs"


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """graphs: in float32, the caller's to change. requests: draws the chunks that calibration makes."""

    spec: ModelSpec
    graphs: Mapping[str, TorchGraph]
    requests: Callable[[], Sequence[ChunkRequest]]


def load_source(model: str) -> Source:
    """Fresh modules at every call.

    model: "demo", or the folder of a training run of the demo model.

    Raises: BuildError: there is no such folder. ModelError: it does not load.
    """
    folder = None if model == DEMO else Path(model)
    if folder is not None and not folder.is_dir():
        raise BuildError(f"no model at {folder}; give `demo` or the folder of a training run")
    module, _, factory = _DEMO_LOADER.partition(":")
    spec, graphs = getattr(importlib.import_module(module), factory)(folder)
    return Source(spec=spec, graphs=graphs, requests=lambda: walk_requests(spec, walks=3, chunks=3))
