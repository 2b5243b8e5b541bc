"""A Helios checkpoint as it lies on disk: the Diffusers folder layout, and what its configs say of the model.

`model_index.json` names the parts; each has a folder of its own with `config.json` (the scheduler's is
`scheduler_config.json`) and safetensors beside it. Only JSON is read here: no weights, no torch.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.errors import CheckpointError
from model.spec import Decode, ModelSpec, TimeShift

INDEX_FILE = "model_index.json"
TOKENIZER_FILE = "tokenizer.json"
TRANSFORMER, TEXT_ENCODER, VAE, SCHEDULER, TOKENIZER = "transformer", "text_encoder", "vae", "scheduler", "tokenizer"
PARTS = (TRANSFORMER, TEXT_ENCODER, VAE)
"""The parts that have weights."""

NATIVE_HEIGHT, NATIVE_WIDTH, NATIVE_FPS = 384, 640, 24.0
"""What Helios was trained on (arXiv 2603.04379)."""

TRAINED_CHUNK_LATENTS = 9
TEXT_TOKENS = 512  # `max_sequence_length` of the reference pipeline
HISTORY_SIZES = (16, 2, 1)  # `history_sizes` of the reference pipeline
_SCHEDULER_CLASS = "HeliosDMDScheduler"
_WITHOUT_GUIDANCE = (
    "this loop runs without guidance and in few steps, which the distilled weights alone allow: Helios-Distilled"
)

Config = Mapping[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class HeliosFolder:
    """The configs of one checkpoint, by part."""

    path: Path
    index: Config
    transformer: Config
    text_encoder: Config
    vae: Config
    scheduler: Config

    def config(self, part: str) -> Config:
        """Of one of `PARTS`."""
        return {TRANSFORMER: self.transformer, TEXT_ENCODER: self.text_encoder, VAE: self.vae}[part]


@dataclass(frozen=True, slots=True, kw_only=True)
class GenerationConfig:
    """What the checkpoint leaves open. The defaults are what the authors' own demo does, but for the steps: one a stage
    is the setting behind their real-time figure.

    amplify_first_chunk: a video's first chunk gets twice the steps.
    """

    frame_height: int = NATIVE_HEIGHT
    frame_width: int = NATIVE_WIDTH
    chunk_latents: int = TRAINED_CHUNK_LATENTS
    stage_steps: tuple[int, ...] = (1, 1, 1)
    amplify_first_chunk: bool = True
    keep_prefix: bool = True


def is_helios_folder(path: Path) -> bool:
    return (path / INDEX_FILE).is_file()


def read_folder(path: Path) -> HeliosFolder:
    """Raises: CheckpointError: a file is missing or no JSON object, or this is another model."""
    index = _read_json(path / INDEX_FILE)
    name = str(index.get("_class_name", ""))
    if not name.startswith("Helios"):
        raise CheckpointError(f"{path / INDEX_FILE}: got pipeline {name!r}, expected one of Helios")
    if index.get("is_distilled") is False:  # `HeliosPyramidPipeline` alone has it in its config
        raise CheckpointError(
            f"{path / INDEX_FILE}: got is_distilled false, expected a distilled checkpoint; {_WITHOUT_GUIDANCE}"
        )
    folder = HeliosFolder(
        path=path,
        index=index,
        transformer=_read_json(path / TRANSFORMER / "config.json"),
        text_encoder=_read_json(path / TEXT_ENCODER / "config.json"),
        vae=_read_json(path / VAE / "config.json"),
        scheduler=_read_json(path / SCHEDULER / "scheduler_config.json"),
    )
    _check(folder)
    return folder


def spec_of(folder: HeliosFolder, session: GenerationConfig | None = None) -> ModelSpec:
    """The checkpoint as the chunk loop is told about it. What a scheduler's config leaves out has diffusers' default.

    Raises: CheckpointError: a config lacks a value. SpecError: the session's sizes do not fit the model.
    """
    session = session or GenerationConfig()
    transformer, vae, scheduler = folder.transformer, folder.vae, folder.scheduler
    try:
        return ModelSpec(
            name=_name_of(folder.path.resolve())[:64] or "helios",
            frame_height=session.frame_height,
            frame_width=session.frame_width,
            fps=NATIVE_FPS,
            decode=Decode.PER_CHUNK,
            chunk_latents=session.chunk_latents,
            latents_mean=tuple(float(v) for v in vae["latents_mean"]),
            latents_inv_std=tuple(1.0 / float(v) for v in vae["latents_std"]),
            text_tokens=TEXT_TOKENS,
            text_dim=int(transformer["text_dim"]),
            latent_channels=int(vae["z_dim"]),
            history_sizes=HISTORY_SIZES,
            keep_prefix=session.keep_prefix,
            conditioning_channels=int(transformer["in_channels"]) - int(vae["z_dim"]),
            patch_size=tuple(int(v) for v in transformer["patch_size"]),
            stages=int(scheduler.get("stages", 3)),
            stage_steps=session.stage_steps,
            amplify_first_chunk=session.amplify_first_chunk,
            num_train_timesteps=int(scheduler.get("num_train_timesteps", 1000)),
            shift=float(scheduler.get("shift", 1.0)),
            stage_range=tuple(float(v) for v in scheduler.get("stage_range", (0.0, 1 / 3, 2 / 3, 1.0))),
            gamma=float(scheduler.get("gamma", 1 / 3)),
            use_dynamic_shifting=bool(scheduler.get("use_dynamic_shifting", False)),
            time_shift_type=TimeShift(scheduler.get("time_shift_type", "linear")),
            base_image_seq_len=int(scheduler.get("base_image_seq_len", 256)),
            max_image_seq_len=int(scheduler.get("max_image_seq_len", 4096)),
            base_shift=float(scheduler.get("base_shift", 0.5)),
            max_shift=float(scheduler.get("max_shift", 1.15)),
        )
    except KeyError as exc:
        raise CheckpointError(f"{folder.path}: a config lacks {exc}") from exc
    except (TypeError, ValueError) as exc:
        raise CheckpointError(f"{folder.path}: a config has a value of the wrong kind: {exc}") from exc


def _name_of(path: Path) -> str:
    """The folder's own, or the last part of an id in Hugging Face's cache (models--OWNER--NAME/snapshots/COMMIT)."""
    repository = path.parent.parent.name
    if path.parent.name == "snapshots" and repository.startswith("models--"):
        return repository.rpartition("--")[2]
    return path.name


def _check(folder: HeliosFolder) -> None:
    """Raises: CheckpointError: a part is of a kind that the graphs do not cover."""
    wanted: list[tuple[str, Config, str, object]] = [
        (SCHEDULER, folder.scheduler, "_class_name", _SCHEDULER_CLASS),
        (TRANSFORMER, folder.transformer, "_class_name", "HeliosTransformer3DModel"),
        (VAE, folder.vae, "_class_name", "AutoencoderKLWan"),
        (VAE, folder.vae, "scale_factor_spatial", 8),
        (VAE, folder.vae, "scale_factor_temporal", 4),
        (VAE, folder.vae, "patch_size", None),
        (VAE, folder.vae, "is_residual", False),
        (TEXT_ENCODER, folder.text_encoder, "model_type", "umt5"),
        (TEXT_ENCODER, folder.text_encoder, "d_model", folder.transformer.get("text_dim")),
    ]
    for part, config, key, value in wanted:
        if config.get(key, value) != value:
            remedy = f"; {_WITHOUT_GUIDANCE}" if part == SCHEDULER else ""
            raise CheckpointError(f"{folder.path / part}: got {key} {config[key]!r}, expected {value!r}{remedy}")


def _read_json(path: Path) -> Config:
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise CheckpointError(f"cannot read {path}: {exc.strerror}; expected a Diffusers folder of Helios") from exc
    except ValueError as exc:
        raise CheckpointError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(loaded, dict):
        raise CheckpointError(f"{path} must hold one JSON object, got {type(loaded).__name__}")
    return loaded
