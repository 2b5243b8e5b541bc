"""One block of Helios's transformer over rows, for a GPU.

History and new tokens are one sequence of rows; what differs between the two (modulation, the prompt) works on slices
of it. Queries, keys and values are one product. Needs the torch extra.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from model.fast.attention import AttentionKernel, attend
from model.fast.fused_ops import Norm, Rotary, RowOps, Rows
from model.fast.projection import projection
from model.precision import Precision


@dataclass(frozen=True, slots=True)
class Modulation:
    """A block's six vectors (width,) float32 for one kind of rows; scales have their 1 added."""

    shift: Tensor
    scale: Tensor
    gate: Tensor
    ffn_shift: Tensor
    ffn_scale: Tensor
    ffn_gate: Tensor


class FastBlock(nn.Module):
    """One transformer block over rows. Takes its weights out of `block`, whose own are gone afterwards."""

    def __init__(self, block: Any, precision: Precision, ops: RowOps, kernel: AttentionKernel | None) -> None:
        super().__init__()
        self._ops, self._kernel = ops, kernel
        own, text, ffn = block.attn1, block.attn2, block.ffn
        self.heads: int = own.heads
        self.qkv = projection(
            torch.cat([own.to_q.weight.detach(), own.to_k.weight.detach(), own.to_v.weight.detach()]),
            torch.cat([own.to_q.bias.detach(), own.to_k.bias.detach(), own.to_v.bias.detach()]),
            precision,
        )
        own.to_q = own.to_k = own.to_v = None
        self.out = _taken(own.to_out, 0, precision)
        self.text_query = projection(text.to_q.weight, text.to_q.bias, precision)
        text.to_q = None
        self.text_out = _taken(text.to_out, 0, precision)
        up = ffn.net[0]
        self.up = projection(up.proj.weight, up.proj.bias, precision)
        up.proj = None
        self.down = _taken(ffn.net, 2, precision)
        self.own_norms: Tensor
        self.text_norm: Tensor
        self.cross_scale: Tensor
        self.cross_shift: Tensor
        self.register_buffer("own_norms", torch.stack([own.norm_q.weight, own.norm_k.weight]).detach().float())
        self.register_buffer("text_norm", text.norm_q.weight.detach().float()[None])
        self.register_buffer("cross_scale", block.norm2.weight.detach().float())
        self.register_buffer("cross_shift", block.norm2.bias.detach().float())
        self.key_scale: Tensor | None
        self.register_buffer("key_scale", _key_scale(own))
        self.eps = _Eps(own.norm_q.eps, text.norm_q.eps, block.norm1.eps, block.norm2.eps, block.norm3.eps)

    def forward(
        self, x: Tensor, history: int, turn: Rotary, old: Modulation, new: Modulation, keys: Tensor, values: Tensor,
        first: int,
    ) -> Tensor:  # fmt: skip
        """Changes x (rows, width) from row `first` on, and returns it.

        history: how many rows, the first ones, are history. turn: the rotation of all rows. old, new: for history's
        rows and for the others. keys, values: (L, width), the prompt's. first: 0, or `history` where nobody reads the
        history any more.
        """
        ops, width, quantise = self._ops, x.shape[1], self.qkv.quantises
        rows = len(x)
        normed = Rows.empty(rows, width, x, quantise=quantise)
        ops.norm(x[:history], Norm(old.scale, old.shift, self.eps.norm1), normed.part(0, history))
        ops.norm(x[history:], Norm(new.scale, new.shift, self.eps.norm1), normed.part(history, rows))
        qkv = self.qkv(normed)
        here = Rotary(turn.cos, turn.sin, history, self.key_scale)
        ops.turn_(qkv, self.own_norms, self.eps.own_rms, here)
        query, key, value = qkv.view(rows, 3, self.heads, -1).unbind(1)
        attended = attend(query[first:], key, value, self._kernel)
        moved = self.out(ops.rows(attended, gelu=False, quantise=quantise))

        wide = Rows.empty(rows - first, width, x, quantise=quantise)  # what the feed-forward layer reads
        split = history - first
        if split:
            norm = Norm(old.ffn_scale, old.ffn_shift, self.eps.norm3)
            ops.add_norm_(x[:history], moved[:split], old.gate, norm, wide.part(0, split))
        fresh = x[history:]
        asking = Rows.empty(len(fresh), width, x, quantise=quantise)
        ops.add_norm_(fresh, moved[split:], new.gate, Norm(self.cross_scale, self.cross_shift, self.eps.norm2), asking)
        query = self.text_query(asking)
        ops.turn_(query, self.text_norm, self.eps.text_rms, None)
        heads = (len(keys), self.heads, -1)
        told = attend(query.view(len(fresh), self.heads, -1), keys.view(heads), values.view(heads), self._kernel)
        told = self.text_out(ops.rows(told, gelu=False, quantise=quantise))
        norm = Norm(new.ffn_scale, new.ffn_shift, self.eps.norm3)
        ops.add_norm_(fresh, told, None, norm, wide.part(split, rows - first))

        moved = self.down(ops.rows(self.up(wide), gelu=True, quantise=quantise))
        if split:
            ops.add_(x[:history], moved[:split], old.ffn_gate)
        ops.add_(fresh, moved[split:], new.ffn_gate)
        return x


@dataclass(frozen=True, slots=True)
class _Eps:
    own_rms: float
    text_rms: float
    norm1: float
    norm2: float
    norm3: float


def _taken(layers: Any, index: int, precision: Precision) -> nn.Module:
    """The projection of `layers[index]`, which is gone afterwards."""
    linear = layers[index]
    made = projection(linear.weight, linear.bias, precision)
    layers[index] = nn.Identity()
    return made


def _key_scale(attn: Any) -> Tensor | None:
    """What multiplies history keys, one number a channel (`is_amplify_history`)."""
    if not attn.is_amplify_history:
        return None
    scale = 1.0 + torch.sigmoid(attn.history_key_scale.detach().float()) * (attn.max_scale - 1.0)  # (1,) or (heads,)
    channels: Tensor = scale.expand(attn.heads).repeat_interleave(attn.inner_dim // attn.heads)
    return channels
