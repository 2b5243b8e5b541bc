"""The first things to run on a CUDA device: kernels, FP8 products and captured graphs against their CPU form."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = [pytest.mark.torch, pytest.mark.gpu]


def relative(got: Any, wanted: Any) -> float:
    return float((got.float().cpu() - wanted.float().cpu()).norm() / wanted.float().norm())


@pytest.mark.parametrize("quantise", [False, True])
@pytest.mark.parametrize("width", [192, 5120])
def test_kernels_are_the_reference_form(width: int, quantise: bool) -> None:
    from model.fast.fused_ops import Norm, ReferenceRowOps, Rotary, Rows, TritonRowOps

    torch.manual_seed(0)
    rows, head = 33, 64
    x, delta = (torch.randn(rows, width, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    gate, scale, shift, key_scale = (torch.randn(width, device="cuda") for _ in range(4))
    qkv = torch.randn(rows, 3 * width, device="cuda", dtype=torch.bfloat16)
    angle = torch.randn(rows, head // 2, device="cuda")
    turn = Rotary(angle.cos(), angle.sin(), 7, key_scale)
    weights = torch.randn(2, width, device="cuda")
    results = []
    for ops in (ReferenceRowOps(), TritonRowOps()):
        residual, out, turned = x.clone(), Rows.empty(rows, width, x, quantise=quantise), qkv.clone()
        ops.add_norm_(residual, delta, gate, Norm(scale, shift, 1e-6), out)
        ops.turn_(turned, weights, 1e-6, turn)
        active = ops.rows(delta, gelu=True, quantise=quantise)
        results.append((residual, out.dequantised(), turned, active.dequantised()))
    for wanted, got in zip(*results, strict=True):
        assert relative(got, wanted) < (0.02 if quantise else 0.005)


def test_an_fp8_product_is_the_simulated_one() -> None:
    from model.fast.fused_ops import quantised
    from model.fast.projection import Fp8Projection, native_fp8

    if not native_fp8(torch.device("cuda")):
        pytest.skip("this GPU has no E4M3 matrix units")
    torch.manual_seed(0)
    x, weight, bias = torch.randn(37, 5120), torch.randn(256, 5120) / 72, torch.randn(256)
    simulated = Fp8Projection(weight, bias, torch.bfloat16)(quantised(x))
    made = Fp8Projection(weight.cuda(), bias.cuda(), torch.bfloat16)
    assert relative(made(quantised(x.cuda())), simulated) < 0.02


@pytest.mark.parametrize("precision", ["bf16", "fp8"])
def test_a_captured_denoiser_predicts_what_the_cpu_predicts(precision: str) -> None:
    from benchmarks.gpu_model import decoder_graph, random_transformer
    from benchmarks.gpu_sizes import SMALL
    from model.fast.graph import fast_denoiser_graph, fast_runner
    from model.networks.denoiser import example_inputs
    from model.precision import Precision

    torch.manual_seed(0)
    spec = SMALL.spec(steps=(1, 1, 1), chunk_latents=3)
    cpu = torch.device("cpu")
    model = random_transformer(SMALL, cpu, torch.bfloat16)
    decoder = decoder_graph("tiny", SMALL, spec, cpu, torch.bfloat16)
    inputs = {name: tensor.numpy() for name, tensor in example_inputs(spec).items()}
    runners = []
    for device in ("cpu", "cuda"):
        graph = fast_denoiser_graph(copy.deepcopy(model).to(device), spec, Precision(precision))
        graphs = {"denoiser": graph, "decoder": copy.deepcopy(decoder)}
        runners.append(fast_runner(spec, graphs, device=device, precision=Precision(precision)))
    wanted = runners[0].run("denoiser", inputs)["sample"]
    for _ in range(3):
        got = runners[1].run("denoiser", inputs)["sample"]
        assert np.linalg.norm(got - wanted) / np.linalg.norm(wanted) < (0.1 if precision == "fp8" else 0.03)
    assert runners[1].captured["denoiser"] == 1
    latents = {"latents": np.random.default_rng(0).standard_normal((1, 16, 3, 8, 8)).astype(np.float32)}
    frames = [runner.run("decoder", latents)["frames"].astype(int) for runner in runners]
    assert np.abs(frames[1] - frames[0]).mean() < 2  # levels of 255
