"""The command-line arguments that choose a model, its runner and its form."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path
from typing import Final

from bridge.config import CAMERAS, DECODERS, PRECISIONS, RUNNERS, SIDE_PX, VAE_PRECISIONS, ModelForm
from model.cli_args import frame_size, stage_steps, whole_numbers

_HUB: Final = "bridge.backends.checkpoint_hub"
_OWN: Final = ("demo", "synthetic", "axes")


def add_model(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", default="demo", metavar="demo|FOLDER|ID",
        help="the shipped model, a folder of one, or a Helios checkpoint by its id (BestWishYsh/Helios-Distilled)",
    )  # fmt: skip
    parser.add_argument("--runner", default="auto", choices=RUNNERS, help="what runs the network")
    parser.add_argument(
        "--precision", default="auto", choices=PRECISIONS,
        help="of the network's large products, on torch (auto there: bf16 on a GPU, fp32 on a CPU)",
    )  # fmt: skip
    parser.add_argument(
        "--camera", default="auto", choices=CAMERAS,
        help="how a pose reaches the pixels (auto: the strongest way that the model has)",
    )  # fmt: skip
    form = parser.add_argument_group("what a Helios checkpoint leaves open")
    form.add_argument("--offline", action="store_true", help="take the files that are here, fetch nothing")
    form.add_argument("--decoder", default="auto", choices=DECODERS, help="wan: its own; tiny: taew2_1, far cheaper")
    form.add_argument("--vae-precision", default="auto", choices=VAE_PRECISIONS, help="of encoder and decoder")
    form.add_argument(
        "--size", type=frame_size, metavar="WIDTHxHEIGHT", help=f"of its frames, multiples of {SIDE_PX} (640x384)"
    )
    form.add_argument(
        "--chunk-latents", type=whole_numbers, default=(), metavar="N,...",
        help="latent frames a chunk, 1 to 9; the public weights were trained on 9, shorter ones answer sooner",
    )  # fmt: skip
    form.add_argument("--steps", type=stage_steps, default=(), metavar="N,N,N", help="denoising steps a stage (1,1,1)")
    form.add_argument(
        "--no-amplify-first-chunk", action="store_true", help="do not double a video's first chunk's steps"
    )
    form.add_argument("--blend-chunks", type=int, default=1, metavar="N", help="chunks a new prompt comes in over (1)")
    form.add_argument("--adapter", type=Path, metavar="FILE", help="a LoRA, or camera channels, in safetensors")


def form_of(options: argparse.Namespace) -> ModelForm:
    """Raises: ConfigError: a value is out of bounds."""
    return ModelForm(
        decoder=options.decoder, vae_precision=options.vae_precision, frame_size=options.size,
        chunk_latents=options.chunk_latents, steps=options.steps,
        amplify_first_chunk=not options.no_amplify_first_chunk, blend_chunks=options.blend_chunks,
        camera=options.camera, adapter=options.adapter,
    )  # fmt: skip


def arguments_of(form: ModelForm) -> list[str]:
    """What the command line would have to say for `form`; the inverse of `form_of`."""
    arguments = ["--decoder", form.decoder, "--vae-precision", form.vae_precision]
    arguments += ["--blend-chunks", str(form.blend_chunks), "--camera", form.camera]
    if form.adapter is not None:
        arguments += ["--adapter", str(form.adapter)]
    if form.frame_size is not None:
        arguments += ["--size", f"{form.frame_size[0]}x{form.frame_size[1]}"]
    for name, numbers in (("--chunk-latents", form.chunk_latents), ("--steps", form.steps)):
        if numbers:
            arguments += [name, ",".join(map(str, numbers))]
    if not form.amplify_first_chunk:
        arguments.append("--no-amplify-first-chunk")
    return arguments


def model_of(options: argparse.Namespace) -> str:
    """`--model` with a checkpoint's id turned into the folder that holds it, fetched if need be.

    Raises: EngineUnavailable, ConfigError: it is not here and cannot be had.
    """
    name: str = options.model
    if name in _OWN:
        return name
    found: str = importlib.import_module(_HUB).folder_of(name, offline=options.offline)
    return found
