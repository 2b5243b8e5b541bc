"""How far one precision's blocks are from another's, block by block. Needs the torch extra."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from model.fast.denoiser import FastDenoiser


@dataclass(frozen=True, slots=True)
class BlockError:
    """How far one block's result is from the reference's, as |difference| / |reference|.

    output: of the rows that leave the block. change: of what the block adds to the rows that came in; the larger of the
    two, because most of an output is its input.
    """

    output: float
    change: float


def block_errors(reference: FastDenoiser, other: FastDenoiser, inputs: Sequence[Tensor]) -> list[BlockError]:
    """Of every block, when `other`'s gets the very input that the reference's got.

    inputs: those of `forward` without the prompt's keys and values, then the prompt itself, (1, L, text width).
    """
    *given, prompt = inputs
    errors: list[BlockError] = []

    def compare(layer: int, arguments: tuple[Any, ...], wanted: Tensor, before: Tensor) -> None:
        first = arguments[-1]
        got = other.blocks[layer](before.clone(), *arguments[1:])[first:].float()
        gap = (got - wanted[first:].float()).norm()
        change = (wanted[first:].float() - before[first:].float()).norm()
        errors.append(BlockError(float(gap / wanted[first:].float().norm()), float(gap / change)))

    hooks = []
    for layer, block in enumerate(reference.blocks):
        kept: list[Tensor] = []
        hooks.append(block.register_forward_pre_hook(lambda _, a, kept=kept: kept.append(a[0].clone())))
        hooks.append(
            block.register_forward_hook(lambda _, a, out, layer=layer, kept=kept: compare(layer, a, out, kept.pop()))
        )
    try:
        with torch.no_grad():
            reference(*given, *reference.text_keys(prompt))
    finally:
        for hook in hooks:
            hook.remove()
    return errors
