"""Muon: momentum whose matrix updates are orthogonalised (Keller Jordan, 2024; scaling of arXiv 2502.16982).

PyTorch's own takes matrices only; this one takes convolutions too, and hands everything that is no wide matrix to
AdamW. Chosen on one short run each of the autoencoder, which differed in more than the optimizer: no fair comparison.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

_COEFFICIENTS = (3.4445, -4.7750, 2.0315)  # the quintic of the reference implementation
_NARROWEST = 12


def build_optimizer(model: nn.Module, *, rate: float, weight_decay: float) -> MuonWithAdamW:
    """Muon for weights of at least `_NARROWEST` rows and columns, AdamW for embeddings, tables, norms and biases.

    Patch embeddings (3-D convolutions) go to AdamW too: orthogonalising the largest would cost as much as a step.
    """
    embeddings = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    matrices: list[Tensor] = []
    others: list[Tensor] = []
    for parameter in model.parameters():
        if not parameter.requires_grad:
            continue
        wide = 2 <= parameter.ndim <= 4 and min(parameter.shape[0], parameter[0].numel()) >= _NARROWEST
        (matrices if wide and id(parameter) not in embeddings else others).append(parameter)
    return MuonWithAdamW(matrices, others, rate=rate, weight_decay=weight_decay)


class MuonWithAdamW(torch.optim.Optimizer):
    """One optimizer over two kinds of parameters; group["kind"] says which rule a group follows."""

    def __init__(self, matrices: list[Tensor], others: list[Tensor], *, rate: float, weight_decay: float) -> None:
        groups: list[dict[str, Any]] = [
            {"params": params, "kind": kind} for params, kind in ((matrices, "muon"), (others, "adamw")) if params
        ]
        super().__init__(groups, {"lr": rate, "weight_decay": weight_decay, "kind": "adamw"})

    @torch.no_grad()
    def step(self, closure: Any = None) -> None:  # type: ignore[override]
        """One update. `closure` is not used."""
        for group in self.param_groups:
            rule = self._muon if group["kind"] == "muon" else self._adamw
            for parameter in group["params"]:
                if parameter.grad is not None:
                    parameter.mul_(1 - group["lr"] * group["weight_decay"])
                    parameter.add_(rule(parameter.grad, self.state[parameter]), alpha=-group["lr"])

    @staticmethod
    def _muon(gradient: Tensor, state: dict[str, Any]) -> Tensor:
        momentum = state.setdefault("momentum", torch.zeros_like(gradient))
        momentum.mul_(0.95).add_(gradient)
        flat = (gradient + 0.95 * momentum).flatten(1)
        update: Tensor = orthogonalised(flat) * (0.2 * max(flat.shape) ** 0.5)
        return update.view_as(gradient)

    @staticmethod
    def _adamw(gradient: Tensor, state: dict[str, Any]) -> Tensor:
        if not state:
            state.update(step=0, first=torch.zeros_like(gradient), second=torch.zeros_like(gradient))
        state["step"] += 1
        state["first"].lerp_(gradient, 0.1)
        state["second"].lerp_(gradient.square(), 0.01)
        first = state["first"] / (1 - 0.9 ** state["step"])
        second = state["second"] / (1 - 0.99 ** state["step"])
        update: Tensor = first / (second.sqrt() + 1e-8)
        return update


def orthogonalised(matrix: Tensor) -> Tensor:
    """The nearest (semi-)orthogonal matrix, roughly: five Newton-Schulz iterations."""
    a, b, c = _COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    x: Tensor = matrix.T if tall else matrix
    x = x / (torch.linalg.norm(x) + 1e-7)
    for _ in range(5):
        gram = x @ x.T
        x = a * x + (b * gram + c * gram @ gram) @ x
    return x.T if tall else x
