"""What `benchmarks.gpu` measures: Helios at full size, and the same at a size that a CPU can run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from model.spec import Decode, ModelSpec


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """transformer, vae: configurations of diffusers' classes; what they leave out is as in Helios-14B and Wan 2.1."""

    name: str
    frame_height: int
    frame_width: int
    text_tokens: int
    transformer: Mapping[str, Any]
    vae: Mapping[str, Any]
    tiny_widths: tuple[int, int, int, int]
    matrix: int
    """Length of the square matrices whose product is the device's measured rate."""

    def spec(self, *, steps: tuple[int, ...], chunk_latents: int) -> ModelSpec:
        return ModelSpec(
            name=f"helios-{self.name}-random",
            frame_height=self.frame_height,
            frame_width=self.frame_width,
            fps=24.0,
            decode=Decode.PER_CHUNK,
            chunk_latents=chunk_latents,
            latents_mean=(0.0,) * 16,
            latents_inv_std=(1.0,) * 16,
            text_tokens=self.text_tokens,
            text_dim=int(self.transformer["text_dim"]),
            stage_steps=steps,
        )


_HELIOS = {
    "patch_size": (1, 2, 2), "in_channels": 16, "out_channels": 16, "cross_attn_norm": True,
    "guidance_cross_attn": True, "zero_history_timestep": True, "has_multi_term_memory_patch": True,
}  # fmt: skip
FULL = Size(
    name="14b",
    frame_height=384,
    frame_width=640,
    text_tokens=512,
    transformer={
        **_HELIOS, "num_attention_heads": 40, "attention_head_dim": 128, "text_dim": 4096, "freq_dim": 256,
        "ffn_dim": 13824, "num_layers": 40, "rope_dim": (44, 42, 42),
    },
    vae={},
    tiny_widths=(256, 128, 64, 64),
    matrix=8192,
)  # fmt: skip
SMALL = Size(
    name="small",
    frame_height=64,
    frame_width=64,
    text_tokens=8,
    transformer={
        **_HELIOS, "num_attention_heads": 2, "attention_head_dim": 32, "text_dim": 32, "freq_dim": 32, "ffn_dim": 96,
        "num_layers": 2, "rope_dim": (12, 10, 10),
    },
    vae={"base_dim": 8, "num_res_blocks": 1},
    tiny_widths=(16, 16, 8, 8),
    matrix=256,
)  # fmt: skip


def step_flop(size: Size, spec: ModelSpec, *, stage: int) -> float:
    """Multiplications and additions of one forward of the transformer at a stage, counted from its shapes.

    Products with weights (attention's and the feed-forward layer's) and the two of attention itself; the prompt's keys
    and values, made once, and everything without a matrix are left out. At full size: 67, 116 and 357 TFLOP.
    """
    config = size.transformer
    width = config["num_attention_heads"] * config["attention_head_dim"]
    new, history = tokens(spec, stage=stage)
    rows = new + history
    own = 8 * rows * width**2 + 4 * rows**2 * width
    text = 4 * new * width**2 + 4 * new * size.text_tokens * width
    feed_forward = 4 * rows * width * config["ffn_dim"]
    return float(config["num_layers"] * (own + text + feed_forward))


def tokens(spec: ModelSpec, *, stage: int) -> tuple[int, int]:
    """New tokens and history's at a stage. History patches grow with its age: (1, 2, 2), (2, 4, 4), (4, 8, 8)."""
    rows, columns = spec.latent_height // 2, spec.latent_width // 2
    factor = 2 ** (spec.stages - 1 - stage)
    new = spec.chunk_latents * (rows // factor) * (columns // factor)
    long, mid, short = spec.history_sizes
    history = (short + spec.keep_prefix) * rows * columns
    history += -(-mid // 2) * -(-rows // 2) * -(-columns // 2)
    history += -(-long // 4) * -(-rows // 4) * -(-columns // 4)
    return new, history
