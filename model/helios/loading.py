"""A Helios folder on torch, ready for the chunk loop. Needs the torch extra."""

from __future__ import annotations

from pathlib import Path

import torch
from tqdm import tqdm

from model.fast.graph import fast_denoiser_graph, fast_runner
from model.helios.components import Dtype
from model.helios.graphs import DecoderKind, load_graphs, streaming_decoders, tiny_decoder, tiny_decoder_file
from model.helios.layout import TOKENIZER, GenerationConfig
from model.helios.text import PromptTokenizer
from model.networks.denoiser import batched, denoiser_graph
from model.networks.view_denoiser import view_denoiser_graph
from model.pipeline.loaded_model import LoadedModel
from model.precision import Precision
from model.runners.base import ModuleRunner
from model.runners.torch import TorchGraph, TorchRunner
from model.spec import Graph, ModelSpec


class _Bars:
    """A progress bar for each part that is read, on a terminal alone."""

    def __init__(self) -> None:
        self._bars: dict[str, tqdm[None]] = {}

    def __call__(self, part: str, done: int, total: int) -> None:
        bar = self._bars.get(part)
        if bar is None:
            bar = self._bars[part] = tqdm(desc=part, total=total, unit="B", unit_scale=True, disable=None)
        bar.update(done - bar.n)
        if done >= total:
            bar.close()


def load(
    folder: Path,
    session: GenerationConfig,
    *,
    threads: int,
    precision: Precision | None = None,
    decoder: DecoderKind = DecoderKind.WAN,
    vae_dtype: Dtype | None = None,
    view: bool = False,
    adapter: Path | None = None,
) -> LoadedModel:
    """The folder's networks on the first GPU, or on the CPU where there is none.

    threads: that torch may use on a CPU. precision: of the denoiser's large products; None is bf16 on a GPU and fp32 on
    a CPU. vae_dtype: of encoder and decoder; None goes with the precision. view: gives the denoiser room for a view in
    its history. adapter: weights to merge into the transformer.

    Raises: CheckpointError, SpecError: the folder does not load as asked. RunnerError: the precision does not fit.
    """
    torch.set_num_threads(threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen = precision or (Precision.BF16 if device == "cuda" else Precision.FP32)
    dtype = Dtype.FP32 if chosen is Precision.FP32 else Dtype.BF16
    plain = device == "cpu" and chosen is Precision.FP32
    plain_form = view_denoiser_graph if view else denoiser_graph
    tokenize = PromptTokenizer(folder / TOKENIZER)  # first: it costs nothing, and may be what is missing
    spec, graphs = load_graphs(
        folder,
        session,
        device=device,
        dtype=dtype,
        vae_dtype=vae_dtype or dtype,
        decoder=decoder,
        denoiser=plain_form if plain else lambda model, spec: fast_denoiser_graph(model, spec, chosen, view=view),
        adapter=adapter,
        report=_Bars(),
    )
    if decoder is DecoderKind.WAN:
        graphs |= tiny_beside(folder, spec, device=device, dtype=vae_dtype or dtype)
    text_encoder = graphs.pop(Graph.TEXT_ENCODER)
    if plain:
        graphs[Graph.DENOISER] = batched(graphs[Graph.DENOISER])
    runner: ModuleRunner = TorchRunner(graphs) if plain else fast_runner(spec, graphs, device=device, precision=chosen)
    return LoadedModel(
        spec=spec,
        runner=runner,
        runner_name=f"torch {chosen} {decoder}",
        text_runner=TorchRunner({Graph.TEXT_ENCODER: text_encoder}, device=device),
        tokenize=tokenize,
        view_on_request=True,
    )


_NAMES = {Graph.DECODER_FIRST: Graph.TINY_DECODER_FIRST, Graph.DECODER: Graph.TINY_DECODER}


def tiny_beside(path: Path, spec: ModelSpec, *, device: str, dtype: Dtype) -> dict[str, TorchGraph]:
    """`tiny_decoder_first` and `tiny_decoder` of a Helios folder; none where its weights are not beside the model's.

    Raises: CheckpointError: they are there and do not fit.
    """
    if tiny_decoder_file(path) is None:
        return {}
    decoders = streaming_decoders(spec, None, tiny_decoder(path).to(device, dtype.torch))
    return {str(_NAMES[name]): graph for name, graph in decoders.items()}
