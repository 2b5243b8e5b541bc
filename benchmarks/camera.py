"""What a camera method is worth: the demo model, its conditioning zeroed, steered by each method, against the truth.

    python -m benchmarks.camera --train-lora 500 --report out/camera.json    # without a LoRA: two minutes

At places along tours of maps that nobody trained on, the true past enters the history, one chunk is painted, and its
frames are compared with the reference renderer's, and its latents with the truth's. Conditioning is zero but in the row
`channels`; the decoder is guided alike in every row, as it cannot do without: a row's gain is what its latents gain.
The latents' own error owes nothing to the decoder. The network as it comes was trained for
none of the methods, and never without its channels; with a LoRA (`benchmarks.camera_lora`) it has been without them,
as Helios-14B is. The rows with it are compared with its own baseline: the same weights, told nothing. Needs the torch
extra.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from benchmarks.camera_lora import samples_of, train_lora
from model.camera_control.layout import coarse_shading, first_stage
from model.camera_control.method import CameraMethod
from model.camera_control.steering import CAST_STEP_PX, Hints, Steering
from model.camera_control.warp import View, depth_of, warped
from model.cli_args import commit, output_file
from model.demo.checkpoint import load_checkpoint, load_graphs
from model.demo.evaluation.figures import psnr_db
from model.demo.evaluation.tours import Tour, draw_tour
from model.demo.training.clips import FPS
from model.demo.world.renderer import render
from model.networks.autoencoder import TinyAutoencoder
from model.networks.lora import apply_adapter
from model.networks.view_denoiser import view_denoiser_graph
from model.pipeline.history import appended
from model.pipeline.image_history import encoder_of
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.video_pipeline import VideoPipeline
from model.runners.torch import TorchGraph, TorchRunner
from model.scene.camera import Camera
from model.scene.maps import DEFAULT_MAP, load_map
from model.scene.ray_features import condition
from model.spec import Graph

_LATENTS = 3
Make = Callable[["Place"], Hints]


class DemoEncoder(nn.Module):
    """The demo encoder as the `encoder` graph: frames (4 T, H, W, 3) uint8 -> mean (1, 16, T, h, w), not normalised."""

    def __init__(self, autoencoder: TinyAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, frames: Tensor) -> Tensor:
        latents, _ = self.autoencoder.encode(frames.permute(0, 3, 1, 2)[None].float() / 255)
        return latents.transpose(1, 2)


class Place:
    """One chunk of a tour: its cameras, its truth, and the true past before it."""

    def __init__(self, tour: Tour, first: int, count: int, past: int) -> None:
        self.parts = tour.parts
        self.cameras = [tour.camera(first + i) for i in range(count)]
        self.past = np.stack([_truth(tour, at) for at in range(first - past, first)])
        self.truth = np.stack([_truth(tour, at) for at in range(first, first + count)])
        before = tour.camera(first - 1)
        self.last = View(frame=self.past[-1], camera=before, depth=depth_of(tour.parts, before))


@dataclass(frozen=True, slots=True)
class Painted:
    """How far a chunk is from the truth: of its frames, and the mean squared error of its latents (normalised)."""

    psnr_db: float
    latent_error: float


class Painter:
    """The demo model on torch, with room for a view in its history."""

    def __init__(self, folder: Path | None, adapter: Path | None = None) -> None:
        torch.set_num_threads(1)
        self.spec, graphs = load_graphs(folder)
        _, model = load_checkpoint(folder)
        if adapter is not None:
            apply_adapter(model.denoiser.transformer, adapter)
        graphs[Graph.DENOISER] = view_denoiser_graph(model.denoiser.transformer, self.spec)
        example = torch.zeros(4 * _LATENTS, self.spec.frame_height, self.spec.frame_width, 3, dtype=torch.uint8)
        graphs[Graph.ENCODER] = TorchGraph(
            module=DemoEncoder(model.autoencoder), inputs={"frames": example}, outputs=("mean",),
            dynamic_axes={"frames": {0: "frames"}},
        )  # fmt: skip
        runner = TorchRunner(graphs)
        self.encode = encoder_of(self.spec, runner)
        self._rollout = VideoPipeline(self.spec, runner, clock=lambda: 0.0)

    def paint(self, place: Place, hints: Hints, *, channels: bool, seed: int) -> Painted:
        spec = self.spec
        seen = condition(place.parts, place.cameras)
        request = ChunkRequest(
            texts=("",) * _LATENTS, steps=spec.stage_steps, view=hints.view, first_stage=hints.first_stage,
            guide=seen.guide, edges=seen.edges, conditioning=np.zeros(
                (1, spec.conditioning_channels, _LATENTS, spec.latent_height, spec.latent_width), np.float32
            ),
        )  # fmt: skip
        if channels:
            request = replace(request, conditioning=None, features={"rays": seen.rays, "flow": seen.flow})
        made = self._rollout.chunk(self._begun(place, seed), request)[0]
        error = float(np.square(made.latents - self.encode(place.truth)).mean())
        return Painted(psnr_db(made.frames, place.truth), error)

    def _begun(self, place: Place, seed: int) -> PipelineState:
        state = self._rollout.open(seed)
        return replace(state, history_latents=appended(state.history_latents, self.encode(place.past)), continues=True)


def _rows(painter: Painter) -> dict[str, Make | None]:
    """What is painted, by its name in the table; None is the model with its own channels."""
    spec, encode = painter.spec, painter.encode
    warp = Steering(CameraMethod.WARP_HISTORY, spec, encode)
    layout = Steering(CameraMethod.LAYOUT, spec, encode)

    def shading(place: Place) -> Hints:
        drawn = np.stack([coarse_shading(place.parts, camera) for camera in place.cameras])
        return Hints(first_stage=first_stage(encode(drawn), spec.stages))

    return {
        "none": lambda _: Hints(),
        "warp-history": lambda place: warp.hints(place.parts, place.cameras, place.last),
        "warp-history, no blockout": lambda place: warp.hints(None, place.cameras, place.last),
        "layout, shading": shading,
        "layout, warp over shading": lambda place: layout.hints(place.parts, place.cameras, place.last),
        "channels (trained)": None,
    }


_BASELINE, _LORA = "none", " + LoRA"
_WITH_LORA = ("none", "warp-history", "warp-history, no blockout", "layout, warp over shading")


def measure(painter: Painter, places: list[Place], names: Sequence[str] | None = None) -> dict[str, list[Painted]]:
    """Each place's chunk, by row, of all rows or those named."""
    found: dict[str, list[Painted]] = {}
    for seed, place in enumerate(places):
        for name, make in _rows(painter).items():
            if names is None or name in names:
                hints = Hints() if make is None else make(place)
                found.setdefault(name, []).append(painter.paint(place, hints, channels=make is None, seed=seed))
    return found


