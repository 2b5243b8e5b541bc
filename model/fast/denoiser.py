"""Helios's transformer for a GPU: the same function as `model.networks.transformer.DenoiserGraph`, laid out for speed.

History and new tokens are one sequence of rows, so that every product is one large matrix. The blocks (block.py) take
keys and values that were made once for a prompt (`TextKeys`); the last leaves the history out. Needs the torch extra.
"""

from __future__ import annotations

from typing import Any

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor, nn

from model.errors import CheckpointError
from model.fast.attention import AttentionKernel
from model.fast.block import FastBlock, Modulation
from model.fast.fused_ops import Norm, Rotary, RowOps, Rows, row_ops
from model.fast.projection import Projection, working_dtype
from model.networks.rope import history_rotation, padded, rotation, tokens_of, unpatchified
from model.precision import Precision

_NEEDED = {
    "guidance_cross_attn": True, "zero_history_timestep": True, "has_multi_term_memory_patch": True,
    "cross_attn_norm": True,
}  # fmt: skip


class TextKeys(nn.Module):
    """A prompt's part in every block: (1, L, text width) -> keys and values, each (layers, L, width)."""

    def __init__(self, model: HeliosTransformer3DModel, precision: Precision, ops: RowOps) -> None:
        """Keeps the working dtype under FP8 too: it runs once for a prompt."""
        super().__init__()
        self._ops = ops
        self.embedder: Any = model.condition_embedder.text_embedder.to(working_dtype(precision))
        self.keys_values = nn.ModuleList()
        for block in model.blocks:
            attn = block.attn2
            weight = torch.cat([attn.to_k.weight.detach(), attn.to_v.weight.detach()])
            bias = torch.cat([attn.to_k.bias.detach(), attn.to_v.bias.detach()])
            attn.to_k = attn.to_v = None
            self.keys_values.append(Projection(weight, bias, working_dtype(precision)))
        self.norms: Tensor
        self.register_buffer(
            "norms", torch.stack([block.attn2.norm_k.weight.detach() for block in model.blocks]).float()
        )
        self._eps: float = model.blocks[0].attn2.norm_k.eps
        self._dtype = working_dtype(precision)

    def forward(self, encoder_hidden_states: Tensor) -> tuple[Tensor, Tensor]:
        text = Rows(self.embedder(encoder_hidden_states.to(self._dtype))[0].contiguous())
        made = []
        for keys_values, norm in zip(self.keys_values, self.norms, strict=True):
            packed = keys_values(text)
            self._ops.turn_(packed, norm[None], self._eps, None)
            made.append(packed)
        keys, values = torch.stack(made).chunk(2, dim=2)
        return keys.contiguous(), values.contiguous()


