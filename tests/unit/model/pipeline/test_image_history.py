"""What a session that begins with pictures draws and refuses; that it equals diffusers is the parity test's matter."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from numpy.typing import NDArray

from model.errors import ModelError
from model.pipeline.image_history import NOISE_SIGMA, PictureReader, encoder_of
from model.pipeline.noise import philox_normal, philox_uniform
from model.runners.base import Arrays, GraphSignature, TensorSignature
from model.spec import Decode, ModelSpec

HEIGHT, WIDTH = 64, 64
SPEC = ModelSpec(
    name="fake", frame_height=HEIGHT, frame_width=WIDTH, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=2,
    latents_mean=(0.5,) * 16, latents_inv_std=(2.0,) * 16, text_tokens=1, text_dim=1, history_sizes=(4, 2, 1),
    text_vocabulary=8, text_words=2,
)  # fmt: skip


class Encoder:
    """A latent frame's mean is its last picture's level; the spread is zero."""

    def __init__(self, *, able: bool = True) -> None:
        anything = TensorSignature("uint8", (None, HEIGHT, WIDTH, 3))
        self._graphs = {"encoder": GraphSignature({"frames": anything}, {})} if able else {}

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return self._graphs

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        levels = np.asarray(inputs["frames"])[::4, 0, 0, 0].astype(np.float32)
        mean = np.broadcast_to(levels[None, None, :, None, None], (1, 16, len(levels), 8, 8))
        return {"mean": mean, "std": np.zeros_like(mean)}

    def bind_constant(self, graph: str, name: str, array: NDArray[np.generic]) -> None: ...

    def close(self) -> None: ...


def reader(*, able: bool = True) -> PictureReader:
    return PictureReader(SPEC, Encoder(able=able), philox_normal, philox_uniform)


def clip(*levels: int) -> NDArray[np.uint8]:
    return np.stack([np.full((HEIGHT, WIDTH, 3), level, np.uint8) for level in levels])


def test_an_image_is_the_prefix_and_the_newest_history() -> None:
    beginning = reader().read(clip(100), seed=1)
    assert beginning.prefix.shape == beginning.history.shape == (1, 16, 1, 8, 8)
    clean = (100 - 0.5) * 2
    for latents in (beginning.prefix, beginning.history):
        share = latents.mean() / clean
        assert 1 - NOISE_SIGMA[1] - 0.01 < share < 1 - NOISE_SIGMA[0] + 0.01
    assert not np.array_equal(beginning.prefix, beginning.history)


def test_a_clip_gives_its_newest_whole_chunks() -> None:
    levels = [7, *range(10, 10 + 25)]  # 26 frames: five chunks of five, four of which a history of seven holds
    beginning = reader().read(clip(*levels), seed=1)
    assert beginning.history.shape[2] == 8
    wanted = [levels[6 + 5 * chunk + 4 * place] for chunk in range(4) for place in range(2)]
    told = beginning.history.mean(axis=(0, 1, 3, 4)) / 2 / (1 - sum(NOISE_SIGMA) / 2)
    np.testing.assert_allclose(told, np.array(wanted) - 0.5, rtol=0.03)
    assert beginning.prefix.mean() == pytest.approx((7 - 0.5) * 2 * (1 - sum(NOISE_SIGMA) / 2), rel=0.05)


def test_the_noise_is_the_seeds() -> None:
    same, again, other = (reader().read(clip(50), seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(same.history, again.history)
    assert not np.array_equal(same.history, other.history)


@pytest.mark.parametrize(
    ("pictures", "named"),
    [
        (clip(1, 2), "one picture or a clip of 5 or more, got 2"),
        (clip(1)[:, :32], r"pictures must be \(N, 64, 64, 3\) uint8, got \(1, 32, 64, 3\)"),
        (clip(1).astype(np.float32), "got .* float32"),
    ],
)
def test_pictures_that_do_not_fit_are_refused(pictures: NDArray[np.uint8], named: str) -> None:
    with pytest.raises(ModelError, match=named):
        reader().read(pictures, seed=0)


def test_a_model_without_an_encoder_says_so() -> None:
    with pytest.raises(ModelError, match="begins with text alone"):
        reader(able=False).read(clip(1), seed=0)


class SteppingEncoder(Encoder):
    """As a graph that is exported in two: a frame, then four at a time; each continues the one before."""

    def __init__(self) -> None:
        self.runs: list[tuple[str, int]] = []

    @property
    def graphs(self) -> Mapping[str, GraphSignature]:
        return {
            name: GraphSignature({"frames": TensorSignature("uint8", (frames, HEIGHT, WIDTH, 3))}, {})
            for name, frames in (("encoder_first", 1), ("encoder", 4))
        }

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[np.generic]]:
        frames = np.asarray(inputs["frames"])
        self.runs.append((graph, len(frames)))
        return super().run(graph, {"frames": frames[:1] if graph == "encoder_first" else frames[3:]})


def test_an_encoder_in_two_graphs_is_run_latent_frame_by_latent_frame() -> None:
    """A chunk of two latent frames is five pictures; in both encoders a latent frame is its last picture's level."""
    stepping = SteppingEncoder()
    video = clip(*range(10, 110, 10))
    ours = PictureReader(SPEC, stepping, philox_normal, philox_uniform).read(video, seed=3)
    wanted = reader().read(video, seed=3)
    np.testing.assert_array_equal(ours.history, wanted.history)
    np.testing.assert_array_equal(ours.prefix, wanted.prefix)
    assert stepping.runs == [("encoder_first", 1), *[("encoder_first", 1), ("encoder", 4)] * 2]


def test_the_likeliest_latents_are_those_of_either_encoder() -> None:
    video = clip(10, 20, 30, 40, 50, 60, 70, 80, 90)
    whole = encoder_of(SPEC, Encoder())(video)
    assert whole.shape == (1, 16, 3, 8, 8)
    np.testing.assert_array_equal(encoder_of(SPEC, SteppingEncoder())(video), whole)