def shown_again(places: list[Place]) -> dict[str, list[float]]:
    """PSNR of the last picture as it is, and bent to each camera: what no network is needed for."""
    found: dict[str, list[float]] = {"held picture": [], "bent picture": []}
    for place in places:
        held = np.repeat(place.past[-1:], len(place.truth), axis=0)
        found["held picture"].append(psnr_db(held, place.truth))
        bent = np.stack([_bent(place, camera) for camera in place.cameras])
        found["bent picture"].append(psnr_db(bent, place.truth))
    return found


def _bent(place: Place, camera: Camera) -> NDArray[np.uint8]:
    coarse = depth_of(place.parts, camera, step_px=CAST_STEP_PX)
    return warped(place.last, camera, coarse.repeat(CAST_STEP_PX, axis=0).repeat(CAST_STEP_PX, axis=1)).frame


def _truth(tour: Tour, at: int) -> NDArray[np.uint8]:
    colour = render(np, tour.parts, tour.camera(at), tour.conditions(at).vector(), at / FPS).colour
    frame: NDArray[np.uint8] = np.round(colour * 255).astype(np.uint8)
    return frame


def places_of(count: int, *, maps: Sequence[str], past: int) -> list[Place]:
    """`count` places of each map."""
    frames, every = 4 * _LATENTS, 48
    found = []
    for name in maps:
        tour = draw_tour(load_map(name), frames=past + every * count + frames, seed=0, multiple=frames)
        quiet = replace(tour, changes=())  # what is measured is the camera
        found += [Place(quiet, past + every * number, frames, past) for number in range(count)]
    return found


