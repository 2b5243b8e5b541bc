"""The chunk loop against diffusers' `HeliosPyramidPipeline` on a small random transformer and the same noise."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from model.rollout import Rollout
from model.spec import Decode, ModelSpec, TimeShift
from model.state import ChunkRequest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = [
    pytest.mark.torch,
    pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning"),  # diffusers' scheduler, numpy 2
]

HEIGHT, WIDTH, FRAMES = 128, 192, 3
TEXT_TOKENS, TEXT_DIM = 5, 24


@pytest.fixture(scope="module")
def transformer() -> Any:
    torch.manual_seed(3)
    return diffusers.HeliosTransformer3DModel(
        num_attention_heads=2, attention_head_dim=32, in_channels=16, out_channels=16, text_dim=TEXT_DIM, freq_dim=32,
        ffn_dim=96, num_layers=2, rope_dim=(12, 10, 10), cross_attn_norm=True, guidance_cross_attn=True,
        zero_history_timestep=True, has_multi_term_memory_patch=True, is_amplify_history=False,
    ).eval()  # fmt: skip


@pytest.fixture(scope="module")
def embeddings() -> Any:
    return torch.randn(1, TEXT_TOKENS, TEXT_DIM, generator=torch.Generator().manual_seed(4))


class KeptSizes(list[int]):
    """History sizes that stay as given: without a prefix the pipeline of diffusers 0.42.1 lengthens the last of them
    after having sized the history without, and then cannot split it."""

    def __setitem__(self, *_: Any) -> None:
        return


def run_pipeline(
    monkeypatch: pytest.MonkeyPatch, transformer: Any, embeddings: Any, spec: ModelSpec, steps: tuple[int, ...],
    chunks: int,
) -> tuple[NDArray[np.float32], dict[tuple[int, int], NDArray[np.float32]]]:  # fmt: skip
    """The pipeline's latents, and its raw draws by (chunk, stage)."""
    from diffusers.pipelines.helios import pipeline_helios_pyramid as module

    draws: dict[tuple[int, int], NDArray[np.float32]] = {}
    generator = torch.Generator().manual_seed(11)

    def record(shape: tuple[int, ...]) -> Any:
        drawn = torch.randn(shape, generator=generator)
        draws[divmod(len(draws), 3)] = drawn.numpy()
        return drawn

    def float64_cholesky(matrix: Any) -> Any:
        # float32 cannot hold the pipeline's 1e-8 beside 1.0: whether it factorises depends on the LAPACK.
        jitter = torch.eye(len(matrix), dtype=torch.float64) * 1e-8
        exact = torch.eye(len(matrix), dtype=torch.float64) * (1 + spec.gamma) - spec.gamma
        assert torch.allclose(matrix.double(), exact, atol=1e-6)
        return torch.linalg.cholesky_ex(exact + jitter).L.float()

    fake_torch = SimpleNamespace(**vars(torch))
    fake_torch.randn = lambda *shape, generator, device: record(shape)
    fake_torch.linalg = SimpleNamespace(cholesky=float64_cholesky)
    monkeypatch.setattr(module, "torch", fake_torch)
    monkeypatch.setattr(module, "randn_tensor", lambda shape, generator, device, dtype: record(shape))
    monkeypatch.setattr(module, "sorted", lambda sizes, reverse: KeptSizes(sizes), raising=False)
    config = SimpleNamespace(
        z_dim=16, latents_mean=[0.0] * 16, latents_std=[1.0] * 16, scale_factor_temporal=4, scale_factor_spatial=8
    )
    vae = SimpleNamespace(config=config, dtype=torch.float32, decode=lambda z, return_dict: (z[:, :, :1],))
    scheduler = diffusers.HeliosDMDScheduler(
        shift=spec.shift, gamma=spec.gamma, use_dynamic_shifting=spec.use_dynamic_shifting,
        time_shift_type=str(spec.time_shift_type),
    )  # fmt: skip
    pipeline = diffusers.HeliosPyramidPipeline(
        tokenizer=None, text_encoder=None, vae=None, scheduler=scheduler, transformer=transformer, is_distilled=True
    )
    pipeline.vae = vae
    pipeline.set_progress_bar_config(disable=True)
    latents = pipeline(
        prompt_embeds=embeddings, height=HEIGHT, width=WIDTH, num_frames=chunks * spec.frames_in(FRAMES),
        guidance_scale=1.0, output_type="latent", history_sizes=list(spec.history_sizes),
        num_latent_frames_per_chunk=FRAMES, keep_first_frame=spec.keep_prefix,
        pyramid_num_inference_steps_list=list(steps), is_amplify_first_chunk=spec.amplify_first_chunk,
    ).frames  # fmt: skip
    return latents.numpy(), draws


