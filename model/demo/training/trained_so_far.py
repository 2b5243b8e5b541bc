"""A run's folder: the weights that its stages have trained so far, and the checkpoint that stands for the rest.

Needs the torch extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from torch import nn

from model.demo.checkpoint import DemoModel, demo_spec, fill_from
from model.demo.training.charts import Picture
from model.demo.training.loop import SampleSheet, load_ema
from model.demo.training.samples import rollouts
from model.demo.training.train_autoencoder import TrainedAutoencoder
from model.demo.training.train_denoiser import DenoiserData

_Module = TypeVar("_Module", bound=nn.Module)
_PARTS = {"autoencoder": "autoencoder.", "text": "reader.", "denoiser": "denoiser."}
"""What a checkpoint's names begin with, by the stage that trains them."""


@dataclass(frozen=True, slots=True)
class TrainedSoFar:
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

    def with_autoencoder(self) -> DemoModel:
        """A model that has the run's autoencoder, its decoder tuned if it was, and nothing else yet."""
        autoencoder = TrainedAutoencoder()
        self.trained("decoder" if self.is_trained("decoder") else "autoencoder", autoencoder)
        del autoencoder.tone
        model = DemoModel()
        model.autoencoder.load_state_dict(autoencoder.state_dict())
        return model

    def denoiser_samples(self, data: DenoiserData) -> SampleSheet:
        """Rollouts of the denoiser that is being trained, decoded by the run's autoencoder."""
        model, spec = self.with_autoencoder(), demo_spec(data.mean, data.std)

        def drawn(denoiser: nn.Module) -> Picture:
            model.denoiser.load_state_dict(denoiser.state_dict())
            return rollouts(model, spec)

        return drawn
