"""The camera methods by name, and which one a model gets: never one that would leave the pose without effect.

channels: camera and blockout as input channels; exact, for a model that was trained with them.
layout: a coarse picture of the new view takes the place of the pyramid's first stage.
warp-history: the last view, bent along the camera's path, stands in the history where the new frames will be.
prompt: the motion as words; weak, for a model that can do nothing else.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from model.errors import ModelError
from model.runners.base import GraphSignature
from model.spec import Graph, ModelSpec

VIEW_INPUTS = ("latents_view", "indices_view", "tokens_view")
"""What a denoiser takes that has room for a view in its history (`model.networks.view_denoiser`)."""


class CameraMethod(enum.StrEnum):
    """The strongest first, as `python -m benchmarks.camera` measures them on a network that was trained for none."""

    CHANNELS = "channels"
    LAYOUT = "layout"
    WARP_HISTORY = "warp-history"
    PROMPT = "prompt"


AUTO = "auto"
CHOICES = (AUTO, *CameraMethod)


def lacking(
    method: CameraMethod, spec: ModelSpec, graphs: Mapping[str, GraphSignature], *, view_on_request: bool = False
) -> str:
    """What a model lacks for a method, in words; "" if nothing. view_on_request: as in `choose`."""
    if method is CameraMethod.CHANNELS and not (spec.conditioning_channels and Graph.CONDITIONER in graphs):
        return "a conditioner and input channels trained for camera and blockout (an adapter can bring them)"
    room = view_on_request or set(VIEW_INPUTS) <= set(graphs[Graph.DENOISER].inputs)
    if method is CameraMethod.WARP_HISTORY and not room:
        return "room for a view in the denoiser's history (a checkpoint has it, and an export made with --camera)"
    if method in (CameraMethod.WARP_HISTORY, CameraMethod.LAYOUT) and Graph.ENCODER not in graphs:
        return "the encoder graph"
    if method is CameraMethod.PROMPT and spec.text_vocabulary:
        return "a text encoder that reads sentences about the camera"
    if method is not CameraMethod.CHANNELS and spec.conditioning_channels:
        return "a network without camera channels of its own (leave --adapter out)"
    return ""


def choose(
    wanted: str, spec: ModelSpec, graphs: Mapping[str, GraphSignature], *, view_on_request: bool = False
) -> CameraMethod:
    """The method in force for `--camera wanted`; auto takes the strongest that the model can do.

    view_on_request: the denoiser has room for a view only if it is loaded for warp-history: that is then among what the
    model can do, though not in force now.

    Raises: ModelError: no such method, or the model lacks something for it.
    """
    if wanted not in CHOICES:
        raise ModelError(f"camera: got {wanted!r}, expected one of {', '.join(CHOICES)}")
    able = [method for method in CameraMethod if not lacking(method, spec, graphs)]
    offered = [m for m in CameraMethod if not lacking(m, spec, graphs, view_on_request=view_on_request)]
    said = f"{spec.name} can do {', '.join(offered) or 'none'}"
    if wanted != AUTO:
        method = CameraMethod(wanted)
        if missing := lacking(method, spec, graphs):
            raise ModelError(f"camera: {wanted} needs {missing}; {said}")
        return method
    if not able:
        raise ModelError(f"camera: {said}: its pose would be accepted and ignored")
    return able[0]
