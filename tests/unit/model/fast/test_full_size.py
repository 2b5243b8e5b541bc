"""Helios-14B's own sizes on torch's meta device: every shape and layout of a forward, without memory or arithmetic."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")

from torch.utils._python_dispatch import TorchDispatchMode  # noqa: E402
from torch.utils._pytree import tree_leaves  # noqa: E402

pytestmark = pytest.mark.torch

LAYERS = 2


@pytest.fixture
def native_products(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int, int]]:
    """FP8 products go to `torch._scaled_mm` as on a GPU, under the checks that torch makes there. Gives (rows, in,
    out) of each."""
    from torch import _meta_registrations

    from model.fast import projection

    seen: list[tuple[int, int, int]] = []
    product = torch._scaled_mm

    def record(left: Any, right: Any, **options: Any) -> Any:
        seen.append((*left.shape, right.shape[1]))
        return product(left, right, **options)

    monkeypatch.setattr(_meta_registrations, "device_hint", lambda tensor: "cuda")
    monkeypatch.setattr(projection, "native_fp8", lambda device: True)
    monkeypatch.setattr(torch, "_scaled_mm", record)
    return seen


@pytest.mark.parametrize(("stage", "new"), [(0, 540), (1, 2160), (2, 8640)])
def test_every_product_of_a_forward_in_fp8_has_a_layout_that_torch_takes(
    native_products: list[tuple[int, int, int]], stage: int, new: int
) -> None:
    from benchmarks.gpu_model import random_transformer
    from benchmarks.gpu_sizes import FULL
    from model.fast.denoiser import FastDenoiser
    from model.networks.denoiser import example_inputs
    from model.precision import Precision

    meta = torch.device("meta")
    spec = FULL.spec(steps=(1, 1, 1), chunk_latents=9)
    denoiser = FastDenoiser(random_transformer(FULL, meta, torch.bfloat16, layers=LAYERS), Precision.FP8)
    inputs = {name: tensor.to(meta) for name, tensor in example_inputs(spec).items()}
    factor = 2 ** (2 - stage)
    inputs["hidden_states"] = torch.empty(1, 16, 9, 48 // factor, 80 // factor, device=meta)
    inputs["indices_hidden_states"] = torch.empty(1, 9, dtype=torch.int64, device=meta)
    keys, values = denoiser.text_keys(inputs.pop("encoder_hidden_states"))
    assert keys.shape == values.shape == (LAYERS, 512, 5120)
    flow = denoiser(*inputs.values(), keys, values)
    assert flow.shape == inputs["hidden_states"].shape
    assert flow.dtype == torch.float32
    width, ffn, history = 5120, 13824, 2400

    def block(rows: int, left: int) -> list[tuple[int, int, int]]:
        """rows: that come in. left: that leave."""
        return [
            (rows, width, 3 * width), (left, width, width), (new, width, width), (new, width, width),
            (left, width, ffn), (left, ffn, width),
        ]  # fmt: skip

    rows = history + new
    assert native_products == [*block(rows, rows), *block(rows, new)]  # the last block leaves the history out


def test_scales_of_the_wrong_form_would_be_refused(native_products: list[tuple[int, int, int]]) -> None:
    """The checks that the test above relies on are made."""
    values = torch.empty(64, 32, dtype=torch.float8_e4m3fn, device="meta")
    weight = torch.empty(16, 32, dtype=torch.float8_e4m3fn, device="meta")
    with pytest.raises(RuntimeError, match="Invalid scaling configuration"):
        torch._scaled_mm(
            values, weight.t(), scale_a=torch.empty(1, 64, device="meta"), scale_b=torch.empty(1, 16, device="meta"),
            out_dtype=torch.bfloat16,
        )  # fmt: skip


def test_weights_in_fp8_take_half_the_memory_of_bfloat16() -> None:
    from benchmarks.gpu_model import random_transformer
    from benchmarks.gpu_sizes import FULL
    from model.fast.denoiser import FastDenoiser
    from model.precision import Precision

    meta = torch.device("meta")
    gigabytes = {}
    for precision in (Precision.BF16, Precision.FP8):
        denoiser = FastDenoiser(random_transformer(FULL, meta, torch.bfloat16), precision)
        held = {id(x): x for x in (*denoiser.buffers(), *denoiser.parameters())}
        gigabytes[precision] = sum(x.nbytes for x in held.values()) / 1e9
    assert gigabytes[Precision.BF16] == pytest.approx(28.8, abs=0.5)
    assert gigabytes[Precision.FP8] < 20  # the prompt's keys and values stay in bf16


class HostTensors(TorchDispatchMode):
    """Notes every operation that touches a tensor in host memory."""

    def __init__(self) -> None:
        super().__init__()
        self.operations: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        tensors = [x for x in tree_leaves((args, kwargs, result)) if isinstance(x, torch.Tensor)]
        if any(x.device.type == "cpu" for x in tensors):
            self.operations.append(str(func))
        return result


def test_no_graph_of_a_chunk_reads_host_memory_or_a_value_which_a_capture_would_refuse() -> None:
    """On the meta device reading a value fails, and a constant made on the host would be seen on its way here."""
    from benchmarks.gpu_model import random_transformer, random_wan
    from benchmarks.gpu_sizes import FULL
    from model.fast.denoiser import FastDenoiser
    from model.helios.graphs import empty_tiny_decoder, streaming_decoders
    from model.networks.view_denoiser import example_view_inputs
    from model.precision import Precision

    meta = torch.device("meta")
    spec = FULL.spec(steps=(1, 1, 1), chunk_latents=9)
    denoiser = FastDenoiser(random_transformer(FULL, meta, torch.bfloat16, layers=LAYERS), Precision.BF16)
    inputs = {name: tensor.to(meta) for name, tensor in example_view_inputs(spec).items()}
    told = denoiser.text_keys(inputs.pop("encoder_hidden_states"))
    wan, tiny = random_wan(FULL, meta, torch.bfloat16), empty_tiny_decoder().to(torch.bfloat16)
    decoders = [*streaming_decoders(spec, wan, None).values(), *streaming_decoders(spec, None, tiny).values()]
    latents = [decoder.inputs["latents"].to(meta) for decoder in decoders]
    for decoder in decoders:
        decoder.module.to(meta)
    with torch.no_grad(), HostTensors() as seen:
        denoiser(*inputs.values(), *told)
        frames = [len(decoder.module(x)) for decoder, x in zip(decoders, latents, strict=True)]
    assert frames == [1, 4, 1, 4]
    assert seen.operations == []
    with HostTensors() as seen:
        torch.zeros(1).to(meta)
    assert seen.operations  # a copy from the host would have been seen
