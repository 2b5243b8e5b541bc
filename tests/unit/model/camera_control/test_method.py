"""Which method a model gets: never one that leaves the pose without effect."""

from __future__ import annotations

from dataclasses import replace

import pytest

from bridge.config import CAMERAS
from model.camera_control.method import CHOICES, VIEW_INPUTS, CameraMethod, choose
from model.errors import ModelError
from model.runners.base import GraphSignature, TensorSignature
from model.spec import Decode, ModelSpec

PLAIN = ModelSpec(
    name="plain", frame_height=64, frame_width=64, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=9,
    latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=4, text_dim=8,
)  # fmt: skip
TRAINED = replace(PLAIN, conditioning_channels=24)


def graphs(*names: str, inputs: tuple[str, ...] = ()) -> dict[str, GraphSignature]:
    tensor = TensorSignature("float32", (1,))
    made = {name: GraphSignature({}, {}) for name in names}
    return made | {"denoiser": GraphSignature(dict.fromkeys(inputs, tensor), {})}


@pytest.mark.parametrize(
    ("spec", "has", "method"),
    [
        (TRAINED, graphs("conditioner", "encoder"), CameraMethod.CHANNELS),
        (PLAIN, graphs("encoder", inputs=VIEW_INPUTS), CameraMethod.LAYOUT),
        (PLAIN, graphs("encoder"), CameraMethod.LAYOUT),
        (PLAIN, graphs(inputs=VIEW_INPUTS), CameraMethod.PROMPT),
    ],
)
def test_auto_takes_the_strongest_that_the_model_can_do(
    spec: ModelSpec, has: dict[str, GraphSignature], method: CameraMethod
) -> None:
    assert choose("auto", spec, has) is method
    assert choose(method, spec, has) is method


def test_refuses_what_the_model_cannot_do_and_says_what_it_can() -> None:
    with pytest.raises(ModelError, match=r"channels needs a conditioner.*plain can do layout, prompt"):
        choose("channels", PLAIN, graphs("encoder"))
    with pytest.raises(ModelError, match=r"channels needs a conditioner.*plain can do layout, warp-history, prompt"):
        choose("channels", PLAIN, graphs("encoder"), view_on_request=True)
    assert choose("auto", PLAIN, graphs("encoder"), view_on_request=True) is CameraMethod.LAYOUT
    with pytest.raises(ModelError, match=r"needs room for a view .* made with --camera.*; plain can do layout, prompt"):
        choose("warp-history", PLAIN, graphs("encoder"))
    with pytest.raises(ModelError, match="layout needs a network without camera channels of its own"):
        choose("layout", TRAINED, graphs("conditioner", "encoder"))
    with pytest.raises(ModelError, match="got 'drone', expected one of auto, channels"):
        choose("drone", PLAIN, graphs())


def test_a_model_that_can_do_nothing_is_refused_rather_than_served_without_a_camera() -> None:
    words = replace(PLAIN, text_vocabulary=64, text_words=8)
    for wanted in ("auto", "prompt"):
        with pytest.raises(ModelError, match="plain can do none"):
            choose(wanted, words, graphs())


def test_the_command_line_offers_these_methods() -> None:
    assert CAMERAS == CHOICES
