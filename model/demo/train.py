"""`python -m model.demo.train`: from nothing to the demo model's weights.

The recipe, in order (README, "Train the demo model", gives wall-clock times):

    python -m model.demo.train data        --clips 1000           # crops of random worlds
    python -m model.demo.train data        --clips 240 --full     # whole frames
    python -m model.demo.train prepare                            # what the rays of every clip met
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
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from torch import nn

from model.demo.charts import Picture
from model.demo.checkpoint import DemoModel, demo_spec, fill_from, graphs_of, save_checkpoint
from model.demo.data import FRAME_HEIGHT, FRAME_WIDTH, Clip, render_clips
from model.demo.network import DemoDenoiser
from model.demo.painted import ClipPainter
from model.demo.prepared import PreparedFolder, geometry_of, latent_statistics, latents_of
from model.demo.samples import rollouts
from model.demo.train_autoencoder import TrainedAutoencoder, train_autoencoder, train_decoder
from model.demo.train_denoiser import DenoiserData, train_denoiser
from model.demo.train_text import train_text
from model.demo.training import SampleSheet, TrainConfig, join_processes, load_ema, make_deterministic, stop_on_signals
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
    rates = {"autoencoder": 3e-3, "decoder": 2e-3, "text": 2e-3, "denoiser": 1.5e-3}
    config = TrainConfig(
        folder=folder / options.stage, minutes=options.minutes, peak_rate=options.rate or rates.get(options.stage, 0.0),
        seed=options.seed, last_step=options.steps, should_stop=stop_on_signals(),
        bf16=options.precision == "bf16" or (options.precision == "auto" and options.device == "cuda"),
    )  # fmt: skip
    run = _Trained(folder, options.begin)
    if options.stage == "autoencoder":
        train_autoencoder(folder / "clips" / "crops", run.begun("autoencoder", TrainedAutoencoder()), config,
                          options.device)  # fmt: skip
    elif options.stage == "decoder":
        prepared = [PreparedFolder(folder / "prepared" / kind) for kind in KINDS]
        train_decoder(folder / "clips", prepared, run.trained("autoencoder", TrainedAutoencoder()), config,
                      options.device)  # fmt: skip
    elif options.stage == "text":
        train_text(config, options.device)
    elif options.stage == "checkpoint":
        write_checkpoint(run)
    elif options.stage in ("prepare", "encode"):
        prepare_clips(run, worker=options.worker, workers=options.workers, encode=options.stage == "encode")
    elif options.stage == "paint":
        paint_clips(run, worker=options.worker, workers=options.workers)
    else:
        data = denoiser_data(folder, full_share=options.full_share)
        train_denoiser(data, run.begun("denoiser", DemoDenoiser()), config, options.device, denoiser_samples(run, data))
    return 0


_Module = TypeVar("_Module", bound=nn.Module)
_PARTS = {"autoencoder": "autoencoder.", "text": "reader.", "denoiser": "denoiser."}
"""What a checkpoint's names begin with, by the stage that trains them."""


@dataclass(frozen=True, slots=True)
class _Trained:
    """What a run has trained so far, and the checkpoint that stands for what it has not."""

    folder: Path
    begin: Path | None

    def begun(self, stage: str, module: _Module) -> _Module:
        """`module` as the stage's training begins: with the checkpoint's weights, where there is one."""
        if self.begin is not None and not self._state(stage).exists():
            left = fill_from(self.begin, _PARTS[stage], module)
            print(f"{stage}: from {self.begin}; new are {', '.join(left) or 'none'}", flush=True)
        return module

    def trained(self, stage: str, module: _Module) -> _Module:
        """`module` with the stage's averaged weights. Raises: FileNotFoundError: it was not trained, and there is no
        checkpoint."""
        if self._state(stage).exists():
            load_ema(self.folder / stage, module)
        elif self.begin is not None:
            self.begun(stage, module)
        else:
            raise FileNotFoundError(f"{self._state(stage)}: train that stage first, or give --from CHECKPOINT")
        return module

    def is_trained(self, stage: str) -> bool:
        return self._state(stage).exists()

    def _state(self, stage: str) -> Path:
        return self.folder / stage / "state.pt"


def prepare_clips(run: _Trained, *, worker: int, workers: int, encode: bool) -> None:
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


def paint_clips(run: _Trained, *, worker: int, workers: int) -> None:
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


def denoiser_samples(run: _Trained, data: DenoiserData) -> SampleSheet:
    """Rollouts of the denoiser that is being trained, decoded by the run's autoencoder."""
    model, spec = _with_autoencoder(run), demo_spec(data.mean, data.std)

    def drawn(denoiser: nn.Module) -> Picture:
        model.denoiser.load_state_dict(denoiser.state_dict())
        return rollouts(model, spec)

    return drawn


def _with_autoencoder(run: _Trained) -> DemoModel:
    """A model that has the run's autoencoder, its decoder tuned if it was, and nothing else yet."""
    autoencoder = TrainedAutoencoder()
    run.trained("decoder" if run.is_trained("decoder") else "autoencoder", autoencoder)
    del autoencoder.tone
    model = DemoModel()
    model.autoencoder.load_state_dict(autoencoder.state_dict())
    return model


def write_checkpoint(run: _Trained) -> None:
    """Gathers the averaged weights of all stages into one checkpoint, `checkpoint` in the run's folder."""
    model = _with_autoencoder(run)
    run.trained("text", model.reader)
    run.trained("denoiser", model.denoiser)
    crops = PreparedFolder(run.folder / "prepared" / "crops")
    save_checkpoint(model, demo_spec(*latent_statistics(crops)), run.folder / "checkpoint")


def denoiser_data(folder: Path, *, full_share: float) -> DenoiserData:
    """Crops for the upper two stages (a crop is too small for the lowest), whole frames for all three."""
    crops, full = (PreparedFolder(folder / "prepared" / kind) for kind in KINDS)
    mean, std = latent_statistics(crops)
    return DenoiserData(
        folders=(crops, full), share=(1 - full_share, full_share), stages=((0.0, 0.3, 0.7), (0.5, 0.25, 0.25)),
        batch=(6, 3), mean=mean, std=std,
    )  # fmt: skip


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.demo.train", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument(
        "stage",
        choices=["data", "prepare", "autoencoder", "encode", "text", "denoiser", "paint", "decoder", "checkpoint"],
    )
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
    return parser


if __name__ == "__main__":
    sys.exit(main())
