"""What a model is: sizes, graph names and schedule, read from and written to `spec.json` beside its graphs.

Facts only: no weights, no runtime and no torch. Everything that runs a model is told about it through `ModelSpec`.
"""

from __future__ import annotations

import enum
import json
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from model.errors import SpecError

SPEC_FILE = "spec.json"


class Graph(enum.StrEnum):
    """The graphs a model is made of; a file or module carries this name on every runner."""

    TEXT_ENCODER = "text_encoder"
    CONDITIONER = "conditioner"
    DENOISER = "denoiser"
    DECODER_FIRST = "decoder_first"
    """Where there is one, it decodes a chunk's first latent frame, and `decoder` each one after it."""
    DECODER = "decoder"
    TINY_DECODER_FIRST = "tiny_decoder_first"
    TINY_DECODER = "tiny_decoder"
    """Where there are these, they decode in place of those two, worse and far sooner."""
    ENCODER_FIRST = "encoder_first"
    """Where there is one, it encodes a clip's first frame, and `encoder` each four after it."""
    ENCODER = "encoder"


DECODERS = (Graph.DECODER_FIRST, Graph.DECODER, Graph.TINY_DECODER_FIRST, Graph.TINY_DECODER)
"""They run beside the other graphs where a runner can, and in their own order."""


class Decode(enum.StrEnum):
    """How latents become frames: with memory of the chunks before, or each chunk on its own (Wan's VAE)."""

    STREAMING = "streaming"
    PER_CHUNK = "per_chunk"


class TimeShift(enum.StrEnum):
    LINEAR = "linear"
    EXPONENTIAL = "exponential"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelSpec:
    """One model. The defaults are Helios-14B's where there is one; sizes that tell models apart have none.

    history_sizes: latent frames of long, mid and short history, oldest first (Helios: 16, 2, 1).
    keep_prefix: the video's first latent frame stays in the short history with frame index 0.
    conditioning_channels: channels beside the latents, for new and history frames alike; 0 means none.
    initial_text_state: the text encoder's memory before any text; empty means that it has none.
    text_vocabulary, text_words: of the word-hash tokeniser; 0 means that the model brings another one.
    base_* and max_*: the line from tokens a stage to `mu`, used only with dynamic shifting.
    latents_inv_std: 1 / standard deviation, as the decoder divides by it (reference pipelines call it `latents_std`).
    """

    name: str
    frame_height: int
    frame_width: int
    fps: float
    decode: Decode
    chunk_latents: int
    latents_mean: tuple[float, ...]
    latents_inv_std: tuple[float, ...]
    text_tokens: int
    text_dim: int
    latent_channels: int = 16
    spatial_stride: int = 8
    temporal_stride: int = 4
    max_chunk_latents: int = 9
    history_sizes: tuple[int, ...] = (16, 2, 1)
    keep_prefix: bool = True
    conditioning_channels: int = 0
    initial_text_state: tuple[float, ...] = ()
    text_vocabulary: int = 0
    text_words: int = 0
    patch_size: tuple[int, ...] = (1, 2, 2)
    stages: int = 3
    stage_steps: tuple[int, ...] = (1, 1, 1)
    amplify_first_chunk: bool = False
    num_train_timesteps: int = 1000
    shift: float = 1.0
    stage_range: tuple[float, ...] = (0.0, 1 / 3, 2 / 3, 1.0)
    gamma: float = 1 / 3
    use_dynamic_shifting: bool = False
    time_shift_type: TimeShift = TimeShift.LINEAR
    base_image_seq_len: int = 256
    max_image_seq_len: int = 4096
    base_shift: float = 0.5
    max_shift: float = 1.15

    def __post_init__(self) -> None:
        stage_px = self.spatial_stride * 2 ** (self.stages - 1)
        for size, patch in ((self.frame_height, self.patch_size[1]), (self.frame_width, self.patch_size[2])):
            if size <= 0 or size % (stage_px * patch):
                raise SpecError(f"frame size {size} is not a positive multiple of {stage_px * patch} pixels")
        if self.patch_size[0] != 1 or len(self.patch_size) != 3:
            raise SpecError(f"patch_size must be (1, rows, columns), got {self.patch_size}")
        if len(self.history_sizes) != 3 or min(self.history_sizes) < 1:
            raise SpecError(f"history_sizes must be three positive numbers, got {self.history_sizes}")
        if self.stages < 2:
            raise SpecError(f"a pyramid has at least 2 stages, got {self.stages}")
        if len(self.stage_steps) != self.stages or min(self.stage_steps) < 1:
            raise SpecError(f"stage_steps must be {self.stages} positive numbers, got {self.stage_steps}")
        if len(self.stage_range) != self.stages + 1:
            raise SpecError(f"stage_range must have {self.stages + 1} numbers, got {len(self.stage_range)}")
        if not 1 <= self.chunk_latents <= self.max_chunk_latents:
            raise SpecError(f"chunk_latents must be in 1..{self.max_chunk_latents}, got {self.chunk_latents}")
        if self.use_dynamic_shifting and self.shift != 1.0:
            raise SpecError(f"dynamic shifting needs shift 1.0, got {self.shift}")
        for name in ("latents_mean", "latents_inv_std"):
            if len(getattr(self, name)) != self.latent_channels:
                raise SpecError(f"{name} must have {self.latent_channels} numbers, got {len(getattr(self, name))}")

    @property
    def latent_height(self) -> int:
        return self.frame_height // self.spatial_stride

    @property
    def latent_width(self) -> int:
        return self.frame_width // self.spatial_stride

    @property
    def history_latents(self) -> int:
        """Latent frames of history without the prefix."""
        return sum(self.history_sizes)

    @property
    def denoiser_channels(self) -> int:
        return self.latent_channels + self.conditioning_channels

    @property
    def text_state_size(self) -> int:
        return len(self.initial_text_state)

    def frames_in(self, latents: int) -> int:
        """Frames that a chunk of `latents` latent frames decodes to."""
        if self.decode is Decode.STREAMING:
            return latents * self.temporal_stride
        return (latents - 1) * self.temporal_stride + 1


