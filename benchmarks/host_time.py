"""`python -m benchmarks.host_time`: how long the chunk loop leaves a GPU idle, with a stand-in for the GPU.

The loop runs at Helios-14B's sizes over the static runner; its denoiser gives a constant, and each of its runs then
takes as long as it is told to, while the host is free. What a chunk takes beyond that is the host's: noise, levels,
history, staging. A GPU copies and computes besides, which this does not tell.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.gpu_model import prompt_graph, random_prompt
from benchmarks.gpu_sizes import FULL, SMALL, Size
from model.cli_args import stage_steps
from model.networks.denoiser import DENOISER_AXES, DENOISER_OUTPUTS, example_inputs
from model.pipeline.state import ChunkRequest
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.base import Arrays, Pending
from model.runners.cuda_graph import CudaGraphRunner
from model.runners.torch import Kept, TorchGraph
from model.spec import DECODERS, Graph, ModelSpec
from trt_build.calibrate import blind_decoder

_WARM_UP_CHUNKS = 3


class _Constant(nn.Module):
    """A flow that costs nothing."""

    def forward(self, hidden_states: Tensor, *others: Tensor) -> Tensor:
        return torch.ones(1, dtype=hidden_states.dtype).expand_as(hidden_states)


class _NoText(nn.Module):
    def forward(self, encoder_hidden_states: Tensor) -> tuple[Tensor]:
        return (encoder_hidden_states[:, 0, :1].clone(),)


class _Busy(CudaGraphRunner):
    """Each denoiser run is done `step_s` after it was started."""

    step_s = 0.0

    def start(self, graph: str, inputs: Arrays) -> Pending:
        pending = super().start(graph, inputs)
        return _Due(pending, time.perf_counter() + self.step_s) if graph == Graph.DENOISER else pending


class _Due:
    def __init__(self, pending: Pending, due_s: float) -> None:
        self._pending, self._due_s = pending, due_s

    def ready(self) -> bool:
        return time.perf_counter() >= self._due_s

    def result(self) -> dict[str, NDArray[np.generic]]:
        time.sleep(max(0.0, self._due_s - time.perf_counter()))
        return self._pending.result()


def host_ms(size: Size, *, steps: tuple[int, ...], chunk_latents: int, step_s: float, chunks: int) -> list[float]:
    """Milliseconds of each chunk, from its start to the decoder's, that the GPU would have been idle."""
    spec = size.spec(steps=steps, chunk_latents=chunk_latents)
    runner = _Busy(_graphs(size, spec), background=DECODERS)
    runner.step_s = step_s
    loop = VideoPipeline(
        spec, runner, clock=time.perf_counter, tokenize=lambda _: {"tokens": np.zeros((1, 1), np.int64)}
    )
    request = ChunkRequest(texts=("",) * chunk_latents, steps=steps)
    state = loop.open(0)
    idle_ms = []
    for _ in range(_WARM_UP_CHUNKS + chunks):
        start_s = time.perf_counter()
        begun = loop.begin(state, request)
        idle_ms.append((time.perf_counter() - start_s - sum(steps) * step_s) * 1e3)
        begun.result()
        state = begun.state
    return idle_ms[_WARM_UP_CHUNKS:]


def _graphs(size: Size, spec: ModelSpec) -> dict[str, TorchGraph]:
    cpu = torch.device("cpu")
    denoiser = TorchGraph(
        module=_Constant(), inputs=example_inputs(spec), outputs=DENOISER_OUTPUTS, dynamic_axes=DENOISER_AXES,
        kept=Kept(inputs=("encoder_hidden_states",), module=_NoText()),
    )  # fmt: skip
    prompt = prompt_graph(random_prompt(size, cpu))
    return {str(Graph.TEXT_ENCODER): prompt, str(Graph.DENOISER): denoiser, str(Graph.DECODER): blind_decoder(spec)}


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.host_time", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--steps", type=stage_steps, default=(1, 1, 1), metavar="1,1,1|2,2,2")
    parser.add_argument("--chunk-latents", type=int, default=9, choices=range(1, 10), metavar="1..9")
    parser.add_argument("--step-ms", type=float, default=60.0, help="that the GPU takes for one (default: %(default)s)")
    parser.add_argument("--chunks", type=int, default=20)
    parser.add_argument("--size", choices=["full", "small"], default="full")
    options = parser.parse_args(arguments)
    idle_ms = host_ms(
        FULL if options.size == "full" else SMALL, steps=options.steps, chunk_latents=options.chunk_latents,
        step_s=options.step_ms / 1e3, chunks=options.chunks,
    )  # fmt: skip
    p50, p90 = np.percentile(idle_ms, [50, 90])
    print(f"a GPU idle for p50 {p50:.1f} ms, p90 {p90:.1f} ms of each chunk of {options.chunk_latents} latent frames "
          f"at {options.steps}, {options.size} size, n={len(idle_ms)}")  # fmt: skip
    return 0


if __name__ == "__main__":
    sys.exit(main())
