"""Helios's transformer as the `denoiser` graph: the same function as diffusers' class, in a form that exports well.

diffusers' `HeliosTransformer3DModel` holds the weights and stays the reference. `DenoiserGraph` computes its forward
for one video as two streams, history and new tokens, that meet only in the keys and values of attention:

- history sees timestep 0, so its modulation is constant; neither stream's modulation is spread over its tokens, it is
  the scale and bias of one LayerNormalization;
- cosines and sines are made once a forward, not sliced in every layer, and no output is written by scattering;
- the last block leaves out the history stream, whose result nobody reads.

Products compute in `dtype`; norms, rotation, gates, the time embedding and every sum of a residual stay float32, as in
diffusers' class. Where an activation enters a block's products it passes a named site, which fp8 quantises.

Needs the torch extra.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional

from model.errors import CheckpointError
from model.networks.fp8 import SOFTMAX, Sites, untouched
from model.networks.rope import history_rotation, padded, rotation, tokens_of, unpatchified

_NEEDED = {"guidance_cross_attn": True, "zero_history_timestep": True, "has_multi_term_memory_patch": True}
_Attributes = dict[str, int | float | str | bool | Sequence[int] | Sequence[float] | Sequence[str] | Sequence[bool]]


class Form(enum.Enum):
    """What attention and rotation are written in.

    PLAIN: one attention operator. PARTS: products and softmax by themselves, so that a site can lie between them.
    ONNXRUNTIME: its own operators (domain com.microsoft), about a tenth faster on a CPU; such a module can be exported
    but not run by torch.
    """

    PLAIN = "plain"
    PARTS = "parts"
    ONNXRUNTIME = "onnxruntime"


class DenoiserGraph(nn.Module):
    """One flow prediction, from and to float32. Shares its weights with `model`."""

    def __init__(
        self,
        model: HeliosTransformer3DModel,
        form: Form = Form.PLAIN,
        *,
        dtype: torch.dtype = torch.float32,
        sites: Sites = untouched,
    ) -> None:
        """dtype: what `model`'s large weights are in.

        Raises: CheckpointError: the model is of a configuration that the two streams do not cover.
        """
        super().__init__()
        self.tables: Tensor
        self.out_table: Tensor
        self.history_tables: Tensor
        for key, value in _NEEDED.items():
            if model.config[key] != value:
                raise CheckpointError(f"the denoiser needs {key}={value}, the checkpoint has {model.config[key]}")
        self.model: Any = model
        self.form, self.dtype, self.sites = form, dtype, sites
        self.heads: int = model.config.num_attention_heads
        self.width: int = model.config.num_attention_heads * model.config.attention_head_dim
        with torch.no_grad():
            tables = torch.cat([block.scale_shift_table for block in model.blocks]).float()  # (layers, 6, width)
            tables[:, [1, 4]] += 1  # scales enter as 1 + scale
            out_table = model.norm_out.scale_shift_table[0].float().clone()
            out_table[1] += 1
            _, history = self._time(torch.zeros(1, dtype=torch.int64, device=tables.device))
        self.register_buffer("tables", tables, persistent=False)
        self.register_buffer("out_table", out_table, persistent=False)
        self.register_buffer("history_tables", tables + history, persistent=False)

    def in_form(self, form: Form, *, sites: Sites = untouched) -> DenoiserGraph:
        return type(self)(self.model, form, dtype=self.dtype, sites=sites).eval()

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        indices_hidden_states: Tensor,
        indices_latents_history_short: Tensor,
        indices_latents_history_mid: Tensor,
        indices_latents_history_long: Tensor,
        latents_history_short: Tensor,
        latents_history_mid: Tensor,
        latents_history_long: Tensor,
    ) -> Tensor:
        """Arguments are those of `HeliosTransformer3DModel.forward`. Returns: (B, 16, T, h, w).

        B videos may be denoised at once where they are equally far: timestep (1,) and indices (1, frames) are theirs
        all.
        """
        history, turn_history = self._history(
            indices_latents_history_short,
            indices_latents_history_mid,
            indices_latents_history_long,
            latents_history_short,
            latents_history_mid,
            latents_history_long,
        )
        return self._flow(hidden_states, timestep, encoder_hidden_states, indices_hidden_states, history, turn_history)

    def _history(
        self,
        indices_latents_history_short: Tensor,
        indices_latents_history_mid: Tensor,
        indices_latents_history_long: Tensor,
        latents_history_short: Tensor,
        latents_history_mid: Tensor,
        latents_history_long: Tensor,
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """History as tokens (1, tokens, width), and their rotation."""
        model = self.model
        short = model.patch_short(latents_history_short.to(self.dtype))
        rows, columns = short.shape[3:]
        mid = model.patch_mid(padded(latents_history_mid, model.patch_mid.kernel_size).to(self.dtype))
        long = model.patch_long(padded(latents_history_long, model.patch_long.kernel_size).to(self.dtype))
        history = torch.cat([tokens_of(long), tokens_of(mid), tokens_of(short)], dim=1)
        turn_history = history_rotation(
            model.rope,
            indices_latents_history_short,
            indices_latents_history_mid,
            indices_latents_history_long,
            rows,
            columns,
        )
        return history, turn_history

    def _flow(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        indices_hidden_states: Tensor,
        history: Tensor,
        turn_history: tuple[Tensor, Tensor],
    ) -> Tensor:
        model = self.model
        new = model.patch_embedding(hidden_states.to(self.dtype))
        frames, height, width = new.shape[2:]
        new = tokens_of(new)
        turn_new = rotation(model.rope, indices_hidden_states, height, width, reduction=1)
        embedded, modulation = self._time(timestep)
        text = model.condition_embedder.text_embedder(encoder_hidden_states.to(self.dtype))
        tables = (self.tables + modulation).unbind(0)
        out_shift, out_scale = (self.out_table + embedded).unbind(0)
        last = len(model.blocks) - 1
        for layer, block in enumerate(model.blocks):
            shift, scale, gate, ffn_shift, ffn_scale, ffn_gate = tables[layer].unbind(0)
            old_shift, old_scale, old_gate, old_ffn_shift, old_ffn_scale, old_ffn_gate = self.history_tables[layer]
            attn = block.attn1
            normed = self.sites(layer, "attn1_in", self._norm(new, block.norm1.eps, scale, shift))
            old_normed = self.sites(layer, "attn1_in", self._norm(history, block.norm1.eps, old_scale, old_shift))
            old_key = self._amplified(attn, self._turned(attn.norm_k, attn.to_k(old_normed), turn_history))
            key = torch.cat([old_key, self._turned(attn.norm_k, attn.to_k(normed), turn_new)], dim=1)
            value = torch.cat([attn.to_v(old_normed), attn.to_v(normed)], dim=1)
            query = self._turned(attn.norm_q, attn.to_q(normed), turn_new)
            new = self._plus(new, self._attention(layer, attn, query, key, value), gate)
            new = new + self._read_text(layer, block, new, text)
            new = self._plus(new, self._feed_forward(layer, block, new, ffn_scale, ffn_shift), ffn_gate)
            if layer == last:
                break
            query = self._turned(attn.norm_q, attn.to_q(old_normed), turn_history)
            history = self._plus(history, self._attention(layer, attn, query, key, value), old_gate)
            fed = self._feed_forward(layer, block, history, old_ffn_scale, old_ffn_shift)
            history = self._plus(history, fed, old_ffn_gate)
        new = model.proj_out(self._norm(new, model.norm_out.norm.eps, out_scale, out_shift))
        return unpatchified(new, (frames, height, width), model.config.patch_size).float()

    def _time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """(1,) -> the embedding (1, width) and its projection to modulations (1, 6, width)."""
        embedder = self.model.condition_embedder
        embedded = embedder.time_embedder(embedder.timesteps_proj(timestep))
        modulation: Tensor = embedder.time_proj(embedder.act_fn(embedded.to(self.dtype))).view(1, 6, self.width)
        return embedded, modulation.float()

    def _norm(self, x: Tensor, eps: float, scale: Tensor, shift: Tensor) -> Tensor:
        return functional.layer_norm(x.float(), (self.width,), scale, shift, eps).to(self.dtype)

    def _plus(self, x: Tensor, change: Tensor, gate: Tensor) -> Tensor:
        return (x.float() + change.float() * gate).to(self.dtype)

    def _attention(self, layer: int, attn: Any, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out: Tensor = attn.to_out[0](self.sites(layer, "attn1_out", self._attend_all(layer, query, key, value)))
        return out

    def _read_text(self, layer: int, block: Any, new: Tensor, text: Tensor) -> Tensor:
        attn, norm = block.attn2, block.norm2
        normed = new if isinstance(norm, nn.Identity) else self._norm(new, norm.eps, norm.weight, norm.bias)
        normed, text = self.sites(layer, "attn2_in", normed), self.sites(layer, "attn2_text", text)
        query, key = self._rms(attn.norm_q, attn.to_q(normed)), self._rms(attn.norm_k, attn.to_k(text))
        attended = self.sites(layer, "attn2_out", self._attend(query, key, attn.to_v(text)))
        read: Tensor = attn.to_out[0](attended)
        return read

    def _feed_forward(self, layer: int, block: Any, x: Tensor, scale: Tensor, shift: Tensor) -> Tensor:
        widen, _, narrow = block.ffn.net
        wide = widen(self.sites(layer, "ffn_in", self._norm(x, block.norm3.eps, scale, shift)))
        fed: Tensor = narrow(self.sites(layer, "ffn_mid", wide))
        return fed

    def _amplified(self, attn: Any, old_key: Tensor) -> Tensor:
        if not attn.is_amplify_history:
            return old_key
        scale = 1.0 + torch.sigmoid(attn.history_key_scale) * (attn.max_scale - 1.0)  # (1,) or (heads,)
        channel_scale: Tensor = scale.expand(self.heads).repeat_interleave(self.width // self.heads)
        return old_key * channel_scale.to(self.dtype)

    def _turned(self, norm: nn.Module, x: Tensor, turn: tuple[Tensor, Tensor]) -> Tensor:
        """Normalises (1, tokens, width) over all heads and rotates each pair of channels by its place."""
        x = self._rms(norm, x)
        cos, sin = turn
        if self.form is Form.ONNXRUNTIME:
            places = torch.arange(cos.shape[0])[None]
            attributes: _Attributes = {"interleaved": 1, "num_heads": self.heads}
            return _onnxruntime("com.microsoft::RotaryEmbedding", [x, places, cos, sin], attributes)
        pairs = x.reshape(*x.shape[:2], self.heads, -1, 2).float()
        cos, sin = cos[None, :, None], sin[None, :, None]
        left, right = pairs[..., 0], pairs[..., 1]
        return torch.stack([left * cos - right * sin, left * sin + right * cos], dim=-1).flatten(2).to(self.dtype)

    def _rms(self, norm: Any, x: Tensor) -> Tensor:
        if self.form is Form.ONNXRUNTIME:
            attributes: _Attributes = {"axis": -1, "epsilon": norm.eps, "stash_type": 1}
            return _onnxruntime("SimplifiedLayerNormalization", [x, norm.weight], attributes)
        normed: Tensor = norm(x)
        return normed

    def _attend(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        if self.form is Form.ONNXRUNTIME:
            return _onnxruntime("com.microsoft::MultiHeadAttention", [query, key, value], {"num_heads": self.heads})
        query, key, value = (self._by_head(x) for x in (query, key, value))
        return functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2)

    def _attend_all(self, layer: int, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """Self-attention with sites. They come after the scaling and the transposition, so that quantised tensors enter
        the products as they are: TensorRT fuses no other order."""
        if self.form is Form.ONNXRUNTIME:
            return self._attend(query, key, value)
        scaled = self._by_head(query) * (self.width // self.heads) ** -0.5
        scaled = self.sites(layer, "attn1_query", scaled)
        values = self.sites(layer, "attn1_value", self._by_head(value))
        keys = self._by_head(key)
        if self.form is Form.PARTS:
            keys = self.sites(layer, "attn1_key", keys.transpose(2, 3))
            attended = self.sites(layer, SOFTMAX, torch.softmax(scaled @ keys, dim=-1)) @ values
        else:
            keys = self.sites(layer, "attn1_key", keys)
            attended = functional.scaled_dot_product_attention(scaled, keys, values, scale=1.0)
        return attended.transpose(1, 2).flatten(2)

    def _by_head(self, x: Tensor) -> Tensor:
        """(B, tokens, width) -> (B, heads, tokens, head width)."""
        return x.reshape(x.shape[0], x.shape[1], self.heads, -1).transpose(1, 2)


def _onnxruntime(operator: str, inputs: list[Tensor], attributes: _Attributes) -> Tensor:
    """An operator that only onnxruntime knows; its output is like its first input."""
    return torch.onnx.ops.symbolic(operator, inputs, attributes, dtype=inputs[0].dtype, shape=inputs[0].shape)
