"""Layers whose weights stay in their files."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_moving_a_module_moves_what_it_holds_and_not_its_placeholders() -> None:
    from model.networks.weight_offload import hold_places, is_hollow, stream_large

    module = torch.nn.Sequential(torch.nn.Embedding(5, 7), torch.nn.Linear(7, 6)).requires_grad_(requires_grad=False)
    wanted, weights = copy.deepcopy(module), module.state_dict()
    fetched = []

    def read(name: str):
        def fetch():
            fetched.append(name)
            return weights[name]

        return fetch

    stream_large(module, read, torch.float64)
    hold_places(module)
    module.to(torch.float32).to(torch.float64)
    tokens = torch.tensor([1, 4])
    assert module(tokens).dtype == torch.float64
    torch.testing.assert_close(module(tokens).float(), wanted(tokens))
    assert fetched == ["0.weight", "1.weight"] * 2
    module.to("meta")
    assert all(is_hollow(layer.weight) and layer.weight.device.type == "cpu" for layer in module)
    assert module[1].bias.device.type == "meta"
    assert module(tokens.to("meta")).device.type == "meta"  # its weights come to where its input is
