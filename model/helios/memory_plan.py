"""What a checkpoint will need, found out on the meta device: a rehearsal of loading that allocates nothing.

Every part is made from its config and compared with its files' headers; weights, the decoder's memory and what stays of
a prompt are counted exactly. Not counted is what kernels take while they run. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import torch

from model.errors import CheckpointError
from model.helios import components
from model.helios.components import Component, Dtype
from model.helios.files import missing_nbytes, missing_weights
from model.helios.graphs import (
    DecoderKind,
    conditioner_of,
    decoder_memory_nbytes,
    empty_tiny_decoder,
    tiny_decoder,
    tiny_decoder_file,
)
from model.helios.layout import (
    PARTS,
    TEXT_ENCODER,
    TOKENIZER,
    TRANSFORMER,
    VAE,
    GenerationConfig,
    HeliosFolder,
    read_folder,
    spec_of,
)
from model.helios.text import PromptTokenizer
from model.networks.checkpoints import PATCHES, read_weights
from model.networks.lora import read_adapter
from model.precision import Precision
from model.spec import ModelSpec

_GB = 1e9
_SMALL = 1_000_000_000  # bytes
_KEPT_PROMPTS = 4  # as many as a static runner keeps on the device
_TINY_DECODER, _ADAPTER = "tiny decoder", "adapter"

Row = tuple[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPlan:
    """Bytes on the device. weights, parameters, stored: by what they belong to. to_come: bytes yet to be fetched, by
    part. adapter: what it brings and whether it fits, "" without one. problems: what stands in the way of loading, ""
    for nothing."""

    spec: ModelSpec
    weights: dict[str, int]
    parameters: dict[str, int]
    stored: dict[str, int]
    to_come: dict[str, int]
    decoder_memory: int
    prompts: int
    history: int
    adapter: str
    problems: str

    @property
    def runs_here(self) -> bool:
        """Whether it is here and fits the GPU; without one, whether a CPU makes a chunk of it within seconds."""
        if self.to_come:
            return False
        if self.gpu_here:
            return self.total < torch.cuda.mem_get_info()[0]
        return self.total < _SMALL

    @property
    def gpu_here(self) -> bool:
        return torch.cuda.is_available()

    @property
    def total(self) -> int:
        return sum(self.weights.values()) + self.decoder_memory + self.prompts + self.history


def plan(
    path: Path,
    session: GenerationConfig,
    *,
    precision: Precision = Precision.BF16,
    decoder: DecoderKind = DecoderKind.WAN,
    vae_dtype: Dtype = Dtype.BF16,
    adapter: Path | None = None,
    fetched_later: bool = False,
) -> MemoryPlan:
    """Rehearses loading a folder. One with configs alone is planned too, and its weights named as the problem, unless
    they are `fetched_later`.

    The tiny decoder is counted where it is asked for, and where it lies in the folder: then it is loaded beside Wan's.
    adapter: a file to merge into the transformer; its header is read and held to the transformer's names and shapes.

    Raises: CheckpointError, SpecError: its configs are not those of a Helios that can be served.
    """
    folder = read_folder(path)
    spec = spec_of(folder, session)
    dtype = Dtype.FP32 if precision is Precision.FP32 else Dtype.BF16
    dtypes = {TRANSFORMER: dtype, TEXT_ENCODER: dtype, VAE: vae_dtype}
    absent = [part for part in PARTS if fetched_later and missing_weights(path, part)]
    found, problems = components.survey(folder, dtypes=dtypes, to_come=absent)
    problems += _missing_beside(folder, decoder)
    transformer = found[TRANSFORMER]
    weights = {name: part.nbytes for name, part in found.items()}
    parameters = {name: part.parameters for name, part in found.items()}
    stored = {name: part.stored_nbytes for name, part in found.items()}
    if precision is Precision.FP8:
        weights[TRANSFORMER] -= _saved_by_fp8(transformer)
    decoders = [decoder]
    if decoder is DecoderKind.WAN and tiny_decoder_file(folder.path) is not None:
        decoders.append(DecoderKind.TINY)
    if DecoderKind.TINY in decoders:
        parameters[_TINY_DECODER], stored[_TINY_DECODER] = _tiny_decoder_sizes(folder)
        weights[_TINY_DECODER] = parameters[_TINY_DECODER] * vae_dtype.torch.itemsize
    told = ""
    if adapter is not None:
        told, parameters[_ADAPTER], weights[_ADAPTER] = _of_adapter(adapter, transformer, problems)
        stored[_ADAPTER] = adapter.stat().st_size if adapter.is_file() else 0
    heads, width = (int(folder.transformer[key]) for key in ("num_attention_heads", "attention_head_dim"))
    layers = int(folder.transformer["num_layers"])
    latent = spec.latent_channels * spec.latent_height * spec.latent_width * 4
    return MemoryPlan(
        spec=spec,
        weights=weights,
        parameters=parameters,
        stored=stored,
        to_come={
            name: found[name].nbytes if (nbytes := missing_nbytes(path, name)) is None else nbytes for name in absent
        },
        decoder_memory=sum(decoder_memory_nbytes(spec, found[VAE].module, kind, vae_dtype.torch) for kind in decoders),
        prompts=_KEPT_PROMPTS * 2 * layers * spec.text_tokens * heads * width * dtype.torch.itemsize,
        history=latent * (spec.history_latents + spec.keep_prefix + spec.chunk_latents),
        adapter=told,
        problems="; ".join(problems),
    )


def rows(plan: MemoryPlan) -> Iterator[Row]:
    """The plan as lines for people."""
    for name, nbytes in plan.weights.items():
        if name == _ADAPTER and not nbytes:
            continue  # merged
        stored = f", {plan.stored[name] / _GB:.2f} GB in its files" if plan.stored[name] else ", no files"
        stored = ", its files are not here yet" if name in plan.to_come else stored
        yield f"memory {name}", f"{nbytes / _GB:.2f} GB: {plan.parameters[name] / 1e9:.3f} B parameters{stored}"
    yield "memory decoder", f"{plan.decoder_memory / _GB:.2f} GB: what it remembers from one latent frame to the next"
    yield "memory prompts", f"{plan.prompts / _GB:.2f} GB: keys and values of {_KEPT_PROMPTS} prompts"
    yield "memory history", f"{plan.history / _GB:.3f} GB: the latents that a chunk continues, and its own"
    yield "memory in all", f"{plan.total / _GB:.2f} GB and what kernels take while they run{_of_gpu(plan.total)}"
    if plan.adapter:
        yield "adapter", plan.adapter
    if plan.to_come:
        yield "weights", f"not here yet; `serve` fetches {sum(plan.to_come.values()) / _GB:.1f} GB"
    if plan.problems:
        yield "can be loaded", f"NO: {plan.problems}"
    elif plan.to_come:
        yield "can be loaded", "its configs can; tensors are looked at when they are here"
    else:
        yield "can be loaded", "yes: every tensor has its name and shape"


def _of_gpu(total: int) -> str:
    if not torch.cuda.is_available():
        return "; there is no GPU here"
    free, whole = torch.cuda.mem_get_info()
    verdict = "" if total < free else ": too little"
    return f"; the GPU has {free / _GB:.1f} of {whole / _GB:.1f} GB free{verdict}"


def _missing_beside(folder: HeliosFolder, decoder: DecoderKind) -> list[str]:
    """What else loading would stumble over."""
    problems = []
    checks: list[Callable[[], object]] = [lambda: PromptTokenizer(folder.path / TOKENIZER)]
    if decoder is DecoderKind.TINY or tiny_decoder_file(folder.path) is not None:
        checks.append(lambda: tiny_decoder(folder.path))
    for check in checks:
        try:
            check()
        except CheckpointError as exc:
            problems.append(str(exc))
    return problems


def _tiny_decoder_sizes(folder: HeliosFolder) -> tuple[int, int]:
    """Parameters, and bytes in its file: 0 where there is none, or one that cannot be read, which is said elsewhere."""
    parameters = sum(tensor.numel() for tensor in empty_tiny_decoder().state_dict().values())
    file = tiny_decoder_file(folder.path)
    try:
        return parameters, 0 if file is None else sum(tensor.nbytes for tensor in read_weights(file).values())
    except CheckpointError:
        return parameters, 0


def _of_adapter(path: Path, transformer: Component, problems: list[str]) -> tuple[str, int, int]:
    """What an adapter brings, in words; parameters and bytes that it adds: a LoRA is merged and adds nothing, camera
    channels widen the transformer's first layers and bring a network of their own, in float32. What does not fit joins
    `problems`."""
    try:
        adapter = read_adapter(path, device="meta")
    except CheckpointError as exc:
        problems.append(str(exc))
        return "NO: it cannot be read as one", 0, 0
    fits = "fits the transformer"
    try:
        adapter.check(transformer.module)  # type: ignore[arg-type]  # the transformer's part
        conditioner_of(adapter)
    except CheckpointError as exc:
        problems.append(str(exc))
        fits = "does NOT fit"
    made = sum(tensor.numel() for tensor in adapter.conditioner.values())
    added, nbytes = made, made * torch.float32.itemsize
    for name, tensor in transformer.module.state_dict().items():
        if adapter.camera_channels and name.split(".")[0] in PATCHES and tensor.ndim > 1:
            widening = tensor[:, 0].numel() * adapter.camera_channels
            added, nbytes = added + widening, nbytes + widening * transformer.dtype_of(name).itemsize
    return f"{adapter.brings}; {fits}", added, nbytes


def _saved_by_fp8(part: Component) -> int:
    """FP8 halves the weights of the blocks' products: two bytes a number become one, and a scale an output channel."""
    saved = 0
    for name, tensor in part.module.state_dict().items():
        product = name.startswith("blocks.") and tensor.ndim == 2 and not _is_prompts(name)
        if product and part.dtype_of(name) is torch.bfloat16:
            saved += tensor.numel() - 4 * tensor.shape[0]
    return saved


def _is_prompts(name: str) -> bool:
    """Cross-attention's keys and values run once a prompt and stay in bf16."""
    return ".attn2.to_k." in name or ".attn2.to_v." in name