def run_loop(
    transformer: Any, embeddings: Any, spec: ModelSpec, steps: tuple[int, ...], chunks: int,
    draws: dict[tuple[int, int], NDArray[np.float32]],
) -> NDArray[np.float32]:  # fmt: skip
    from model.runners.torch import TorchGraph, TorchRunner
    from model.transformer import denoiser_graph

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
            "decoder": TorchGraph(
                module=Frames(), inputs={"latents": torch.zeros(1, 16, FRAMES, HEIGHT // 8, WIDTH // 8)},
                outputs=("frames",), dynamic_axes={"latents": {2: "frames"}},
            ),
        }
    )  # fmt: skip

    def draw(*, seed: int, chunk: int, stage: int, shape: tuple[int, ...]) -> NDArray[np.float32]:
        return draws[chunk, stage].reshape(shape)

    loop = Rollout(spec, runner, clock=lambda: 0.0, draw=draw)
    state, made = loop.open(0), []
    for _ in range(chunks):
        result, state = loop.chunk(state, ChunkRequest(texts=("",) * FRAMES, steps=steps))
        made.append(result.latents)
    return np.concatenate(made, axis=2)


@pytest.mark.parametrize(
    ("steps", "chunks", "changes"),
    [
        ((1, 1, 1), 3, {}),
        ((2, 2, 2), 2, {}),
        ((1, 2, 3), 1, {}),
        ((1, 1, 1), 2, {"amplify_first_chunk": True}),
        ((2, 2, 2), 2, {"amplify_first_chunk": True, "keep_prefix": False}),
        ((1, 1, 1), 3, {"keep_prefix": False, "history_sizes": (4, 2, 1)}),
        ((2, 2, 2), 2, {"use_dynamic_shifting": True, "time_shift_type": TimeShift.EXPONENTIAL}),
        ((2, 1, 2), 2, {"use_dynamic_shifting": True}),
        ((2, 2, 2), 1, {"shift": 5.0, "gamma": 0.2}),
    ],
)
def test_latents_equal_the_pipelines(
    monkeypatch: pytest.MonkeyPatch, transformer: Any, embeddings: Any, steps: tuple[int, ...], chunks: int,
    changes: dict[str, Any],
) -> None:  # fmt: skip
    fields: dict[str, Any] = {"history_sizes": (16, 2, 1), **changes}
    spec = ModelSpec(
        name="parity", frame_height=HEIGHT, frame_width=WIDTH, fps=24.0, decode=Decode.PER_CHUNK, chunk_latents=FRAMES,
        latents_mean=(0.0,) * 16, latents_inv_std=(1.0,) * 16, text_tokens=TEXT_TOKENS, text_dim=TEXT_DIM,
        text_vocabulary=64, text_words=4, **fields,
    )  # fmt: skip
    wanted, draws = run_pipeline(monkeypatch, transformer, embeddings, spec, steps, chunks)
    monkeypatch.undo()
    got = run_loop(transformer, embeddings, spec, steps, chunks, draws)
    assert got.shape == wanted.shape == (1, 16, chunks * FRAMES, HEIGHT // 8, WIDTH // 8)
    assert np.abs(wanted).max() > 1  # neither is empty
    np.testing.assert_allclose(got, wanted, atol=1e-4)
