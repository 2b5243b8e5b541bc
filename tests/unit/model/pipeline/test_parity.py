"""The chunk loop against diffusers' `HeliosPyramidPipeline` on a small random transformer and the same noise.

What is covered is `CASES`, a row a comparison. Every row holds to 1e-4 in float32, latent for latent.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.pipeline.noise import Purpose
from model.pipeline.state import ChunkRequest
from model.pipeline.video_pipeline import VideoPipeline
from model.spec import Decode, ModelSpec, TimeShift

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # diffusers' scheduler, numpy 2
]

HEIGHT, WIDTH, FRAMES = 64, 128, 2
CHUNK_FRAMES = (FRAMES - 1) * 4 + 1
TEXT_TOKENS, TEXT_DIM = 5, 24
IMAGE, CLIP, LONG_CLIP = 1, CHUNK_FRAMES, 4 * CHUNK_FRAMES + 2
LINEAR = {"use_dynamic_shifting": True}
EXPONENTIAL = {"use_dynamic_shifting": True, "time_shift_type": TimeShift.EXPONENTIAL}
SHORT = {"history_sizes": (4, 2, 1)}  # a clip can be longer than it


@dataclass(frozen=True)
class Case:
    """pictures: frames that the video continues; 0 is text alone, 1 an image. shift: none, or dynamic of a kind."""

    pictures: int
    steps: tuple[int, ...]
    amplified: bool
    prefix: bool
    chunks: int
    shift: dict[str, Any] = field(default_factory=dict)
    other: dict[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        kind = {0: "text", IMAGE: "image"}.get(self.pictures, f"clip{self.pictures}")
        shift = str(self.shift.get("time_shift_type", "linear")) if self.shift else "unshifted"
        marks = ("amplified" if self.amplified else "plain", "prefix" if self.prefix else "no-prefix", shift)
        return "-".join([kind, "".join(map(str, self.steps)), *marks, str(self.chunks), *map(str, self.other)])


#     begins    steps      amplified prefix chunks shift        else
CASES = [
    Case(0,         (1, 1, 1), False, True,  1),
    Case(0,         (1, 1, 1), True,  True,  4),
    Case(0,         (1, 1, 1), False, False, 3, LINEAR),
    Case(0,         (1, 1, 1), True,  False, 2, EXPONENTIAL),
    Case(0,         (2, 2, 2), False, True,  4, LINEAR),
    Case(0,         (2, 2, 2), True,  True,  2, EXPONENTIAL),
    Case(0,         (2, 2, 2), True,  False, 1),
    Case(0,         (1, 2, 3), False, True,  2, {},          SHORT),
    Case(0,         (2, 2, 2), False, True,  1, {},          {"shift": 5.0, "gamma": 0.2}),
    Case(IMAGE,     (1, 1, 1), False, True,  3),
    Case(IMAGE,     (1, 1, 1), True,  False, 2, EXPONENTIAL),
    Case(IMAGE,     (2, 2, 2), True,  True,  2, LINEAR),
    Case(IMAGE,     (2, 2, 2), False, False, 1),
    Case(CLIP,      (1, 1, 1), False, True,  4),
    Case(CLIP,      (2, 2, 2), True,  True,  1, EXPONENTIAL),
    Case(LONG_CLIP, (1, 1, 1), True,  False, 2, LINEAR,      SHORT),
    Case(LONG_CLIP, (2, 2, 2), False, True,  3, {},          SHORT),
    Case(LONG_CLIP, (1, 1, 1), True,  True,  2),
]  # fmt: skip


@pytest.fixture(scope="module")
def transformer() -> Any:
    torch.manual_seed(3)
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, in_channels=16, out_channels=16, text_dim=TEXT_DIM, freq_dim=32,
        ffn_dim=96, num_layers=2, rope_dim=(12, 10, 10), cross_attn_norm=True, guidance_cross_attn=True,
        zero_history_timestep=True, has_multi_term_memory_patch=True, is_amplify_history=False,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def vae() -> Any:
    torch.manual_seed(5)
    return diffusers.AutoencoderKLWan(base_dim=8, dim_mult=[1, 1, 2, 2], num_res_blocks=1).eval()


@pytest.fixture(scope="module")
def embeddings() -> Any:
    return torch.randn(1, TEXT_TOKENS, TEXT_DIM, generator=torch.Generator().manual_seed(4))


class KeptSizes(list[int]):
    """History sizes that stay as given: without a prefix the pipeline of diffusers 0.42.1 lengthens the last of them
    after having sized the history without, and then cannot split it."""

    def __setitem__(self, *_: Any) -> None:
        return


class Recorded:
    """The pipeline's raw draws, in the order it makes them: before its first chunk for the pictures, then three a
    chunk."""

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(11)
        self.normal: deque[NDArray[np.float32]] = deque()
        self.uniform: deque[NDArray[np.float32]] = deque()

    def randn(self, shape: tuple[int, ...]) -> Any:
        drawn = torch.randn(shape, generator=self._generator)
        self.normal.append(drawn.numpy())
        return drawn

    def rand(self, shape: int) -> Any:
        drawn = torch.rand(shape, generator=self._generator)
        self.uniform.append(drawn.numpy())
        return drawn


def run_pipeline(
    monkeypatch: pytest.MonkeyPatch, transformer: Any, vae: Any, embeddings: Any, spec: ModelSpec, case: Case,
    pictures: NDArray[np.uint8] | None,
) -> tuple[NDArray[np.float32], Recorded]:  # fmt: skip
    """The pipeline's latents, and what it drew."""
    from diffusers.models.autoencoders import vae as distributions
    from diffusers.pipelines.helios import pipeline_helios_pyramid as module

    draws = Recorded()

    def float64_cholesky(matrix: Any) -> Any:
        # float32 cannot hold the pipeline's 1e-8 beside 1.0: whether it factorises depends on the LAPACK.
        jitter = torch.eye(len(matrix), dtype=torch.float64) * 1e-8
        exact = torch.eye(len(matrix), dtype=torch.float64) * (1 + spec.gamma) - spec.gamma
        assert torch.allclose(matrix.double(), exact, atol=1e-6)
        return torch.linalg.cholesky_ex(exact + jitter).L.float()

    fake_torch = SimpleNamespace(**vars(torch))
    fake_torch.randn = lambda *shape, generator, device: draws.randn(shape)
    fake_torch.rand = lambda count, device, generator: draws.rand(count)
    fake_torch.linalg = SimpleNamespace(cholesky=float64_cholesky)
    monkeypatch.setattr(module, "torch", fake_torch)
    for drawing in (module, distributions):
        monkeypatch.setattr(drawing, "randn_tensor", lambda shape, generator, device, dtype=None: draws.randn(shape))
    monkeypatch.setattr(module, "sorted", lambda sizes, reverse: KeptSizes(sizes), raising=False)
    monkeypatch.setattr(vae, "decode", lambda z, return_dict: (z[:, :, :1],))  # its own test compares decoding
    scheduler = diffusers.HeliosDMDScheduler(
        shift=spec.shift, gamma=spec.gamma, use_dynamic_shifting=spec.use_dynamic_shifting,
        time_shift_type=str(spec.time_shift_type),
    )  # fmt: skip
    pipeline = diffusers.HeliosPyramidPipeline(
        tokenizer=None, text_encoder=None, vae=vae, scheduler=scheduler, transformer=transformer, is_distilled=True
    )
    pipeline.set_progress_bar_config(disable=True)
    given = {}
    if pictures is not None:
        tensor = torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255
        given = {"image": tensor} if len(pictures) == 1 else {"video": tensor[None]}
    latents = pipeline(
        prompt_embeds=embeddings, height=HEIGHT, width=WIDTH, num_frames=case.chunks * CHUNK_FRAMES,
        guidance_scale=1.0, output_type="latent", history_sizes=list(spec.history_sizes),
        num_latent_frames_per_chunk=FRAMES, keep_first_frame=spec.keep_prefix,
        pyramid_num_inference_steps_list=list(case.steps), is_amplify_first_chunk=spec.amplify_first_chunk, **given,
    ).frames  # fmt: skip
    return latents.numpy()[:, :, -case.chunks * FRAMES :], draws


