"""Attention through every kernel that is present, against its formula."""

from __future__ import annotations

from typing import Any

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def formula(query: Any, key: Any, value: Any) -> Any:
    weights = torch.einsum("qhd,khd->hqk", query.double(), key.double()) / query.shape[-1] ** 0.5
    return torch.einsum("hqk,khd->qhd", weights.softmax(-1), value.double()).flatten(1).float()


def packed(tokens: int, heads: int, width: int, device: str = "cpu", dtype: Any = None) -> Any:
    """Queries, keys and values as one product makes them: views into one matrix."""
    generator = torch.Generator().manual_seed(0)
    return torch.randn(tokens, 3, heads, width, generator=generator).to(device, dtype).unbind(1)


@pytest.mark.parametrize("asked", [7, 11])
def test_it_is_the_formula_also_for_fewer_queries_than_keys(asked: int) -> None:
    from model.fast.attention import AttentionKernel, attend

    query, key, value = packed(11, 3, 16)
    wanted = formula(query[-asked:], key, value)
    for kernel in (None, AttentionKernel.PLAIN):
        got = attend(query[-asked:], key, value, kernel)
        assert got.shape == (asked, 48)
        assert got.is_contiguous()
        torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)


def test_on_a_cpu_torch_chooses() -> None:
    from model.fast.attention import fastest_kernel

    assert fastest_kernel(torch.device("cpu"), torch.bfloat16, tokens=8, heads=2, width=16) == (None, {})


def test_flash_attention_3_is_called_with_a_batch_and_either_of_its_results_is_taken(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Some of its versions return the softmax's statistics beside the output."""
    from model.fast import attention

    query, key, value = packed(5, 2, 8)

    def flash(q: Any, k: Any, v: Any) -> Any:
        assert q.shape == (1, 5, 2, 8)
        return formula(q[0], k[0], v[0]).view(1, 5, 2, 8)

    for result in (flash, lambda q, k, v: (flash(q, k, v), None)):
        monkeypatch.setattr(attention, "_flash_3", lambda result=result: result)
        got = attention.attend(query, key, value, attention.AttentionKernel.FLASH_3)
        torch.testing.assert_close(got, formula(query, key, value))


@pytest.mark.gpu
def test_every_kernel_that_runs_on_the_gpu_is_the_formula() -> None:
    from model.fast.attention import attend, fastest_kernel

    device = torch.device("cuda")
    best, times_ms = fastest_kernel(device, torch.bfloat16, tokens=2160, heads=40, width=128)
    assert best in times_ms
    query, key, value = packed(300, 4, 128, "cuda", torch.bfloat16)
    wanted = formula(query, key, value)
    for kernel in times_ms:
        got = attend(query, key, value, kernel).float()
        assert (got - wanted).norm() / wanted.norm() < 0.01, kernel
