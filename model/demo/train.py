"""`python -m model.demo.train`: from nothing to the demo model's weights.

The recipe, in order (README, "Train the demo model", gives wall-clock times):

    python -m model.demo.train data        --clips 1000           # crops of random worlds
    python -m model.demo.train data        --clips 240 --full     # whole frames
    python -m model.demo.train prepare                            # what the rays of every clip met
    python -m model.demo.train switch                             # lamps, doors, fountains the other way round
    torchrun --nproc-per-node 2 -m model.demo.train autoencoder --minutes 40 --threads 1
    python -m model.demo.train encode                             # the latents of every clip
    python -m model.demo.train text        --minutes 4
    torchrun --nproc-per-node 2 -m model.demo.train denoiser --minutes 60 --threads 1
    python -m model.demo.train paint                              # the latents that the denoiser makes of whole frames
    torchrun --nproc-per-node 2 -m model.demo.train decoder --minutes 40 --threads 1
    python -m model.demo.train checkpoint
    python -m trt_build export --model runs/demo/checkpoint --store float16 --out model/demo/weights

A stage that was not trained in this run is taken from `--from CHECKPOINT`; one that is trained begins there.
"""

from __future__ import annotations

import argparse
import sys
import zlib
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from model.demo.checkpoint import DemoModel, demo_spec, graphs_of, save_checkpoint
from model.demo.network import DemoDenoiser
from model.demo.training.clips import FRAME_HEIGHT, FRAME_WIDTH, FRAMES_PER_LATENT, Clip, render_clips, switched
from model.demo.training.loop import TrainConfig, join_processes, make_deterministic, stop_on_signals
from model.demo.training.painted_clips import ClipPainter
from model.demo.training.prepared_data import (
    SWITCHED,
    PreparedFolder,
    geometry_of,
    latent_statistics,
    latents_of,
    things_seen,
)
from model.demo.training.train_autoencoder import TrainedAutoencoder, train_autoencoder, train_decoder
from model.demo.training.train_denoiser import BLIND_SHARE, DenoiserData, train_denoiser
from model.demo.training.train_text import train_text
from model.demo.training.trained_so_far import TrainedSoFar
from model.errors import CheckpointError
from model.runners.torch import TorchRunner

CROP = (96, 160)
CLIP_LATENTS = 8
KINDS = ("crops", "full")


