"""Loads a model from its options: finds the files, chooses the runner, builds the pipeline.

Runners are imported by name when they are needed; nothing here imports torch.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from bridge.errors import ConfigError, EngineUnavailable
from model.camera_control.method import CameraMethod
from model.cli_args import install
from model.errors import ModelError
from model.helios.layout import (
    NATIVE_HEIGHT,
    NATIVE_WIDTH,
    TOKENIZER,
    TRAINED_CHUNK_LATENTS,
    GenerationConfig,
    is_helios_folder,
)
from model.pipeline.loaded_model import LoadedModel
from model.pipeline.text_conditioning import Tokenize
from model.precision import Precision
from model.runners.base import ModuleRunner
from model.scene import blockout
from model.spec import SPEC_FILE, ModelSpec, read_spec

SHIPPED_MODEL = Path(blockout.__file__).parents[1] / "demo" / "weights"
DEMO_CHUNK_LATENTS = (1, 2, 3)
"""Latent frames a chunk that the shipped model was trained on."""
_TORCH_WEIGHTS = "weights.safetensors"  # `model.demo.checkpoint`'s; an export has them in its graphs

_Runners = Mapping[str, tuple[str, str, str]]
_TORCH = ("torch", install("torch"))
_RUNNERS: _Runners = {
    "onnxruntime": (
        "model.runners.onnxruntime:create",
        "onnxruntime",
        "it is a base dependency: reinstall helios-bridge",
    ),
    "torch": ("model.demo.checkpoint:create_torch_runner", *_TORCH),
    "tensorrt": ("trt_build.serving:create", "TensorRT and an NVIDIA driver", install("tensorrt")),
    "rtx": ("trt_build.serving_rtx:create", "TensorRT-RTX and an NVIDIA driver", install("rtx")),
}
_HELIOS: _Runners = {"torch": ("model.helios.loading:load", *_TORCH)}
_TOKENIZER = ("model.helios.text:PromptTokenizer", "tokenizers and ftfy", "pip install tokenizers ftfy")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelOptions:
    """What the command line leaves to the model. None and "auto": as the model was made.

    frame_size: (width, height), chunk_latents, steps and amplify_first_chunk are a checkpoint's to choose; an exported
    model has them fixed. camera: a method whose inputs the network must be given when it is loaded; which one comes
    into force is the engine's matter. adapter: weights to merge into a checkpoint's transformer.
    """

    model: str
    runner: str = "auto"
    threads: int = 1
    precision: str = "auto"
    decoder: str = "auto"
    vae_precision: str = "auto"
    frame_size: tuple[int, int] | None = None
    chunk_latents: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    amplify_first_chunk: bool = True
    camera: str = "auto"
    adapter: Path | None = None


def load_model(options: ModelOptions) -> tuple[LoadedModel, tuple[int, ...]]:
    """The model, and the chunk lengths in latent frames that it is served with.

    Raises: EngineUnavailable: there is no such model, or what it needs is not installed. ConfigError: an option does
    not go with it. ModelError: its files are broken or do not fit.
    """
    folder = folder_of(options.model)
    return _helios(folder, options) if is_helios_folder(folder) else _exported(folder, options)


def folder_of(model: str) -> Path:
    """Where a model lies that is a checkpoint or was exported.

    Raises: EngineUnavailable: there is no such folder, or neither lies in it.
    """
    folder = SHIPPED_MODEL if model == "demo" else Path(model)
    if not is_helios_folder(folder) and not (folder / SPEC_FILE).is_file():
        found = "" if folder.is_dir() else ", which is no folder"
        raise EngineUnavailable(
            f"model: got {model!r}{found}, expected 'demo', a Diffusers folder of Helios, or a folder with {SPEC_FILE} "
            "and *.onnx graphs"
        )
    return folder


def exported_folder_of(model: str, runner: str) -> Path:
    """As `folder_of`, for a runner that runs exports alone. Raises: ConfigError: a checkpoint lies there."""
    folder = folder_of(model)
    if is_helios_folder(folder):
        raise _not_exported(runner)
    return folder


def _not_exported(runner: str) -> ConfigError:
    return ConfigError(
        f"runner: got {runner} for a Diffusers folder, which torch runs; for another runner export it "
        "first: python -m trt_build export --model FOLDER --out DIR"
    )


def _helios(folder: Path, options: ModelOptions) -> tuple[LoadedModel, tuple[int, ...]]:
    if options.runner not in ("auto", "torch"):
        raise _not_exported(options.runner)
    session = session_of(options.frame_size, options.chunk_latents, options.steps, amplify=options.amplify_first_chunk)
    load = _backend("torch", _HELIOS["torch"])
    kinds = importlib.import_module("model.helios.graphs").DecoderKind
    dtypes = importlib.import_module("model.helios.components").Dtype
    loaded: LoadedModel = load(
        folder,
        session,
        threads=options.threads,
        precision=None if options.precision == "auto" else Precision(options.precision),
        decoder=kinds("wan" if options.decoder == "auto" else options.decoder),
        vae_dtype=None if options.vae_precision == "auto" else dtypes(options.vae_precision),
        view=options.camera == CameraMethod.WARP_HISTORY,
        adapter=options.adapter,
    )
    return loaded, options.chunk_latents or (TRAINED_CHUNK_LATENTS,)


def session_of(
    frame_size: tuple[int, int] | None, chunk_latents: tuple[int, ...], steps: tuple[int, ...], *, amplify: bool
) -> GenerationConfig:
    """A checkpoint's session of those options; None and empty are its own choice."""
    width, height = frame_size or (NATIVE_WIDTH, NATIVE_HEIGHT)
    return GenerationConfig(
        frame_height=height,
        frame_width=width,
        chunk_latents=max(chunk_latents or (TRAINED_CHUNK_LATENTS,)),
        stage_steps=steps or GenerationConfig().stage_steps,
        amplify_first_chunk=amplify,
    )


