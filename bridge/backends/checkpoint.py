"""Examines a Helios checkpoint for `doctor`: what loading it needs, without allocating memory. Imported by name."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path

from bridge.backends.loading import session_of
from bridge.config import ModelForm
from bridge.errors import ConfigError
from model.cli_args import install
from model.errors import ModelError
from model.helios.layout import is_helios_folder
from model.precision import Precision

Row = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Examined:
    """rows: a line for each thing that takes memory, and whether it can be loaded. loadable: it can, as far as is known
    of what is not fetched yet. runs_here: this machine can make a frame of it within a doctor's patience."""

    rows: tuple[Row, ...]
    loadable: bool
    runs_here: bool


def is_checkpoint(model: str) -> bool:
    """Whether `--model` is a Diffusers folder of Helios."""
    return is_helios_folder(Path(model))


def examine(model: str, form: ModelForm, precision: str, *, fetched_later: bool) -> Examined:
    """Rehearses loading on the meta device. fetched_later: weights that are not here are no mistake."""
    try:
        graphs = importlib.import_module("model.helios.graphs")
        memory_plan = importlib.import_module("model.helios.memory_plan")
        dtypes = importlib.import_module("model.helios.components").Dtype
        chosen = Precision(Precision.BF16 if precision == "auto" else precision)
        vae = form.vae_precision
        if vae == "auto":
            vae = "fp32" if chosen is Precision.FP32 else "bf16"
        plan = memory_plan.plan(
            Path(model),
            session_of(form.frame_size, form.chunk_latents, form.steps, amplify=form.amplify_first_chunk),
            precision=chosen,
            decoder=graphs.DecoderKind("wan" if form.decoder == "auto" else form.decoder),
            vae_dtype=dtypes(vae),
            adapter=form.adapter,
            fetched_later=fetched_later,
        )
    except ImportError as exc:
        row = ("memory plan", f"none: {install('torch')} ({exc})")
        return Examined((row,), loadable=False, runs_here=False)
    except (ModelError, ConfigError) as exc:
        return Examined((("can be loaded", f"NO: {exc}"),), loadable=False, runs_here=False)
    spec = plan.spec
    frames, steps = spec.frames_in(spec.chunk_latents), ",".join(map(str, spec.stage_steps))
    about = f"{spec.name}: {spec.frame_width}x{spec.frame_height}, {frames} frames a chunk, steps {steps}, {chosen}"
    if precision == "auto" and not plan.gpu_here:
        about += " as on a GPU (there is none here: a CPU would take fp32)"
    return Examined(
        (("checkpoint", about), *memory_plan.rows(plan)), loadable=not plan.problems, runs_here=plan.runs_here
    )
