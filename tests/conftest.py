"""What the whole suite shares: tests marked `gpu` are skipped, by name, without a CUDA device; a Helios folder."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    needing = [item for item in items if item.get_closest_marker("gpu")]
    if not needing or _has_cuda():
        return
    for item in needing:
        item.add_marker(pytest.mark.skip(reason="needs a CUDA device"))


def _has_cuda() -> bool:
    if importlib.util.find_spec("torch") is None:
        return False
    import torch

    return torch.cuda.is_available()


@pytest.fixture(scope="session")
def helios_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random-weight Helios in several shards. Nobody may change it."""
    pytest.importorskip("torch")
    from tests.helios_folder import write

    return write(tmp_path_factory.mktemp("helios"), shard_mb=0.2)
