"""Attention over whole sequences by the best kernel that is present: which there are, and which is fastest.

Needs the torch extra; FlashAttention 3 where `flash_attn_interface` can be imported.
"""

from __future__ import annotations

import enum
import importlib.util
from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torch.nn.attention import SDPBackend, sdpa_kernel

from model.errors import RunnerError

_ROUNDS = 3


class AttentionKernel(enum.StrEnum):
    """In the order in which they were found fastest on Hopper by their authors: FlashAttention 3, cuDNN, 2."""

    FLASH_3 = "flash3"
    CUDNN = "cudnn"
    FLASH_2 = "flash2"
    PLAIN = "plain"


_BACKENDS = {
    AttentionKernel.CUDNN: SDPBackend.CUDNN_ATTENTION,
    AttentionKernel.FLASH_2: SDPBackend.FLASH_ATTENTION,
    AttentionKernel.PLAIN: SDPBackend.MATH,
}


def attend(query: Tensor, key: Tensor, value: Tensor, kernel: AttentionKernel | None = None) -> Tensor:
    """softmax(q k^T / sqrt(width)) v, each (tokens, heads, width), views with contiguous channels allowed.

    kernel: None lets torch choose. Returns: (query tokens, heads * width), contiguous.
    """
    if kernel is AttentionKernel.FLASH_3:
        attended = _flash_3()(query[None], key[None], value[None])
        attended = attended[0] if isinstance(attended, tuple) else attended  # older versions return the statistics too
        flat: Tensor = attended[0].flatten(1)
        return flat
    query, key, value = (x.transpose(0, 1)[None] for x in (query, key, value))
    if kernel is None:
        attended = functional.scaled_dot_product_attention(query, key, value)
    else:
        with sdpa_kernel(_BACKENDS[kernel]):
            attended = functional.scaled_dot_product_attention(query, key, value)
    return attended[0].transpose(0, 1).flatten(1)


def fastest_kernel(
    device: torch.device, dtype: torch.dtype, *, tokens: int, heads: int, width: int
) -> tuple[AttentionKernel | None, dict[AttentionKernel, float]]:
    """Tries every kernel on a self-attention of this size.

    Returns: the fastest, and milliseconds by kernel; None and nothing on a CPU, where torch's own choice stands.

    Raises: RunnerError: no kernel runs.
    """
    if device.type != "cuda":
        return None, {}
    packed = torch.randn(tokens, 3, heads, width, device=device, dtype=dtype)
    query, key, value = packed.unbind(1)
    times_ms: dict[AttentionKernel, float] = {}
    refused = []
    for kernel in AttentionKernel:
        if kernel is AttentionKernel.PLAIN and times_ms:
            continue  # it writes out tokens x tokens numbers for every head; only where nothing else runs
        try:
            times_ms[kernel] = _milliseconds(lambda kernel=kernel: attend(query, key, value, kernel))  # type: ignore[misc]
        except (RuntimeError, ImportError) as exc:
            refused.append(f"{kernel}: {str(exc).splitlines()[0]}")
    if not times_ms:
        raise RunnerError(f"no attention kernel runs here: {'; '.join(refused)}")
    return min(times_ms, key=times_ms.__getitem__), times_ms


def _milliseconds(run: Callable[[], Tensor]) -> float:
    run()
    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))  # type: ignore[no-untyped-call]
    torch.cuda.synchronize()
    start.record()
    for _ in range(_ROUNDS):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / _ROUNDS


@cache
def _flash_3() -> Callable[..., Any]:
    """Raises: ImportError: FlashAttention 3 is not installed."""
    if importlib.util.find_spec("flash_attn_interface") is None:
        raise ImportError("flash_attn_interface is not installed")
    function: Callable[..., Any] = importlib.import_module("flash_attn_interface").flash_attn_func
    return function
