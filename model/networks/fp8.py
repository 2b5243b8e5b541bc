"""FP8 (E4M3) as quantise-dequantise pairs: what an fp8 graph says, computed by torch in the graph's own rounding.

Here live the two operators (exported as ONNX QuantizeLinear and DequantizeLinear), linear layers over fp8 weights, and
the places where activations are quantised: `Observer` learns their ranges, `Scales` applies them.

Weights have a scale for each output channel, activations one for each place; zero points are zero. A range is the
largest magnitude seen, so that nothing that was seen is clipped. Needs the torch extra.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor, nn

from model.networks.weight_offload import Fetch, hollow

E4M3_MAX = 448.0  # the largest finite E4M3 number (OCP 8-bit floating point specification, table 1)
SOFTMAX = "attn1_softmax"
SOFTMAX_SCALE = 1 / E4M3_MAX  # probabilities end at 1, whatever the data: nothing to calibrate
_SMALLEST_SCALE = 1e-12  # of a channel that is all zero


@torch.library.custom_op("helios_bridge::quantise_dequantise", mutates_args=())
def quantise_dequantise(x: Tensor, scale: Tensor) -> Tensor:
    """`x` rounded to the multiples of `scale` (one number) that E4M3 holds, saturating; same shape and dtype."""
    steps = (x.float() / scale.float()).clamp(-E4M3_MAX, E4M3_MAX)
    return (steps.to(torch.float8_e4m3fn).float() * scale.float()).to(x.dtype)


@quantise_dequantise.register_fake
def _(x: Tensor, scale: Tensor) -> Tensor:
    return torch.empty_like(x)


@torch.library.custom_op("helios_bridge::dequantise", mutates_args=())
def dequantise(weight: Tensor, scale: Tensor) -> Tensor:
    """weight (in, out) E4M3, scale (out,) -> (in, out) in the scale's dtype."""
    return (weight.float() * scale.float()).to(scale.dtype)


@dequantise.register_fake
def _(weight: Tensor, scale: Tensor) -> Tensor:
    return weight.new_empty(weight.shape, dtype=scale.dtype)


def quantised_weight(weight: Tensor, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A linear layer's weight (out, in) -> (in, out) E4M3 and its scales (out,) in `dtype`."""
    scale = (weight.float().abs().amax(1) / E4M3_MAX).clamp_min(_SMALLEST_SCALE).to(dtype)
    steps = (weight.float().T / scale.float()).clamp(-E4M3_MAX, E4M3_MAX)
    return steps.to(torch.float8_e4m3fn).contiguous(), scale


class QuantisedLinear(nn.Module):
    """A linear layer over an E4M3 weight that is fetched when needed; while it is exported it holds placeholders."""

    def __init__(self, fetch: Fetch, shape: tuple[int, int], bias: Tensor | None, dtype: torch.dtype) -> None:
        """shape: (out, in) of the weight that `fetch` gives. dtype: of the products' results."""
        super().__init__()
        self._fetch, self._dtype = fetch, dtype
        out_features, in_features = shape
        self.weight = hollow((in_features, out_features), torch.float8_e4m3fn)
        self.weight_scale = hollow((out_features,), dtype)
        self.bias = None if bias is None else nn.Parameter(bias.detach().to(dtype), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        if torch.compiler.is_exporting():
            weight: Tensor = dequantise(self.weight, self.weight_scale)
        else:
            weight = dequantise(*quantised_weight(self._fetch(), self._dtype))
        product = x @ weight
        return product if self.bias is None else product + self.bias

    def stored(self, name: str) -> Tensor:
        """What a placeholder stands for."""
        weight, scale = quantised_weight(self._fetch(), self._dtype)
        return {"weight": weight, "weight_scale": scale}[name]


class Sites(Protocol):
    """What happens to an activation at a named place of a layer on its way into a matrix product."""

    def __call__(self, layer: int, site: str, x: Tensor) -> Tensor: ...


def untouched(layer: int, site: str, x: Tensor) -> Tensor:
    """No quantisation."""
    del layer, site
    return x


class Observer:
    """Keeps the largest magnitude seen at each site, over any number of forwards; changes nothing."""

    def __init__(self) -> None:
        self.largest: dict[tuple[int, str], float] = {}

    def __call__(self, layer: int, site: str, x: Tensor) -> Tensor:
        seen = float(x.detach().abs().amax())
        self.largest[layer, site] = max(seen, self.largest.get((layer, site), 0.0))
        return x

    def scales(self) -> dict[str, float]:
        """Scale by `site_name`: the largest magnitude becomes the largest E4M3 number."""
        return {
            site_name(layer, site): max(seen / E4M3_MAX, _SMALLEST_SCALE)
            for (layer, site), seen in self.largest.items()
        }


class Scales(nn.Module):
    """Quantises every activation with its site's scale; a site that was never seen is a KeyError."""

    def __init__(self, scales: Mapping[str, float], layers: int, dtype: torch.dtype) -> None:
        super().__init__()
        fixed = {site_name(layer, SOFTMAX): SOFTMAX_SCALE for layer in range(layers)}
        for name, scale in {**scales, **fixed}.items():
            self.register_buffer(name, torch.tensor(scale, dtype=dtype))

    def forward(self, layer: int, site: str, x: Tensor) -> Tensor:
        scale = self._buffers[site_name(layer, site)]
        assert scale is not None
        quantised: Tensor = quantise_dequantise(x, scale)
        return quantised


def site_name(layer: int, site: str) -> str:
    return f"{site}_{layer}"
