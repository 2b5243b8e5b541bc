"""UMT5 as the `text_encoder` graph. Needs the torch extra."""

from __future__ import annotations

from typing import Any

from torch import Tensor, nn
from transformers import UMT5EncoderModel


class PromptEncoder(nn.Module):
    """Tokens -> embeddings, zero after the text's end as the reference pipeline makes them."""

    def __init__(self, encoder: UMT5EncoderModel) -> None:
        super().__init__()
        self.encoder: Any = encoder

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """tokens, mask: (1, L) int64. Returns: (1, L, D) float32."""
        states: Tensor = self.encoder(tokens, mask).last_hidden_state
        return states.float() * mask[..., None]