def summary(found: dict[str, list[float]], errors: dict[str, list[float]]) -> dict[str, dict[str, float | int]]:
    """By row: mean PSNR and its gain over the baseline of the same weights, place by place; where there are latents,
    their mean error, the mean of its ratio to the baseline's, and at how many places it is less."""
    rows: dict[str, dict[str, float | int]] = {}
    for name, dbs in found.items():
        baseline = found[_baseline_of(name)]
        gains = np.array(dbs) - np.array(baseline)
        rows[name] = {
            "n": len(dbs), "mean_db": float(np.mean(dbs)), "gain_db": float(gains.mean()),
            "gain_sd_db": float(gains.std(ddof=min(1, len(gains) - 1))), "least_gain_db": float(gains.min()),
            "won": int((gains > 0).sum()),
        }  # fmt: skip
        if name in errors:
            ratios = np.array(errors[name]) / np.array(errors[_baseline_of(name)])
            rows[name] |= {
                "latent_error": float(np.mean(errors[name])), "error_ratio": float(ratios.mean()),
                "error_ratio_sd": float(ratios.std(ddof=min(1, len(ratios) - 1))),
                "less_error": int((ratios < 1).sum()),
            }  # fmt: skip
    return rows


def _baseline_of(name: str) -> str:
    return _BASELINE + _LORA if name.endswith(_LORA) else _BASELINE


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--model", type=Path, metavar="CHECKPOINT", help="of the demo model (default: the shipped one)")
    parser.add_argument("--places", type=int, default=8, help="on each map (default: %(default)s)")
    parser.add_argument("--map", action="append", default=[], help=f"may be given again (default: {DEFAULT_MAP})")
    parser.add_argument("--train-lora", type=int, default=0, metavar="STEPS", help="train one, and measure with it too")
    parser.add_argument("--clips", type=int, default=20, help="that it is trained on (default: %(default)s)")
    parser.add_argument("--lora", type=Path, help="one trained before, or where it goes (out/camera_lora.safetensors)")
    parser.add_argument("--report", type=output_file)
    options = parser.parse_args()
    painter = Painter(options.model)
    lora: Path | None = options.lora
    if options.train_lora:
        lora = lora or Path("out/camera_lora.safetensors")
        samples = samples_of(options.clips, painter.spec, painter.encode, new=_LATENTS, say=_say)
        spec, model = load_checkpoint(options.model)
        train_lora(model, spec, samples, lora, steps=options.train_lora, say=_say)
    past = painter.spec.history_latents * painter.spec.temporal_stride
    maps = options.map or [DEFAULT_MAP]
    places = places_of(options.places, maps=maps, past=past)
    painted = measure(painter, places)
    if lora is not None:
        adapted = measure(Painter(options.model, lora), places, _WITH_LORA)
        painted |= {name + _LORA: made for name, made in adapted.items()}
    found = shown_again(places) | {name: [one.psnr_db for one in made] for name, made in painted.items()}
    errors = {name: [one.latent_error for one in made] for name, made in painted.items()}
    rows = summary(found, errors)
    print(f"PSNR against the reference renderer, {len(places)} places of {', '.join(maps)}, one chunk each")
    print(f"{'camera':<34}{'mean dB':>9}{'gain':>8}{'sd':>7}{'least':>8}{'won':>9}{'error':>8}{'ratio':>7}{'less':>9}")
    for name, row in rows.items():
        gains = f"{row['gain_db']:>+8.2f}{row['gain_sd_db']:>7.2f}{row['least_gain_db']:>+8.2f}"
        told = (
            f"{row['latent_error']:>8.3f}{row['error_ratio']:>7.3f}{row['less_error']:>6}/{row['n']}"
            if name in errors
            else ""
        )
        print(f"{name:<34}{row['mean_db']:>9.2f}{gains}{row['won']:>6}/{row['n']}{told}")
    if options.report:
        document = {
            "commit": commit(),
            "places": options.places,
            "maps": maps,
            "rows": rows,
            "db": found,
            "latent_errors": errors,
        }
        options.report.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
    return 0


def _say(text: str) -> None:
    print(text, flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
