"""Sheets of samples for a training that runs: what the averaged weights can do on maps that nobody trains on.

Needs the torch extra.
"""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from torch import nn

from model.demo.checkpoint import DemoModel, load_graphs, save_checkpoint
from model.demo.evaluation.autoencoder_alone import CLIP_FRAMES, reconstruct
from model.demo.evaluation.figures import psnr_db
from model.demo.evaluation.painting import Painter
from model.demo.evaluation.tours import Tour, draw_tour
from model.demo.training.charts import Picture, picture_sheet
from model.demo.training.clips import FPS
from model.demo.world.conditions import Conditions
from model.demo.world.renderer import render
from model.networks.autoencoder import TinyAutoencoder
from model.runners.torch import TorchRunner
from model.scene.maps import load_map
from model.spec import ModelSpec

_SCENES = (
    ("garden", Conditions()),
    ("hall", Conditions(time="dusk", lamps="on", door="open")),
    ("village", Conditions(time="night", lamps="on", weather="rain")),
    ("harbour", Conditions(weather="snow", fountain="on")),
)
_CHUNK_LATENTS = 3
_SHOWN = (0, CLIP_FRAMES // 2, CLIP_FRAMES - 1)  # of each scene's first chunk


def reconstructions(model: nn.Module) -> Picture:
    """Of each scene some reference frames over what the autoencoder makes of them."""
    assert isinstance(model, TinyAutoencoder)
    originals, made = [], []
    for name, conditions in _SCENES:
        clip = reconstruct(model, _tour(name, conditions, chunks=1), 0)
        for frame in (_SHOWN[0], _SHOWN[-1]):
            originals.append((f"{name}, reference", clip.reference[frame]))
            made.append((f"{psnr_db(clip.made[frame], clip.reference[frame]):.1f} dB", clip.made[frame]))
    halves = [(originals[at : at + 4], made[at : at + 4]) for at in range(0, len(made), 4)]
    return picture_sheet([row for half in halves for row in half])


def rollouts(model: DemoModel, spec: ModelSpec) -> Picture:
    """Of each scene a walk from an empty history, as it would be served, over its reference: the first chunk and the
    end of the second. `model` need not know words: what is in force is said by the text state."""
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        save_checkpoint(model, spec, Path(folder))
        _, graphs = load_graphs(Path(folder))
    runner = TorchRunner(graphs)
    for name, conditions in _SCENES:
        tour = _tour(name, conditions, chunks=2)
        begun = replace(spec, initial_text_state=tuple(float(v) for v in conditions.vector()))
        chunks = list(Painter(begun, runner, chunk_latents=_CHUNK_LATENTS).paint(tour))
        frames = np.concatenate([chunk.frames for chunk in chunks])
        shown, references = [], []
        for at in (*_SHOWN, len(frames) - 1):
            colour = render(np, tour.parts, tour.camera(at), conditions.vector(), at / FPS).colour
            reference = np.round(colour * 255).astype(np.uint8)
            shown.append((f"{name} frame {at}, {psnr_db(frames[at], reference):.1f} dB", frames[at]))
            references.append(("reference", reference))
        rows += [shown, references]
    return picture_sheet(rows)


def _tour(name: str, conditions: Conditions, *, chunks: int) -> Tour:
    """A silent walk."""
    drawn = draw_tour(load_map(name), frames=chunks * CLIP_FRAMES, seed=0, multiple=CLIP_FRAMES)
    return replace(drawn, changes=(), begins=conditions)
