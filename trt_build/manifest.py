"""`export.json`, beside the graphs that `export` wrote: where they came from and the shapes to build them for.

What `build` and `verify` need to know of an export, without torch or onnx. Sizes and names of the model itself stand in
`spec.json`.
"""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from model.precision import Precision
from model.spec import ModelSpec
from trt_build.errors import BuildError

MANIFEST_FILE = "export.json"
TOKENS_VIEW = "tokens_view"
"""The denoiser's input that says which tokens of a view are known, if it has room for one."""
FORMAT = 2  # decoders give frames in 8 bits, denoisers may have room for a view
Shape = tuple[int, ...]


class Target(enum.StrEnum):
    """The runtime that graphs are written for: each has operators that the other does not know."""

    ONNXRUNTIME = "onnxruntime"
    TENSORRT = "tensorrt"


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeRange:
    """An input's shape in one profile: smallest, the one to tune for, largest."""

    min: Shape
    opt: Shape
    max: Shape


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """One optimization profile: the inputs whose lengths vary. Inputs that are not named have one shape only."""

    name: str
    shapes: Mapping[str, ShapeRange]


@dataclass(frozen=True, slots=True, kw_only=True)
class GraphExport:
    """One graph. file: ONNX, beside the manifest; weights_file: its external data, "" if the weights are inside.

    bytes: of both files. graph_sha256: of the graph without its weights' values; weights_sha256: of the values alone,
    wherever they lie. profiles: none where no length varies.
    """

    file: str
    weights_file: str
    bytes: int
    graph_sha256: str
    weights_sha256: str
    profiles: tuple[Profile, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportManifest:
    """model, decoder: what `export` was given. view: the denoiser has room for a view. versions: of the packages that
    wrote it."""

    model: str
    decoder: str = "wan"
    view: bool = False
    target: Target
    precision: Precision
    opset: int
    graphs: Mapping[str, GraphExport]
    versions: Mapping[str, str]


def write_manifest(manifest: ExportManifest, folder: Path) -> None:
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=2) + "\n"
    (folder / MANIFEST_FILE).write_text(text, encoding="utf-8")


def read_manifest(folder: Path) -> ExportManifest:
    """Raises: BuildError: there is none, or it is not what this version writes."""
    path = folder / MANIFEST_FILE
    try:
        loaded = json.loads(path.read_text(encoding="utf-8"))
    except OSError as exc:
        raise BuildError(
            f"cannot read {path}: {exc.strerror}; give a folder that `python -m trt_build export` wrote"
        ) from exc
    except ValueError as exc:
        raise BuildError(f"{path} is not JSON: {exc}") from exc
    if not isinstance(loaded, dict) or loaded.pop("format", None) != FORMAT:
        raise BuildError(f"{path} is not of format {FORMAT}; export the model again")
    try:
        return ExportManifest(
            model=str(loaded["model"]), target=Target(loaded["target"]), precision=Precision(loaded["precision"]),
            decoder=str(loaded["decoder"]), view=bool(loaded["view"]), opset=int(loaded["opset"]),
            versions={str(k): str(v) for k, v in loaded["versions"].items()},
            graphs={str(name): _graph(graph) for name, graph in loaded["graphs"].items()},
        )  # fmt: skip
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        raise BuildError(f"{path} is damaged ({type(exc).__name__}: {exc}); export the model again") from exc


def stage_profiles(spec: ModelSpec, *, view: bool = False) -> tuple[Profile, ...]:
    """One profile for each pyramid stage of the denoiser: its latent size, 1 to max_chunk_latents frames.

    view: it has room for a view, of which none to all tokens may be known.
    """
    profiles = []
    _, rows, columns = spec.patch_size
    full = (spec.latent_height, spec.latent_width)
    tokens = (full[0] // rows) * (full[1] // columns)
    for stage in range(spec.stages):
        factor = 2 ** (spec.stages - 1 - stage)
        size = (spec.latent_height // factor, spec.latent_width // factor)

        def lengths(frames: int, size: tuple[int, int] = size) -> dict[str, Shape]:
            own: dict[str, Shape] = {
                "hidden_states": (1, spec.denoiser_channels, frames, *size),
                "indices_hidden_states": (1, frames),
            }
            if not view:
                return own
            seen: dict[str, Shape] = {
                "latents_view": (1, spec.denoiser_channels, frames, *full),
                "indices_view": (1, frames),
                TOKENS_VIEW: (frames * tokens,),
            }
            return own | seen

        lowest = lengths(1) | ({TOKENS_VIEW: (0,)} if view else {})
        profiles.append(_profile(f"stage{stage}", lowest, lengths(spec.chunk_latents), lengths(_longest(spec))))
    return tuple(profiles)


def frame_profile(spec: ModelSpec, inputs: Mapping[str, Shape], frame_axes: Mapping[str, int]) -> tuple[Profile, ...]:
    """The one profile of a graph of which only the number of latent frames varies; none if nothing does.

    inputs: an example shape each; frame_axes: the axis that counts frames, for the inputs that have one.
    """
    if not frame_axes:
        return ()

    def lengths(frames: int) -> dict[str, Shape]:
        return {
            name: tuple(frames if axis == place else length for place, length in enumerate(inputs[name]))
            for name, axis in frame_axes.items()
        }

    return (_profile("frames", lengths(1), lengths(spec.chunk_latents), lengths(_longest(spec))),)


def _longest(spec: ModelSpec) -> int:
    return max(spec.max_chunk_latents, spec.chunk_latents)


def _profile(name: str, low: dict[str, Shape], opt: dict[str, Shape], high: dict[str, Shape]) -> Profile:
    return Profile(name=name, shapes={key: ShapeRange(min=low[key], opt=opt[key], max=high[key]) for key in opt})


def _graph(loaded: Any) -> GraphExport:
    return GraphExport(
        file=str(loaded["file"]), weights_file=str(loaded["weights_file"]), bytes=int(loaded["bytes"]),
        graph_sha256=str(loaded["graph_sha256"]), weights_sha256=str(loaded["weights_sha256"]),
        profiles=tuple(
            Profile(
                name=str(profile["name"]),
                shapes={
                    str(name): ShapeRange(**{key: tuple(int(n) for n in given[key]) for key in ("min", "opt", "max")})
                    for name, given in profile["shapes"].items()
                },
            )
            for profile in loaded["profiles"]
        ),
    )  # fmt: skip
