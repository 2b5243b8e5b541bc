"""`python -m model.demo.train`: from nothing to the demo model's weights.

The recipe, in order (README, "Train the demo model", gives wall-clock times):

    python -m model.demo.train data        --clips 800            # crops of random worlds
    python -m model.demo.train data        --clips 60 --full      # whole frames, for the last part
    python -m model.demo.train autoencoder --minutes 15
    python -m model.demo.train prepare                            # latents and rays of every clip
    python -m model.demo.train text        --minutes 4
    torchrun --nproc-per-node 2 -m model.demo.train denoiser --minutes 60 --threads 1
    torchrun --nproc-per-node 2 -m model.demo.train decoder --minutes 10 --threads 1
    python -m model.demo.train checkpoint
    python -m trt_build export --model runs/demo/checkpoint --store float16 --out model/demo/weights
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import torch

from model.demo.checkpoint import DemoModel, demo_spec, save_checkpoint
from model.demo.data import FRAME_HEIGHT, FRAME_WIDTH, Clip, render_clips
from model.demo.prepared import PreparedFolder, latent_statistics, prepare
from model.demo.train_autoencoder import TrainedAutoencoder, train_autoencoder, train_decoder
from model.demo.train_denoiser import DenoiserData, train_denoiser
from model.demo.train_text import train_text
from model.demo.training import TrainConfig, join_processes, load_ema, make_deterministic, stop_on_signals

CROP = (96, 160)
CLIP_LATENTS = 8


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
                     latents=CLIP_LATENTS, rows=rows, cols=cols)  # fmt: skip
        return 0
    rates = {"autoencoder": 3e-3, "decoder": 2e-3, "text": 2e-3, "denoiser": 1.5e-3}
    config = TrainConfig(
        folder=folder / options.stage, minutes=options.minutes, peak_rate=options.rate or rates.get(options.stage, 0.0),
        seed=options.seed, last_step=options.steps, should_stop=stop_on_signals(),
    )  # fmt: skip
    if options.stage == "autoencoder":
        train_autoencoder(folder / "clips" / "crops", config, options.device)
    elif options.stage == "decoder":
        prepared = PreparedFolder(folder / "prepared" / "crops")
        train_decoder(folder / "clips" / "crops", prepared, folder / "autoencoder", config, options.device)
    elif options.stage == "text":
        train_text(config, options.device)
    elif options.stage == "checkpoint":
        write_checkpoint(folder)
    elif options.stage == "prepare":
        prepare_clips(folder, worker=options.worker, workers=options.workers)
    else:
        train_denoiser(denoiser_data(folder, full_share=options.full_share), config, options.device)
    return 0


def prepare_clips(folder: Path, *, worker: int, workers: int) -> None:
    """Writes latents and rays of every clip that has none yet; worker n of m takes each m-th."""
    autoencoder = TrainedAutoencoder()
    load_ema(folder / "autoencoder", autoencoder)
    for kind in ("crops", "full"):
        prepared = PreparedFolder(folder / "prepared" / kind)
        for path in sorted((folder / "clips" / kind).glob("clip_*.npz"))[worker::workers]:
            if path.stem not in prepared.names:
                prepared.write(path.stem, prepare(Clip.load(path), autoencoder))
        prepared.refresh()
        print(f"prepared {len(prepared.names)} {kind}", flush=True)


def write_checkpoint(folder: Path) -> None:
    """Gathers the averaged weights of all stages into one checkpoint, `folder`/checkpoint."""
    autoencoder = TrainedAutoencoder()
    tuned = folder / "decoder"
    load_ema(tuned if tuned.exists() else folder / "autoencoder", autoencoder)
    del autoencoder.tone
    model = DemoModel()
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    load_ema(folder / "text", model.reader)
    load_ema(folder / "denoiser", model.denoiser)
    save_checkpoint(
        model, demo_spec(*latent_statistics(PreparedFolder(folder / "prepared" / "crops"))), folder / "checkpoint"
    )


def denoiser_data(folder: Path, *, full_share: float) -> DenoiserData:
    """Crops for the upper two stages (a crop is too small for the lowest), whole frames for all three."""
    crops, full = PreparedFolder(folder / "prepared" / "crops"), PreparedFolder(folder / "prepared" / "full")
    mean, std = latent_statistics(crops)
    return DenoiserData(
        folders=(crops, full), share=(1 - full_share, full_share), stages=((0.0, 0.3, 0.7), (0.5, 0.25, 0.25)),
        batch=(6, 3), mean=mean, std=std,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.demo.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "stage", choices=["data", "autoencoder", "prepare", "text", "denoiser", "decoder", "checkpoint"]
    )
    parser.add_argument("--minutes", type=float, default=15.0, help="wall-clock box of a training stage")
    parser.add_argument("--steps", type=int, help="the run's length in steps, if it ends before the minutes do: then "
                        "equal seeds give equal weights, bit for bit")  # fmt: skip
    parser.add_argument("--seed", type=int, default=0, help="of the first weights and of every batch")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--resume", default="runs/demo", metavar="DIR", help="the run's folder; goes on where it is")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rate", type=float, help="peak learning rate (default: the stage's own)")
    parser.add_argument("--clips", type=int, default=800, help="data: how many clips there are to be")
    parser.add_argument("--full", action="store_true", help="data: whole frames instead of crops")
    parser.add_argument("--worker", type=int, default=0, help="data, prepare: which of --workers processes this is")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--full-share", type=float, default=0.25, help="denoiser: share of steps on whole frames")
    return parser


if __name__ == "__main__":
    sys.exit(main())
