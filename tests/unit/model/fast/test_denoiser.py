"""The GPU form of the transformer against the reference form, on the CPU, at every precision."""

from __future__ import annotations

import copy
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch

TEXT_TOKENS, TEXT_DIM = 5, 32
HEIGHT, WIDTH, FRAMES = 8, 12, 3


def transformer(**changes: Any) -> Any:
    config = {
        "num_attention_heads": 2, "attention_head_dim": 32, "in_channels": 16, "out_channels": 16,
        "text_dim": TEXT_DIM, "freq_dim": 32, "ffn_dim": 96, "num_layers": 3, "rope_dim": (12, 10, 10),
        "cross_attn_norm": True, "guidance_cross_attn": True, "zero_history_timestep": True,
        "has_multi_term_memory_patch": True, "is_amplify_history": False, **changes,
    }  # fmt: skip
    torch.manual_seed(3)
    model = diffusers.HeliosTransformer3DModel(**config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name or "scale" in name:  # ones and zeros would hide a norm that is left out
                parameter.add_(torch.randn_like(parameter) * 0.3)
    return model


def inputs(*, factor: int = 1, frames: int = FRAMES) -> tuple[Any, ...]:
    """Of `DenoiserGraph.forward`, in order; new tokens at 1/factor of the history's size."""
    generator = torch.Generator().manual_seed(factor)

    def draw(*shape: int) -> Any:
        return torch.randn(*shape, generator=generator)

    return (
        draw(1, 16, frames, HEIGHT // factor, WIDTH // factor), torch.tensor([700]), draw(1, TEXT_TOKENS, TEXT_DIM),
        torch.arange(20, 20 + frames)[None], torch.tensor([[0, 19]]), torch.tensor([[17, 18]]),
        torch.arange(1, 17)[None], draw(1, 16, 2, HEIGHT, WIDTH), draw(1, 16, 2, HEIGHT, WIDTH),
        draw(1, 16, 16, HEIGHT, WIDTH),
    )  # fmt: skip


def fast(model: Any, precision: str) -> Any:
    from model.fast.denoiser import FastDenoiser
    from model.precision import Precision

    return FastDenoiser(copy.deepcopy(model), Precision(precision))


def predict(module: Any, given: tuple[Any, ...]) -> Any:
    latents, timestep, prompt, *rest = given
    with torch.no_grad():
        return module(latents, timestep, *rest, *module.text_keys(prompt))


def relative(got: Any, wanted: Any) -> float:
    return float((got - wanted).norm() / wanted.norm())


@pytest.mark.parametrize("factor", [1, 2, 4])
@pytest.mark.parametrize("amplified", [None, "scalar", "per_head"])
def test_in_float32_it_is_the_same_function(factor: int, amplified: str | None) -> None:
    changes = {} if amplified is None else {"is_amplify_history": True, "history_scale_mode": amplified}
    model = transformer(**changes)
    given = inputs(factor=factor)
    latents, timestep, prompt, new, short, mid, long, short_latents, mid_latents, long_latents = given
    with torch.no_grad():
        wanted = model(
            latents, timestep, prompt, new, short, mid, long, short_latents, mid_latents, long_latents
        ).sample
    got = predict(fast(model, "fp32"), given)
    assert got.shape == wanted.shape
    assert wanted.abs().max() > 0.1
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("factor", [1, 4])
@pytest.mark.parametrize("kept", [0, 7, FRAMES * HEIGHT // 2 * WIDTH // 2])
def test_with_a_view_in_its_history_too(factor: int, kept: int) -> None:
    from model.networks.view_denoiser import ViewDenoiserGraph

    model, given = transformer(is_amplify_history=True, history_scale_mode="per_head"), inputs(factor=factor)
    generator = torch.Generator().manual_seed(1)
    latents = torch.randn(1, 16, FRAMES, HEIGHT, WIDTH, generator=generator)
    every = torch.randperm(FRAMES * HEIGHT // 2 * WIDTH // 2, generator=generator)
    view = (latents, given[3], every[:kept].sort().values)
    with torch.no_grad():
        wanted = ViewDenoiserGraph(model).eval()(*given, *view)
        without = ViewDenoiserGraph(model).eval()(*given, latents, given[3], every[:0])
    got = predict(fast(model, "fp32"), (*given, *view))
    torch.testing.assert_close(got, wanted, atol=2e-5, rtol=1e-4)
    assert torch.allclose(wanted, without, atol=1e-4) is (kept == 0)


def test_bfloat16_is_as_far_from_float32_as_diffusers_own_bfloat16() -> None:
    model, given = transformer(), inputs()
    wanted = predict(fast(model, "fp32"), given)
    error = relative(predict(fast(model, "bf16"), given), wanted)
    low = copy.deepcopy(model).to(torch.bfloat16)
    low.rope = copy.deepcopy(model.rope)
    with torch.no_grad():
        theirs = low(*(x.bfloat16() if x.is_floating_point() else x for x in given)).sample.float()
    assert 0 < error < 1.5 * relative(theirs, wanted)


def test_each_block_in_fp8_is_near_the_block_in_bfloat16() -> None:
    from model.fast.block_errors import block_errors

    model, (latents, timestep, prompt, *rest) = transformer(), inputs()
    errors = block_errors(fast(model, "bf16"), fast(model, "fp8"), (latents, timestep, *rest, prompt))
    assert len(errors) == 3
    # E4M3 has 3 bits after the point: a rounding error of up to 1/16 of a number, 2.6 % of a row on average
    assert all(0 < error.output < 0.03 for error in errors)
    assert all(error.output <= error.change < 0.1 for error in errors)


def test_block_errors_are_zero_for_the_same_weights() -> None:
    from model.fast.block_errors import block_errors

    model, (latents, timestep, prompt, *rest) = transformer(), inputs()
    errors = block_errors(fast(model, "bf16"), fast(model, "bf16"), (latents, timestep, *rest, prompt))
    assert [error.change for error in errors] == [0, 0, 0]


def test_the_model_is_taken_apart_so_that_no_weight_is_held_twice() -> None:
    from model.fast.denoiser import FastDenoiser
    from model.precision import Precision

    model = transformer()
    blocks = sum(p.numel() for p in model.blocks.parameters())
    made = FastDenoiser(model, Precision.FP32)
    assert sum(p.numel() for p in model.blocks.parameters()) == 0
    held = sum(b.numel() for b in made.blocks.buffers()) + sum(b.numel() for b in made.text_keys.keys_values.buffers())
    assert held == pytest.approx(blocks, rel=0.02)  # the modulation tables live elsewhere


def test_fp8_weights_take_a_byte_each() -> None:
    made = fast(transformer(), "fp8")
    assert {str(block.qkv.weight.dtype) for block in made.blocks} == {"torch.float8_e4m3fn"}
    assert made.blocks[0].qkv.weight.element_size() == 1


def test_a_configuration_that_it_does_not_cover_is_refused() -> None:
    from model.errors import CheckpointError

    with pytest.raises(CheckpointError, match="needs cross_attn_norm=True, the checkpoint has False"):
        fast(transformer(cross_attn_norm=False), "bf16")