def main(arguments: list[str] | None = None) -> int:
    """Runs one stage of the recipe. Returns the exit status."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(options.threads)
    make_deterministic(options.seed)
    join_processes()
    folder = Path(options.resume)
    if options.stage == "data":
        rows, cols = (FRAME_HEIGHT, FRAME_WIDTH) if options.full else CROP
        kind = "full" if options.full else "crops"
        offset = 1_000_000 if options.full else 0  # whole frames show worlds of their own
        render_clips(folder / "clips" / kind, first=offset + options.worker, step=options.workers,
                     count=offset + options.clips,
                     latents=CLIP_LATENTS, rows=rows, cols=cols, device=options.device)  # fmt: skip
        return 0
    run = TrainedSoFar(folder, options.begin)
    try:
        if options.stage in _RATES:
            _train(run, options)
        elif options.stage == "checkpoint":
            write_checkpoint(run)
        elif options.stage == "paint":
            paint_clips(run, worker=options.worker, workers=options.workers)
        elif options.stage == "switch":
            switch_clips(run, worker=options.worker, workers=options.workers)
        else:
            prepare_clips(run, worker=options.worker, workers=options.workers, encode=options.stage == "encode")
    except (FileNotFoundError, CheckpointError) as exc:
        print(f"{options.stage}: {exc}", file=sys.stderr)
        return 1
    return 0


_RATES = {"autoencoder": 3e-3, "decoder": 2e-3, "text": 2e-3, "denoiser": 1.5e-3}
"""Peak learning rates of the stages that train."""


def _train(run: TrainedSoFar, options: argparse.Namespace) -> None:
    config = TrainConfig(
        folder=run.folder / options.stage, minutes=options.minutes, peak_rate=options.rate or _RATES[options.stage],
        seed=options.seed, last_step=options.steps, should_stop=stop_on_signals(),
        bf16=options.precision == "bf16" or (options.precision == "auto" and options.device == "cuda"),
    )  # fmt: skip
    clips, prepared = run.folder / "clips", [PreparedFolder(run.folder / "prepared" / kind) for kind in KINDS]
    if options.stage == "autoencoder":
        train_autoencoder(clips / "crops", run.begun("autoencoder", TrainedAutoencoder()), config, options.device)
    elif options.stage == "decoder":
        begun = run.trained("autoencoder", TrainedAutoencoder())
        train_decoder(clips, prepared, begun, config, options.device)
    elif options.stage == "text":
        train_text(config, options.device)
    else:
        data = denoiser_data(prepared, full_share=options.full_share, blind_share=options.blind_share)
        train_denoiser(data, run.begun("denoiser", DemoDenoiser()), config, options.device, run.denoiser_samples(data))


def prepare_clips(run: TrainedSoFar, *, worker: int, workers: int, encode: bool) -> None:
    """Writes what the rays of every clip met where that is missing, or (encode) its latents; worker n of m takes each
    m-th clip."""
    autoencoder = TrainedAutoencoder()
    if encode:
        run.trained("autoencoder", autoencoder)
    for kind in KINDS:
        prepared = PreparedFolder(run.folder / "prepared" / kind)
        for path in sorted((run.folder / "clips" / kind).glob("clip_*.npz"))[worker::workers]:
            if encode:
                prepared.write_latents(path.stem, latents_of(Clip.load(path), autoencoder))
            elif path.stem not in prepared.names:
                prepared.write(path.stem, geometry_of(Clip.load(path)))
        prepared.refresh()
        print(f"{len(prepared.names)} {kind} prepared, {len(prepared.encoded)} encoded", flush=True)


def switch_clips(run: TrainedSoFar, *, worker: int, workers: int) -> None:
    """Renders every prepared clip that shows lamps, doors or fountains once more, with those the other way round."""
    for kind in KINDS:
        clips, prepared = run.folder / "clips" / kind, PreparedFolder(run.folder / "prepared" / kind)
        drawn = [name for name in prepared.names if not name.endswith(SWITCHED)]
        for name in drawn[worker::workers]:
            geometry = prepared.read(name)
            things = things_seen(geometry)
            if things and name + SWITCHED not in prepared.names:
                other = switched(Clip.load(clips / f"{name}.npz"), things)
                other.save(clips / f"{name}{SWITCHED}.npz")
                prepared.write(name + SWITCHED, replace(geometry, weights=other.weights[::FRAMES_PER_LATENT]))
        prepared.refresh()
        print(f"{len(prepared.names) - len(drawn)} {kind} switched", flush=True)


def paint_clips(run: TrainedSoFar, *, worker: int, workers: int) -> None:
    """Writes the latents that the denoiser makes of every clip of whole frames, two attempts at each."""
    crops, full = (PreparedFolder(run.folder / "prepared" / kind) for kind in KINDS)
    model = DemoModel()
    run.trained("denoiser", model.denoiser)
    spec = demo_spec(*latent_statistics(crops))
    painter = ClipPainter(spec, TorchRunner(graphs_of(model, spec)))
    for name in full.names[worker::workers]:
        rng = np.random.default_rng([zlib.crc32(name.encode())])
        geometry = full.read(name)
        full.write_painted(name, np.stack([painter.paint(geometry, rng) for _ in range(2)]))
    full.refresh()
    print(f"{len(full.painted)} painted", flush=True)


def write_checkpoint(run: TrainedSoFar) -> None:
    """Gathers the averaged weights of all stages into one checkpoint, `checkpoint` in the run's folder."""
    model = run.with_autoencoder()
    run.trained("text", model.reader)
    run.trained("denoiser", model.denoiser)
    crops = PreparedFolder(run.folder / "prepared" / "crops")
    save_checkpoint(model, demo_spec(*latent_statistics(crops)), run.folder / "checkpoint")


def denoiser_data(
    prepared: Sequence[PreparedFolder], *, full_share: float, blind_share: float = BLIND_SHARE
) -> DenoiserData:
    """Crops for the upper two stages (a crop is too small for the lowest), whole frames for all three."""
    crops, full = prepared
    mean, std = latent_statistics(crops)
    return DenoiserData(
        folders=(crops, full), share=(1 - full_share, full_share), stages=((0.0, 0.3, 0.7), (0.5, 0.25, 0.25)),
        batch=(6, 3), mean=mean, std=std, blind_share=blind_share,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.demo.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "stage",
        choices=["data", "prepare", "switch", "autoencoder", "encode", "text", "denoiser", "paint", "decoder",
                 "checkpoint"],
    )  # fmt: skip
    parser.add_argument("--minutes", type=float, default=15.0, help="wall-clock box of a training stage")
    parser.add_argument("--steps", type=int, help="the run's length in steps, if it ends before the minutes do: then "
                        "equal seeds give equal weights, bit for bit")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of every batch")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--precision", default="auto", choices=["auto", "fp32", "bf16"],
                        help="of the losses; auto: bf16 on CUDA alone, though some CPUs gain too")  # fmt: skip
    parser.add_argument("--resume", default="runs/demo", metavar="DIR", help="the run's folder; goes on where it is")
    parser.add_argument("--from", dest="begin", type=Path, metavar="CHECKPOINT",
                        help="begin with the weights of this checkpoint, such as model/demo/weights")  # fmt: skip
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, help="peak learning rate (default: the stage's own)")
    parser.add_argument("--clips", type=int, default=800, help="data: how many clips there are to be")
    parser.add_argument("--full", action="store_true", help="data: whole frames instead of crops")
    parser.add_argument("--worker", type=int, default=0, help="data, prepare: which of --workers processes this is")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--full-share", type=float, default=0.25, help="denoiser: share of steps on whole frames")
    parser.add_argument("--blind-share", type=float, default=BLIND_SHARE,
                        help="denoiser: share of steps that see their history alone, and no camera")  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
