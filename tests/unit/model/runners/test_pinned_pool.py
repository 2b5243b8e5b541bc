"""Buffers that are lent as arrays and come back when the arrays are gone."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def test_a_buffer_is_used_again_once_its_array_is_gone() -> None:
    from model.runners.cuda_stream import PinnedPool

    ring, like = PinnedPool(pinned=False), torch.zeros(2, 3)
    buffer, array = ring.lend(like)
    place = buffer.data_ptr()
    del buffer, array
    again, array = ring.lend(like)
    assert again.data_ptr() == place
    assert ring.buffers == 1
    assert array.shape == (2, 3)


def test_a_view_keeps_its_buffer_from_being_used_again() -> None:
    from model.runners.cuda_stream import PinnedPool

    ring, like = PinnedPool(pinned=False), torch.zeros(4)
    buffer, array = ring.lend(like)
    buffer.fill_(7)
    view = array[1:].reshape(3, 1)
    del buffer, array
    other, _ = ring.lend(like)
    other.fill_(8)
    assert view.tolist() == [[7], [7], [7]]
    assert ring.buffers == 2


def test_shapes_and_dtypes_do_not_share_buffers() -> None:
    from model.runners.cuda_stream import PinnedPool

    ring = PinnedPool(pinned=False)
    for like in (torch.zeros(4), torch.zeros(2, 2), torch.zeros(4, dtype=torch.uint8)):
        buffer, array = ring.lend(like)
        assert (buffer.shape, buffer.dtype) == (like.shape, like.dtype)
        del buffer, array
    assert ring.buffers == 3


@pytest.mark.gpu
def test_buffers_for_a_gpu_are_page_locked() -> None:
    from model.runners.cuda_stream import PinnedPool

    assert PinnedPool(pinned=True).lend(torch.zeros(4))[0].is_pinned()
