"""What building a model's plans would take, told before anything is loaded: sizes, memory, time. No torch, no GPU.

Nothing here was measured on the GPU in question: each figure is counted from shapes or comes with its source.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

from model.precision import Precision
from model.spec import DECODERS, Decode, Graph, ModelSpec, read_spec
from trt_build.errors import BuildError
from trt_build.manifest import Profile, stage_profiles
from trt_build.state import tensorrt_export


@dataclass(frozen=True, slots=True, kw_only=True)
class Gpu:
    """memory_bytes: as its data sheet says."""

    name: str
    compute_capability: str
    memory_bytes: int

    @property
    def has_fp8(self) -> bool:
        return float(self.compute_capability) >= 8.9


GPUS = {
    "h100": Gpu(name="NVIDIA H100 SXM", compute_capability="9.0", memory_bytes=80 * 10**9),
    "h200": Gpu(name="NVIDIA H200", compute_capability="9.0", memory_bytes=141 * 10**9),
    "a100": Gpu(name="NVIDIA A100 80GB", compute_capability="8.0", memory_bytes=80 * 10**9),
    "b200": Gpu(name="NVIDIA B200", compute_capability="10.0", memory_bytes=180 * 10**9),
    "l40s": Gpu(name="NVIDIA L40S", compute_capability="8.9", memory_bytes=48 * 10**9),
    "l4": Gpu(name="NVIDIA L4", compute_capability="8.9", memory_bytes=24 * 10**9),
    "rtx4090": Gpu(name="GeForce RTX 4090", compute_capability="8.9", memory_bytes=24 * 10**9),
    "rtx5090": Gpu(name="GeForce RTX 5090", compute_capability="12.0", memory_bytes=32 * 10**9),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphSize:
    """scratch_bytes: what the graph computes in at its largest profile, estimated; 0 where it is not known."""

    name: str
    parameters: int
    weight_bytes: int
    profiles: tuple[str, ...]
    scratch_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSize:
    """kept_bytes: what the autoencoder remembers on the GPU, twice, in float32; 0 where it is not known."""

    model: str
    precision: Precision
    graphs: tuple[GraphSize, ...]
    kept_bytes: int = 0

    @property
    def weight_bytes(self) -> int:
        return sum(graph.weight_bytes for graph in self.graphs)


HELIOS_14B = ModelSpec(
    name="helios-14b", frame_height=384, frame_width=640, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=9,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=512, text_dim=4096,
)  # fmt: skip
"""Sizes only: the statistics stand in the checkpoint."""

PARAMETERS = {
    Graph.TEXT_ENCODER: 5_680_910_336,  # UMT5-XXL's encoder
    Graph.DENOISER: 14_312_427_584,  # HeliosTransformer3DModel as diffusers has it by default
    Graph.DECODER_FIRST: 73_295_603,  # Wan 2.1's
    Graph.DECODER: 73_295_603,  # the same weights again, in a plan of their own
    Graph.ENCODER_FIRST: 53_596_928,
    Graph.ENCODER: 53_596_928,  # likewise
}
FP8_PARAMETERS = 14_050_918_400  # the weights of the denoiser blocks' linear layers
DECODER_MEMORY = 581_099_520  # numbers that Wan's decoder remembers between two latent frames at 640x384
ENCODER_MEMORY = 345_047_040  # and its encoder
_WIDTH, _FEED_FORWARD = 5120, 13824
_DECODER_CHANNELS = 96  # of Wan's decoder at full resolution
_BYTES = {Precision.FP32: 4, Precision.BF16: 2, Precision.FP8: 2}

DISK_BYTES_PER_S = 1e9  # a slow NVMe drive; the estimate says so
TIMING_S_PER_PARAMETER = 600 / 6.05e9
"""Of one profile: a build of GPT-J-6B took about ten minutes on an A100 (github.com/huggingface/optimum/issues/605).

Taken as an upper bound: that was TensorRT 8, and an H100 times the same kernels faster.
"""


def known_sizes(model: str, precision: Precision) -> ModelSize:
    """Raises: BuildError: the model's sizes are not known here."""
    if model != HELIOS_14B.name:
        raise BuildError(f"sizes of {model!r} are not known; give {HELIOS_14B.name}, or a folder that `export` wrote")
    scratch = {Graph.DENOISER: _denoiser_scratch(HELIOS_14B), Graph.DECODER: _decoder_scratch(HELIOS_14B)}
    profiles = {Graph.DENOISER: _texts(stage_profiles(HELIOS_14B))}
    graphs = [
        GraphSize(
            name=name, parameters=PARAMETERS[name], weight_bytes=_weight_bytes(name, precision),
            profiles=profiles.get(name, ("fixed",)), scratch_bytes=scratch.get(name, 0),
        )
        for name in PARAMETERS
    ]  # fmt: skip
    return ModelSize(
        model=model, precision=precision, graphs=tuple(graphs), kept_bytes=2 * 4 * (DECODER_MEMORY + ENCODER_MEMORY)
    )