class FastDenoiser(nn.Module):
    """One flow prediction, for one video.

    Takes `model` apart while it is built, block by block, so that no weight is held twice; the model cannot be used
    afterwards. `text_keys` makes the last two arguments of `forward`.

    Raises: CheckpointError: the model is of a configuration that this form does not cover.
    """

    def __init__(
        self,
        model: HeliosTransformer3DModel,
        precision: Precision,
        *,
        ops: RowOps | None = None,
        kernel: AttentionKernel | None = None,
    ) -> None:
        """ops: None takes the fastest for the model's device. kernel: None lets torch choose."""
        super().__init__()
        for name, value in _NEEDED.items():
            if model.config[name] != value:
                raise CheckpointError(
                    f"the fast denoiser needs {name}={value}, the checkpoint has {model.config[name]}"
                )
        dtype = working_dtype(precision)
        ops = ops or row_ops(model.proj_out.weight.device)
        self._ops, self._dtype = ops, dtype
        self.precision = precision
        self._patch_size: tuple[int, ...] = tuple(model.config.patch_size)
        self.width: int = model.config.num_attention_heads * model.config.attention_head_dim
        self._out_eps: float = model.norm_out.norm.eps
        self.rope: Any = model.rope
        self.embedder: Any = model.condition_embedder
        self.embedder.time_proj.to(dtype)
        self.patch_embedding = model.patch_embedding.to(dtype)
        self.patch_short = model.patch_short.to(dtype)
        self.patch_mid = model.patch_mid.to(dtype)
        self.patch_long = model.patch_long.to(dtype)
        self.proj_out = model.proj_out.to(dtype)
        self.tables: Tensor
        self.out_table: Tensor
        self.history_tables: Tensor
        with torch.no_grad():
            tables = torch.cat([block.scale_shift_table for block in model.blocks]).float()  # (layers, 6, width)
            tables[:, [1, 4]] += 1  # scales enter as 1 + scale
            out_table = model.norm_out.scale_shift_table[0].float().clone()
            out_table[1] += 1
            _, history = self._time(torch.zeros(1, dtype=torch.int64, device=tables.device))
        self.register_buffer("tables", tables)
        self.register_buffer("out_table", out_table)
        self.register_buffer("history_tables", tables + history)
        self.text_keys = TextKeys(model, precision, ops)
        self.blocks = nn.ModuleList()
        for index, block in enumerate(model.blocks):
            self.blocks.append(FastBlock(block, precision, ops, kernel))
            model.blocks[index] = nn.Identity()
        self.requires_grad_(requires_grad=False)

    def forward(
        self,
        hidden_states: Tensor,
        timestep: Tensor,
        indices_hidden_states: Tensor,
        indices_latents_history_short: Tensor,
        indices_latents_history_mid: Tensor,
        indices_latents_history_long: Tensor,
        latents_history_short: Tensor,
        latents_history_mid: Tensor,
        latents_history_long: Tensor,
        *more: Tensor,
    ) -> Tensor:
        """Arguments are those of `DenoiserGraph.forward`, with `text_keys` of the prompt last: keys, then values.

        Between the two may stand those of a view: `latents_view`, `indices_view`, `tokens_view`, as in
        `ViewDenoiserGraph`. Returns: float32.
        """
        *view, text_keys, text_values = more
        dtype = self._dtype
        new = self.patch_embedding(hidden_states.to(dtype))
        size: tuple[int, int, int] = tuple(new.shape[2:])
        short = self.patch_short(latents_history_short.to(dtype))
        height, width = short.shape[3:]
        mid = self.patch_mid(padded(latents_history_mid.to(dtype), self.patch_mid.kernel_size))
        long = self.patch_long(padded(latents_history_long.to(dtype), self.patch_long.kernel_size))
        parts = [tokens_of(part)[0] for part in (long, mid, short)]
        turn_new = rotation(self.rope, indices_hidden_states, *size[1:], reduction=1)
        turn_history = history_rotation(
            self.rope,
            indices_latents_history_short,
            indices_latents_history_mid,
            indices_latents_history_long,
            height,
            width,
        )
        turns = [turn_history, turn_new]
        if view:
            seen, turn_seen = self._view(*view)
            parts.append(seen)
            turns.insert(1, turn_seen)
        history = sum(map(len, parts))
        x = torch.cat([*parts, tokens_of(new)[0]])
        cos, sin = (torch.cat(kind) for kind in zip(*turns, strict=True))
        turn = Rotary(cos, sin)

        embedded, modulation = self._time(timestep)
        tables = self.tables + modulation
        last = len(self.blocks) - 1
        for layer, block in enumerate(self.blocks):
            old_vectors, new_vectors = Modulation(*self.history_tables[layer]), Modulation(*tables[layer])
            first = history if layer == last else 0
            x = block(x, history, turn, old_vectors, new_vectors, text_keys[layer], text_values[layer], first)
        shift, scale = self.out_table + embedded
        out = Rows.empty(len(x) - history, self.width, x, quantise=False)
        self._ops.norm(x[history:], Norm(scale, shift, self._out_eps), out)
        return unpatchified(self.proj_out(out.values)[None], size, self._patch_size).float()

    def _view(self, latents: Tensor, indices: Tensor, tokens: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The rows of a view that are known, and their rotation."""
        patches = self.patch_short(latents.to(self._dtype))
        cos, sin = rotation(self.rope, indices, *patches.shape[3:], reduction=1)
        return tokens_of(patches)[0][tokens], (cos[tokens], sin[tokens])

    def _time(self, timestep: Tensor) -> tuple[Tensor, Tensor]:
        """(1,) -> the embedding (1, width) and its projection to modulations (1, 6, width), float32 both.

        The embedder's own layers stay in the dtype they came in, which is float32 for diffusers' checkpoints.
        """
        embedder = self.embedder
        waves = embedder.timesteps_proj(timestep).to(embedder.time_embedder.linear_1.weight.dtype)
        embedded = embedder.time_embedder(waves).to(self._dtype)
        modulation: Tensor = embedder.time_proj(embedder.act_fn(embedded)).view(1, 6, self.width)
        return embedded.float(), modulation.float()