def replayed(draws: Recorded, case: Case, spec: ModelSpec) -> tuple[Any, Any]:
    """Our two drawing functions, which give the pipeline's draws back by what they are for."""
    normal: dict[tuple[int, int], NDArray[np.float32]] = {}
    uniform: dict[tuple[int, int], NDArray[np.float32]] = {}
    prefix, history = Purpose.PREFIX, Purpose.HISTORY
    if case.pictures == IMAGE:
        places = [(0, prefix.sample), (0, history.sample), (0, prefix.noise), (0, history.noise)]
        normal |= zip(places, taken(draws, 4), strict=True)
        uniform |= {(0, prefix.level): draws.uniform.popleft(), (0, history.level): draws.uniform.popleft()}
    elif case.pictures:
        in_clip = case.pictures // CHUNK_FRAMES
        kept = range(in_clip - min(in_clip, -(-spec.history_latents // FRAMES)), in_clip)
        normal[0, prefix.sample] = draws.normal.popleft()
        samples = list(taken(draws, in_clip))
        normal[0, prefix.noise] = draws.normal.popleft()
        noises = list(taken(draws, in_clip))
        uniform[0, prefix.level] = draws.uniform.popleft()
        levels = list(draws.uniform)
        for place, chunk in enumerate(kept):
            normal[place, history.sample] = samples[chunk]
            normal[place, history.noise] = noises[chunk]
            uniform[place, history.level] = levels[chunk]
    for chunk in range(case.chunks):
        for stage in range(3):
            normal[chunk, stage] = draws.normal.popleft()
    assert not draws.normal

    def draw(*, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return normal[chunk, stage].reshape(shape)

    def level(*, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return uniform[chunk, stage].reshape(shape)

    return draw, level


def taken(draws: Recorded, count: int) -> Iterator[NDArray[np.float32]]:
    return (draws.normal.popleft() for _ in range(count))


def run_loop(
    transformer: Any, vae: Any, embeddings: Any, spec: ModelSpec, case: Case, draws: Recorded,
    pictures: NDArray[np.uint8] | None,
) -> NDArray[np.float32]:  # fmt: skip
    from model.helios.wan import WanEncoder
    from model.networks.denoiser import denoiser_graph
    from model.runners.torch import TorchGraph, TorchRunner

    class Text(torch.nn.Module):
        def forward(self, tokens: Any) -> Any:
            return embeddings

    class Frames(torch.nn.Module):
        def forward(self, latents: Any) -> Any:
            return torch.zeros(spec.frames_in(latents.shape[2]), HEIGHT, WIDTH, 3, dtype=torch.uint8)

    runner = TorchRunner(
        {
            "text_encoder": TorchGraph(
                module=Text(), inputs={"tokens": torch.zeros(1, 4, dtype=torch.int64)}, outputs=("embeddings",),
                dynamic_axes={},
            ),
            "denoiser": denoiser_graph(transformer, spec),
            "encoder": TorchGraph(
                module=WanEncoder(vae), inputs={"frames": torch.zeros(5, HEIGHT, WIDTH, 3, dtype=torch.uint8)},
                outputs=("mean", "std"), dynamic_axes={"frames": {0: "frames"}},
            ),
            "decoder": TorchGraph(
                module=Frames(), inputs={"latents": torch.zeros(1, 16, FRAMES, HEIGHT // 8, WIDTH // 8)},
                outputs=("frames",), dynamic_axes={"latents": {2: "frames"}},
            ),
        }
    )  # fmt: skip
    draw, level = replayed(draws, case, spec)
    loop = VideoPipeline(spec, runner, clock=lambda: 0.0, draw=draw, draw_uniform=level)
    state, made = loop.open(0, pictures=pictures), []
    for _ in range(case.chunks):
        result, state = loop.chunk(state, ChunkRequest(texts=("",) * FRAMES, steps=case.steps))
        made.append(result.latents)
    return np.concatenate(made, axis=2)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_latents_equal_the_pipelines(
    monkeypatch: pytest.MonkeyPatch, transformer: Any, vae: Any, embeddings: Any, case: Case
) -> None:
    fields: dict[str, Any] = {**case.shift, **case.other}
    spec = ModelSpec(
        name="parity", frame_height=HEIGHT, frame_width=WIDTH, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=FRAMES,
        latents_mean=tuple(vae.config.latents_mean), latents_inv_std=tuple(1 / v for v in vae.config.latents_std),
        text_tokens=TEXT_TOKENS, text_dim=TEXT_DIM, text_vocabulary=64, text_words=4,
        keep_prefix=case.prefix, amplify_first_chunk=case.amplified, **fields,
    )  # fmt: skip
    pictures = None
    if case.pictures:
        pictures = np.random.default_rng(7).integers(0, 256, (case.pictures, HEIGHT, WIDTH, 3), np.uint8)
    wanted, draws = run_pipeline(monkeypatch, transformer, vae, embeddings, spec, case, pictures)
    monkeypatch.undo()
    got = run_loop(transformer, vae, embeddings, spec, case, draws, pictures)
    assert got.shape == wanted.shape == (1, 16, case.chunks * FRAMES, HEIGHT // 8, WIDTH // 8)
    assert np.abs(wanted).max() > 1  # neither is empty
    np.testing.assert_allclose(got, wanted, atol=1e-4, rtol=0)


def test_the_table_has_every_value_with_every_beginning() -> None:
    seen: dict[str, set[object]] = defaultdict(set)
    for case in CASES:
        kind = {0: "text", IMAGE: "image"}.get(case.pictures, "clip")
        shift = str(case.shift.get("time_shift_type", "linear")) if case.shift else "none"
        seen[kind] |= {case.steps, ("amplified", case.amplified), ("prefix", case.prefix), ("shift", shift)}
        seen["chunks"].add(case.chunks)
    wanted = {(1, 1, 1), (2, 2, 2)} | {(name, flag) for name in ("amplified", "prefix") for flag in (True, False)}
    wanted |= {("shift", kind) for kind in ("none", "linear", "exponential")}
    assert all(wanted <= seen[kind] for kind in ("text", "image", "clip"))
    assert seen["chunks"] == {1, 2, 3, 4}