def _exported(folder: Path, options: ModelOptions) -> tuple[LoadedModel, tuple[int, ...]]:
    fixed = {
        "--decoder": options.decoder != "auto", "--vae-precision": options.vae_precision != "auto",
        "--size": options.frame_size is not None, "--adapter": options.adapter is not None,
    }  # fmt: skip
    if asked := [name for name, given in fixed.items() if given]:
        raise ConfigError(f"{', '.join(asked)}: {options.model} was exported with these fixed; leave them out")
    runner = options.runner
    if runner == "auto":
        runner = "onnxruntime" if options.precision == "auto" else "torch"
    if runner == "torch" and not (folder / _TORCH_WEIGHTS).is_file():
        raise ConfigError(
            f"{options.model} is an export{_exported_form(folder)}; --runner torch and --precision are for models with "
            f"{_TORCH_WEIGHTS}"
        )
    spec = _with_steps(read_spec(folder), options)
    chosen = {} if options.precision == "auto" else {"precision": options.precision}
    made: ModuleRunner = _backend(runner, _RUNNERS[runner])(folder, threads=options.threads, **chosen)
    loaded = LoadedModel(
        spec=spec,
        runner=made,
        runner_name=" ".join([runner, *chosen.values()]),
        tokenize=_tokenizer(spec, folder),
    )
    return loaded, options.chunk_latents or _trained_chunks(spec)


def _with_steps(spec: ModelSpec, options: ModelOptions) -> ModelSpec:
    """Steps are the loop's, not the graphs'. Raises: ConfigError: this model was trained on its own number of them."""
    if not spec.text_vocabulary:
        amplify = spec.amplify_first_chunk and options.amplify_first_chunk
        return replace(spec, stage_steps=options.steps or spec.stage_steps, amplify_first_chunk=amplify)
    if options.steps:
        own = ",".join(map(str, spec.stage_steps))
        raise ConfigError(f"--steps: {options.model} was trained on {own}; leave it out")
    return spec


def _exported_form(folder: Path) -> str:
    """An export's precision and who runs it, in words; "" where it says nothing of itself."""
    manifest = importlib.import_module("trt_build.manifest")
    try:
        export = manifest.read_manifest(folder)
    except ModelError:
        return ""
    runners = ["onnxruntime"] if export.precision == Precision.FP32 else []
    if export.target == manifest.Target.TENSORRT:
        runners += ["rtx", "tensorrt"]
    chosen = "its precision was chosen by `trt_build export`"
    return f" in {export.precision} ({chosen}), which --runner {', '.join(runners)} runs"


def _trained_chunks(spec: ModelSpec) -> tuple[int, ...]:
    """The lengths that a model is at its best with: the demo's three, or the one in its spec."""
    return DEMO_CHUNK_LATENTS if spec.text_vocabulary else (spec.chunk_latents,)


def _tokenizer(spec: ModelSpec, folder: Path) -> Tokenize | None:
    if spec.text_vocabulary:
        return None
    tokenize: Tokenize = _backend("tokenizer", _TOKENIZER)(folder / TOKENIZER)
    return tokenize


def _backend(name: str, entry: tuple[str, str, str]) -> Callable[..., Any]:
    """Raises: EngineUnavailable: what it needs is not installed."""
    where, needs, remedy = entry
    module, attribute = where.split(":")
    try:
        loaded: Callable[..., Any] = getattr(importlib.import_module(module), attribute)
    except ImportError as exc:  # the package is not there, or a library that it loads
        raise EngineUnavailable(f"runner {name} needs {needs} ({exc}); {remedy}") from exc
    return loaded
