"""What `--model` names -> a model's spec, torch graphs and what to calibrate it on. Needs the torch extra."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from model.demo.world.walks import walk_requests
from model.helios.layout import TOKENIZER, TOKENIZER_FILE, is_helios_folder
from model.pipeline.state import ChunkRequest
from model.pipeline.text_conditioning import Tokenize
from model.runners.torch import TorchGraph
from model.spec import ModelSpec
from trt_build.errors import BuildError
from trt_build.model_names import model_folder

_DEMO_LOADER = "model.demo.checkpoint:load_graphs"
_HELIOS_PROMPTS = (
    "A walk through a walled garden at noon, gravel paths between hedges, a fountain in the middle.",
    "A narrow street in an old harbour town at night, wet stone, lamps, light rain.",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """graphs: in float32, the caller's to change. requests: draws the chunks that calibration makes.

    tokenize: makes the tokeniser, None where the spec names it. files: what else serving reads, by its place in the
    exported folder.
    """

    spec: ModelSpec
    graphs: Mapping[str, TorchGraph]
    requests: Callable[[], Sequence[ChunkRequest]]
    tokenize: Callable[[], Tokenize | None] = lambda: None
    files: Mapping[str, Path] = field(default_factory=dict)


def load_source(
    model: str, *, decoder: str = "wan", frame_size: tuple[int, int] | None = None, view: bool = False
) -> Source:
    """Fresh modules at every call.

    model: "demo", the folder of a training run of the demo model, or a Diffusers folder of Helios, whose large weights
    stay in their files. decoder: of Helios, "wan" or "tiny". frame_size: of Helios, (width, height) in pixels; None is
    640x384. view: of Helios, with room for a view in the denoiser's history.

    Raises: BuildError: there is no such folder, or it is none of Helios and a view is asked for. ModelError: it does
    not load.
    """
    folder = model_folder(model)
    if folder is not None and is_helios_folder(folder):
        return _helios(folder, decoder, frame_size, view=view)
    if view:
        raise BuildError(f"{model} has camera channels and no room for a view; --camera warp-history is for Helios")
    module, _, factory = _DEMO_LOADER.partition(":")
    spec, graphs = getattr(importlib.import_module(module), factory)(folder)
    return Source(spec=spec, graphs=graphs, requests=lambda: walk_requests(spec, walks=3, chunks=3))


def _helios(folder: Path, decoder: str, frame_size: tuple[int, int] | None, *, view: bool) -> Source:
    from model.helios import components
    from model.helios.components import Dtype
    from model.helios.graphs import DecoderKind, export_graphs, tiny_decoder
    from model.helios.layout import PARTS, GenerationConfig, read_folder, spec_of
    from model.helios.streamed import load_streamed
    from model.helios.text import PromptTokenizer

    layout = read_folder(folder)
    session = GenerationConfig(frame_width=frame_size[0], frame_height=frame_size[1]) if frame_size else None
    spec = spec_of(layout, session)
    tiny = tiny_decoder(folder) if DecoderKind(decoder) is DecoderKind.TINY else None
    found = components.rehearse(layout, dtypes=dict.fromkeys(PARTS, Dtype.FP32))
    loaded = {name: load_streamed(part) for name, part in found.items()}

    def requests() -> list[ChunkRequest]:
        """A chunk from nothing and one that continues it, under each prompt."""
        return [
            ChunkRequest(texts=(prompt,) * spec.chunk_latents, steps=spec.stage_steps, cut=not chunk)
            for prompt in _HELIOS_PROMPTS
            for chunk in range(2)
        ]

    return Source(
        spec=spec, graphs=export_graphs(spec, loaded, tiny, view=view), requests=requests,
        tokenize=lambda: PromptTokenizer(folder / TOKENIZER),
        files={f"{TOKENIZER}/{TOKENIZER_FILE}": folder / TOKENIZER / TOKENIZER_FILE},
    )  # fmt: skip
