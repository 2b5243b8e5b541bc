"""The denoiser with room in its history for a view of what the new frames will show (arXiv 2605.15182).

The view's latents pass the short history's patches and stand at the new frames' own places in time; tokens that nobody
has seen are left out, not zeroed. Without any the output is the plain denoiser's. Needs the torch extra.
"""

from __future__ import annotations

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor

from model.networks.denoiser import DENOISER_AXES, DENOISER_OUTPUTS, check_fits, example_inputs
from model.networks.rope import rotation, tokens_of
from model.networks.transformer import DenoiserGraph
from model.pipeline.history import frame_indices
from model.runners.torch import TorchGraph
from model.spec import ModelSpec

VIEW_DENOISER_AXES = {
    **DENOISER_AXES,
    "latents_view": {2: "frames"},
    "indices_view": {1: "frames"},
    "tokens_view": {0: "kept"},
}


class ViewDenoiserGraph(DenoiserGraph):
    """`DenoiserGraph` with three more inputs."""

    def forward(  # type: ignore[override]  # three inputs more
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        indices_hidden_states: Tensor,
        indices_latents_history_short: Tensor,
        indices_latents_history_mid: Tensor,
        indices_latents_history_long: Tensor,
        latents_history_short: Tensor,
        latents_history_mid: Tensor,
        latents_history_long: Tensor,
        latents_view: Tensor,
        indices_view: Tensor,
        tokens_view: Tensor,
    ) -> Tensor:
        """latents_view: (1, C, T, h, w). indices_view: (1, T). tokens_view: (kept,) int64 over (T, rows, columns)."""
        history, (cos, sin) = self._history(
            indices_latents_history_short,
            indices_latents_history_mid,
            indices_latents_history_long,
            latents_history_short,
            latents_history_mid,
            latents_history_long,
        )
        view = self.model.patch_short(latents_view.to(self.dtype))
        view_cos, view_sin = rotation(self.model.rope, indices_view, view.shape[3], view.shape[4], reduction=1)
        history = torch.cat([history, tokens_of(view)[:, tokens_view]], dim=1)
        turn = (torch.cat([cos, view_cos[tokens_view]]), torch.cat([sin, view_sin[tokens_view]]))
        return self._flow(hidden_states, timestep, encoder_hidden_states, indices_hidden_states, history, turn)


def view_denoiser_graph(model: HeliosTransformer3DModel, spec: ModelSpec) -> TorchGraph:
    """The `denoiser` that `--camera warp-history` needs; see `model.networks.denoiser.denoiser_graph`.

    Raises: CheckpointError: the model's channels or text width are not the spec's.
    """
    check_fits(model, spec)
    return TorchGraph(
        module=ViewDenoiserGraph(model).eval(),
        inputs=example_view_inputs(spec),
        outputs=DENOISER_OUTPUTS,
        dynamic_axes=VIEW_DENOISER_AXES,
    )


def example_view_inputs(spec: ModelSpec) -> dict[str, Tensor]:
    """`example_inputs` with a view of five tokens, in the order of `ViewDenoiserGraph.forward`."""
    inputs = example_inputs(spec)
    frames = inputs["hidden_states"].shape[2]
    indices = frame_indices(spec.history_sizes, prefix=spec.keep_prefix, new=frames)
    inputs["latents_view"] = torch.randn(1, spec.denoiser_channels, frames, spec.latent_height, spec.latent_width)
    inputs["indices_view"] = torch.from_numpy(indices.new)
    inputs["tokens_view"] = torch.arange(5)
    return inputs
