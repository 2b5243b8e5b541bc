"""Trains the demo's text reader on drawn phrases."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from model.demo.network import VOCABULARY, WORDS, TextReader
from model.demo.training.loop import LossFunction, TrainConfig, train
from model.demo.training.phrases import draw_phrase, nonsense
from model.demo.world.conditions import SLOTS
from model.pipeline.word_hash_tokenizer import WordHashTokenizer

BATCH = 128
IGNORED = -100
INSERTED, REPLACED = 0.35, 0.04  # shares: of phrases with a strange word put in, of words that become one


def train_text(config: TrainConfig, device: str) -> nn.Module:
    return train(config, TextReader().to(device), reading_loss(device))


def reading_loss(device: str) -> LossFunction:
    """Binary cross-entropy of "does this slot change" and cross-entropy of the value where it does."""
    tokenizer = WordHashTokenizer(vocabulary=VOCABULARY, tokens=WORDS)

    def loss_of(model: nn.Module, rng: np.random.Generator) -> dict[str, Tensor]:
        phrases = [draw_phrase(rng) for _ in range(BATCH)]
        tokens = torch.from_numpy(np.concatenate([tokenizer(disturbed(text, rng)) for text, _ in phrases])).to(device)
        changes, values = model(tokens)
        wanted_change = torch.tensor([[float(slot in wish) for slot in SLOTS] for _, wish in phrases], device=device)
        loss = functional.binary_cross_entropy_with_logits(changes, wanted_change)
        start = 0
        for slot, names in SLOTS.items():
            wanted = torch.tensor(
                [names.index(wish[slot]) if slot in wish else IGNORED for _, wish in phrases], device=device
            )
            part = functional.cross_entropy(
                values[:, start : start + len(names)], wanted, ignore_index=IGNORED, reduction="sum"
            )
            loss = loss + part / max(1, int((wanted != IGNORED).sum()))
            start += len(names)
        return {"loss": loss}

    return loss_of


def disturbed(text: str, rng: np.random.Generator) -> str:
    """The text with words in it that nobody has met, as a player's will have: they must not act."""
    words = [nonsense(rng) if rng.random() < REPLACED else word for word in text.split(" ")]
    if rng.random() < INSERTED:
        for _ in range(int(rng.integers(1, 4))):
            words.insert(int(rng.integers(len(words) + 1)), nonsense(rng))
    return " ".join(words)