def read_spec(path: Path) -> ModelSpec:
    """Reads a spec file, or the one in a folder.

    Raises: SpecError: no such file, no JSON object, a key is missing or unknown, or a value is of the wrong type.
    """
    path = path / SPEC_FILE if path.is_dir() else path
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise SpecError(f"cannot read {path}: {exc.strerror}") from exc
    except ValueError as exc:
        raise SpecError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(loaded, dict):
        raise SpecError(f"{path} must hold one JSON object, got {type(loaded).__name__}")
    known = {field.name for field in fields(ModelSpec)}
    if unknown := sorted(loaded.keys() - known):
        raise SpecError(f"{path} has keys that this version does not know: {', '.join(unknown)}")
    if missing := sorted(known - loaded.keys()):
        raise SpecError(f"{path} lacks {', '.join(missing)}")
    hints = get_type_hints(ModelSpec)
    values: dict[str, Any] = {key: _value(key, hints[key], value) for key, value in loaded.items()}
    return ModelSpec(**values)


def write_spec(spec: ModelSpec, path: Path) -> None:
    """Writes every field, so that a later default never changes what an old file means."""
    path = path / SPEC_FILE if path.is_dir() else path
    path.write_text(json.dumps(asdict(spec), indent=2) + "\n", encoding="utf-8")


def _value(key: str, wanted: Any, value: object) -> object:
    """`value` as the field's type. Raises: SpecError: it is not of it."""
    if get_origin(wanted) is tuple:
        if not isinstance(value, list):
            raise SpecError(f"{key} must be a list, got {value!r}")
        return tuple(_value(key, get_args(wanted)[0], item) for item in value)
    if issubclass(wanted, enum.StrEnum):
        try:
            return wanted(value)
        except ValueError as exc:
            raise SpecError(f"{key} must be one of {', '.join(wanted)}, got {value!r}") from exc
    if wanted is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if type(value) is not wanted:
        raise SpecError(f"{key} must be {wanted.__name__}, got {value!r}")
    return value
