"""The demo model's checkpoint: `spec.json` and one safetensors file in float16, shipped beside the exported graphs.

Export and the torch runner read it; serving with onnxruntime does not. Needs the torch extra.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from model.demo.network import (
    LATENT_CHANNELS,
    TEXT_DIM,
    TEXT_TOKENS,
    VOCABULARY,
    WORDS,
    Decoder,
    DemoDenoiser,
    TextEncoder,
    TextReader,
)
from model.demo.training.clips import FPS, FRAME_HEIGHT, FRAME_WIDTH, FRAMES_PER_LATENT
from model.demo.world.conditions import STATE_SIZE, Conditions
from model.fast.graph import fast_runner
from model.networks.autoencoder import DEMO, TinyAutoencoder
from model.networks.checkpoints import load_weights, read_weights, save_weights
from model.networks.conditioner import CONDITIONING_CHANNELS
from model.networks.denoiser import batched, denoiser_graph
from model.precision import Precision
from model.runners.base import ModuleRunner
from model.runners.torch import TorchGraph, TorchRunner
from model.scene.ray_features import FLOW_CHANNELS, RAY_CHANNELS, RAYS_PER_LATENT_PX
from model.spec import Decode, Graph, ModelSpec, read_spec, write_spec

SHIPPED = Path(__file__).parent / "weights"
WEIGHTS_FILE = "weights.safetensors"
HISTORY_SIZES = (4, 2, 1)


class DemoModel(nn.Module):
    """Everything that is trained, under the names of the checkpoint."""

    def __init__(self) -> None:
        super().__init__()
        self.autoencoder = TinyAutoencoder(DEMO)
        self.reader = TextReader()
        self.denoiser = DemoDenoiser()


def demo_spec(latents_mean: NDArray[np.float32], latents_std: NDArray[np.float32]) -> ModelSpec:
    """What the demo model is; the statistics are those of its autoencoder's latents."""
    return ModelSpec(
        name="helios-demo",
        frame_height=FRAME_HEIGHT,
        frame_width=FRAME_WIDTH,
        fps=float(FPS),
        decode=Decode.STREAMING,
        chunk_latents=3,
        latents_mean=tuple(float(v) for v in latents_mean),
        latents_inv_std=tuple(float(1 / v) for v in latents_std),
        text_tokens=TEXT_TOKENS,
        text_dim=TEXT_DIM,
        history_sizes=HISTORY_SIZES,
        keep_prefix=False,
        conditioning_channels=CONDITIONING_CHANNELS,
        initial_text_state=tuple(float(v) for v in Conditions().vector()),
        text_vocabulary=VOCABULARY,
        text_words=WORDS,
    )


def save_checkpoint(model: DemoModel, spec: ModelSpec, folder: Path) -> None:
    """Writes `spec.json` and the weights, in float16."""
    folder.mkdir(parents=True, exist_ok=True)
    write_spec(spec, folder)
    save_weights(model.half(), folder / WEIGHTS_FILE)
    model.float()


def load_checkpoint(folder: Path | None = None) -> tuple[ModelSpec, DemoModel]:
    """A checkpoint, the shipped one by default. Raises: SpecError, CheckpointError: it is not one of this model."""
    folder = folder or SHIPPED
    spec = read_spec(folder)
    model = DemoModel()
    load_weights(model, folder / WEIGHTS_FILE)
    return spec, model.eval().requires_grad_(requires_grad=False)


def fill_from(folder: Path, prefix: str, module: nn.Module) -> list[str]:
    """Takes what a checkpoint has of `module` under `prefix`, where shapes agree. Returns the names that it has
    not, or has in another shape.

    Raises: CheckpointError: the file cannot be read.
    """
    given = read_weights(folder / WEIGHTS_FILE)
    own = module.state_dict()
    kept = {name: given[prefix + name] for name in own if prefix + name in given}
    module.load_state_dict(own | {name: value for name, value in kept.items() if value.shape == own[name].shape})
    return [name for name in own if name not in kept or kept[name].shape != own[name].shape]


def load_graphs(folder: Path | None = None) -> tuple[ModelSpec, dict[str, TorchGraph]]:
    """A checkpoint's graphs as they are exported and run. Raises: SpecError, CheckpointError, as `load_checkpoint`."""
    spec, model = load_checkpoint(folder)
    return spec, graphs_of(model, spec)


def graphs_of(model: DemoModel, spec: ModelSpec) -> dict[str, TorchGraph]:
    """A model's graphs as they are exported and run."""
    height, width, frames = spec.latent_height, spec.latent_width, 3
    grid = (height * RAYS_PER_LATENT_PX, width * RAYS_PER_LATENT_PX)
    memory = {
        f"memory_{index}": torch.zeros(shape)
        for index, shape in enumerate(model.autoencoder.decoder_memory_shapes(height, width))
    }
    graphs = {
        Graph.TEXT_ENCODER: TorchGraph(
            module=TextEncoder(model.reader, model.denoiser.embedding),
            inputs={"tokens": torch.arange(WORDS)[None], "state": torch.zeros(1, STATE_SIZE)},
            outputs=("next_state", "embeddings"),
            dynamic_axes={},
        ),
        Graph.CONDITIONER: TorchGraph(
            module=model.denoiser.conditioner,
            inputs={
                "rays": torch.randn(1, RAY_CHANNELS, frames, *grid),
                "flow": torch.randn(1, FLOW_CHANNELS, frames, height, width),
                "text": torch.randn(1, TEXT_TOKENS, TEXT_DIM),
            },
            outputs=("conditioning",),
            dynamic_axes={"rays": {2: "frames"}, "flow": {2: "frames"}},
        ),
        Graph.DENOISER: denoiser_graph(model.denoiser.transformer, spec),
        Graph.DECODER: TorchGraph(
            module=Decoder(model.autoencoder),
            inputs={
                "latents": torch.randn(1, LATENT_CHANNELS, frames, height, width),
                "frame_rays": torch.randn(1, FRAMES_PER_LATENT, frames, RAY_CHANNELS, *grid),
                **memory,
            },
            outputs=("frames", *(f"next_{name}" for name in memory)),
            dynamic_axes={"latents": {2: "frames"}, "frame_rays": {2: "frames"}},
        ),
    }
    return {str(name): graph for name, graph in graphs.items()}


def create_torch_runner(folder: Path, *, threads: int, precision: str | None = None) -> ModuleRunner:
    """`--runner torch`: the checkpoint in `folder` on torch.

    precision: None runs the modules as they were exported, on a CPU; one of `Precision`, or a GPU (bf16 there), runs
    the denoiser in its fast form over static graphs.
    """
    torch.set_num_threads(threads)
    spec, graphs = load_graphs(folder)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if precision is None and device == "cpu":
        return TorchRunner({**graphs, str(Graph.DENOISER): batched(graphs[Graph.DENOISER])})
    return fast_runner(spec, graphs, device=device, precision=Precision(precision or Precision.BF16))