def sizes_of_export(folder: Path) -> ModelSize:
    """Of files that are there. Raises: BuildError: the folder is no export for TensorRT."""
    manifest, spec = tensorrt_export(folder), read_spec(folder)
    graphs = [
        GraphSize(
            name=name,
            parameters=graph.bytes // _BYTES[manifest.precision],
            weight_bytes=graph.bytes,
            profiles=_texts(graph.profiles) or ("fixed",),
            scratch_bytes=0,
        )
        for name, graph in manifest.graphs.items()
    ]
    return ModelSize(model=spec.name, precision=manifest.precision, graphs=tuple(graphs))


def describe(size: ModelSize, gpu_name: str) -> str:
    """The plan of a build, as lines for a person.

    Raises: BuildError: the GPU is not known, or cannot do the precision.
    """
    gpu = GPUS.get(gpu_name)
    if gpu is None:
        raise BuildError(f"GPU {gpu_name!r} is not known here; give one of {', '.join(GPUS)}")
    if size.precision is Precision.FP8 and not gpu.has_fp8:
        raise BuildError(f"{gpu.name} (compute capability {gpu.compute_capability}) has no FP8; give --precision bf16")
    lines = [
        f"dry run: {size.model}, {size.precision}, for {gpu.name} ({gpu.memory_bytes / 1e9:.0f} GB, compute capability "
        f"{gpu.compute_capability}); nothing is built",
    ]
    for graph in size.graphs:
        lines.append(f"  {graph.name}: {graph.parameters / 1e9:.2f} billion parameters, {_gb(graph.weight_bytes)}")
        lines += [f"    profile {profile}" for profile in graph.profiles]
    scratch = _scratch_bytes(size)
    resident = size.weight_bytes + scratch + size.kept_bytes
    short = resident - gpu.memory_bytes
    lines += [
        f"disk: {_gb(size.weight_bytes)} of ONNX + {_gb(size.weight_bytes)} of plans = {_gb(2 * size.weight_bytes)} "
        f"(a build with --strip keeps the ONNX only)",
        f"GPU memory while serving: {_gb(size.weight_bytes)} of weights + {_gb(scratch)} of scratch "
        f"(counted from the largest activations) + {_gb(size.kept_bytes)} of the autoencoder's memory = "
        f"{_gb(resident)}: " + ("fits" if short <= 0 else f"{_gb(short)} MISSING; build with --weight-streaming"),
        f"time expected: up to {_time(build_s(size))}, not measured: reading and writing at 1 GB/s, and kernel timing "
        f"as for GPT-J-6B on an A100 (10 min a profile of 6 billion parameters); a second build reuses the timings",
    ]
    return "\n".join(lines)


def _scratch_bytes(size: ModelSize) -> int:
    """Decoders and other graphs run beside each other; those of one kind share."""
    return sum(
        max((graph.scratch_bytes for graph in size.graphs if (graph.name in DECODERS) is decodes), default=0)
        for decodes in (False, True)
    )


def build_s(size: ModelSize) -> float:
    """Seconds expected at most, for all graphs one after another."""
    timing = sum(graph.parameters * len(graph.profiles) * TIMING_S_PER_PARAMETER for graph in size.graphs)
    return timing + 2 * size.weight_bytes / DISK_BYTES_PER_S


def _weight_bytes(name: Graph, precision: Precision) -> int:
    bytes_ = PARAMETERS[name] * _BYTES[precision]
    if name is Graph.DENOISER and precision is Precision.FP8:
        bytes_ -= FP8_PARAMETERS  # one byte each in place of two
    return bytes_


def _denoiser_scratch(spec: ModelSpec) -> int:
    """A block's largest moment, bf16: the residual stream in float32, q, k, v and their result, the MLP's two sides."""
    _, rows, columns = spec.patch_size
    per_frame = spec.latent_height * spec.latent_width // (rows * columns)
    long, mid, short = spec.history_sizes
    history = math.ceil(long / 4) * per_frame // 16 + mid * per_frame // 8 + (short + spec.keep_prefix) * per_frame
    tokens = spec.chunk_latents * per_frame + history
    return tokens * (_WIDTH * (4 + 4 * 2) + _FEED_FORWARD * 2 * 2)


def _decoder_scratch(spec: ModelSpec) -> int:
    """Of one latent frame, three maps at full size of Wan's decoder, bf16: a block's input, middle and residual."""
    pixels = spec.temporal_stride * spec.frame_height * spec.frame_width
    return 3 * pixels * _DECODER_CHANNELS * 2


def _texts(profiles: tuple[Profile, ...]) -> tuple[str, ...]:
    return tuple(
        f"{profile.name}: "
        + ", ".join(
            f"{name} {' .. '.join('x'.join(map(str, shape)) for shape in (of.min, of.opt, of.max))}"
            for name, of in profile.shapes.items()
        )
        for profile in profiles
    )


def _gb(nbytes: float) -> str:
    return f"{nbytes / 1e9:.2f} GB"


def _time(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"
