"""What the tests of building share: an export, where its plans go, and the build driver over a fake TensorRT."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An export of two graphs."""
    from tests.tensorrt_api.exports import write_export

    return write_export(tmp_path / "export")


@pytest.fixture
def cache(tmp_path: Path) -> EngineCache:
    return EngineCache(tmp_path / "engines")


@pytest.fixture
def build(tensorrt_world: Any, folder: Path, cache: EngineCache) -> Callable[..., Any]:
    """Builds `folder` into `cache`; gives the plans and what was said. Options are those of `BuildOptions`."""
    from tests.tensorrt_api.exports import H100
    from trt_build.build import BuildOptions, build_model

    def run(
        environment: BuildEnvironment = H100, graphs: tuple[str, ...] = (), **options: Any
    ) -> tuple[list[Any], str]:
        out = io.StringIO()
        entries = build_model(
            folder, cache, environment, BuildOptions(**options), graphs=graphs, out=out, clock=lambda: 0.0
        )
        return entries, out.getvalue()

    return run
