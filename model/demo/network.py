"""The demo model's networks: Helios's own transformer class at a small size, with a conditioner and a text encoder.

`load_modules` gives the graphs that are exported and served, keyed by graph name.
"""

from __future__ import annotations

import torch
from diffusers import HeliosTransformer3DModel
from torch import Tensor, nn
from torch.nn import functional

from model.demo.world.conditions import SLOTS, STATE_SIZE
from model.networks.autoencoder import TinyAutoencoder
from model.networks.conditioner import CONDITIONING_CHANNELS, Conditioner

LATENT_CHANNELS = 16
TEXT_TOKENS, TEXT_DIM = 4, 64
VOCABULARY, WORDS = 4096, 24
TRANSFORMER = {
    "patch_size": (1, 2, 2), "num_attention_heads": 3, "attention_head_dim": 64,
    "in_channels": LATENT_CHANNELS + CONDITIONING_CHANNELS, "out_channels": LATENT_CHANNELS,
    "text_dim": TEXT_DIM, "freq_dim": 64, "ffn_dim": 512, "num_layers": 5, "rope_dim": (24, 20, 20),
    "cross_attn_norm": True, "guidance_cross_attn": True, "zero_history_timestep": True,
    "has_multi_term_memory_patch": True, "is_amplify_history": False,
}  # fmt: skip


class StateEmbedding(nn.Module):
    """The text state (a probability for every value of every slot) as cross-attention tokens."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(STATE_SIZE, TEXT_TOKENS * TEXT_DIM)

    def forward(self, state: Tensor) -> Tensor:
        """(B, STATE_SIZE) -> (B, TEXT_TOKENS, TEXT_DIM)."""
        return torch.unflatten(self.linear(state), 1, (TEXT_TOKENS, TEXT_DIM))


class TextReader(nn.Module):
    """Reads an action text: for every slot, is it spoken of, and which value is wanted.

    Each word sees four neighbours on either side, enough to join "do not" to what is not to be done.
    """

    def __init__(self, width: int = 16, hidden: int = 80) -> None:
        super().__init__()
        self.words = nn.Embedding(VOCABULARY, width, padding_idx=0)
        self.near = nn.Conv1d(width, hidden, 3, padding=1)
        self.mix = nn.Conv1d(hidden, hidden, 3, padding=1)
        self.far = nn.Conv1d(hidden, hidden, 3, padding=2, dilation=2)
        self.head = nn.Linear(hidden, len(SLOTS) + STATE_SIZE)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(B, WORDS) int64 -> logits (B, slots) that a slot changes, logits (B, STATE_SIZE) of what to."""
        present = (tokens > 0).unsqueeze(1).to(self.words.weight.dtype)
        x = self.words(tokens).transpose(1, 2) * present
        x = functional.silu(self.near(x)) * present
        x = functional.silu(x + self.mix(x)) * present
        x = functional.silu(x + self.far(x)) * present
        scores = self.head(x.amax(-1))
        return scores[:, : len(SLOTS)], scores[:, len(SLOTS) :]


class TextEncoder(nn.Module):
    """The `text_encoder` graph: the text state before and an action text -> the state after and its tokens.

    A text that is not understood leaves the state as it was.
    """

    def __init__(self, reader: TextReader, embedding: StateEmbedding) -> None:
        super().__init__()
        self.reader, self.embedding = reader, embedding

    def forward(self, tokens: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """tokens (B, WORDS) int64, state (B, STATE_SIZE) -> next_state, embeddings (B, TEXT_TOKENS, TEXT_DIM)."""
        changes, values = self.reader(tokens)
        spoken = (tokens > 0).any(1, keepdim=True).to(state.dtype)
        after, start = [], 0
        for slot, names in enumerate(SLOTS.values()):
            part = slice(start, start + len(names))
            gate = (torch.sigmoid(changes[:, slot : slot + 1]) > 0.5).to(state.dtype) * spoken
            wanted = functional.one_hot(values[:, part].argmax(-1), len(names)).to(state.dtype)
            after.append(gate * wanted + (1 - gate) * state[:, part])
            start += len(names)
        next_state = torch.cat(after, 1)
        return next_state, self.embedding(next_state)


class Decoder(nn.Module):
    """The `decoder` graph: de-normalised latents and memory -> 8-bit frames and the memory that continues them."""

    def __init__(self, autoencoder: TinyAutoencoder) -> None:
        super().__init__()
        self.autoencoder = autoencoder

    def forward(self, latents: Tensor, frame_rays: Tensor, *memory: Tensor) -> tuple[Tensor, ...]:
        """latents (1, 16, T, h, w), frame_rays (1, 4, T, RAY_CHANNELS, 4h, 4w) -> frames (4T, 8h, 8w, 3) uint8, then
        one next memory for each memory."""
        guide = frame_rays.transpose(1, 2).flatten(1, 2)
        frames, after = self.autoencoder.decode(latents.transpose(1, 2), list(memory), guide)
        pixels = (frames[0].float().clamp(0, 1) * 255 + 0.5).permute(0, 2, 3, 1).to(torch.uint8)
        return (pixels, *after)


class DemoDenoiser(nn.Module):
    """What is trained together: conditioner, state embedding and transformer."""

    def __init__(self) -> None:
        super().__init__()
        self.conditioner = Conditioner(told=TEXT_TOKENS * TEXT_DIM)
        self.embedding = StateEmbedding()
        self.transformer = HeliosTransformer3DModel(**TRANSFORMER)
