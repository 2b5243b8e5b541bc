"""Weights on their way to disk: one at a time, beside the graph when large, refused when the disk is small."""

from __future__ import annotations

import shutil
import weakref
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest

from trt_build.errors import BuildError, ExportError

torch = pytest.importorskip("torch")
onnx_ir = pytest.importorskip("onnx_ir")
pytest.importorskip("onnxscript")
pytestmark = pytest.mark.torch

Usage = namedtuple("Usage", "total used free")
SHAPE = (32, 64)


class Layers(torch.nn.Module):
    """Linear layers whose weights are counted while they are in memory."""

    def __init__(self, count: int) -> None:
        from model.networks.weight_offload import StreamedLinear, hold_places

        super().__init__()
        self.alive: Any = weakref.WeakSet()
        self.most = 0

        def fetch() -> Any:
            weight = torch.ones(SHAPE)
            self.alive.add(weight)
            self.most = max(self.most, len(self.alive))
            return weight

        self.layers = torch.nn.ModuleList(StreamedLinear(fetch, SHAPE, None, torch.float32) for _ in range(count))
        hold_places(self)


def model_of(module: Any) -> Any:
    """An ONNX model that holds the module's parameters as they are and does nothing with them."""
    from onnx_ir.tensor_adapters import TorchTensor

    weights = [
        onnx_ir.Value(name=name, const_value=TorchTensor(parameter, name=name))
        for name, parameter in module.named_parameters()
    ]
    return onnx_ir.Model(onnx_ir.Graph([], [], nodes=[], initializers=weights, name="g"), ir_version=11)


def test_one_weight_is_in_memory_at_a_time(tmp_path: Path) -> None:
    import onnx

    from trt_build.weights import write_graph

    module, told = Layers(6), []
    written = write_graph(model_of(module), module, tmp_path / "g.onnx", inline_bytes=0, advance=told.append)
    assert module.most == 1
    assert told == [4 * 32 * 64] * 6
    assert written.weights_file == tmp_path / "g.weights"
    assert written.bytes == sum(file.stat().st_size for file in tmp_path.iterdir())
    stored = {w.name: onnx.numpy_helper.to_array(w) for w in onnx.load(tmp_path / "g.onnx").graph.initializer}
    assert len(stored) == 6
    assert all((array == 1).all() for array in stored.values())


def test_the_digest_of_weights_does_not_depend_on_where_they_lie(tmp_path: Path) -> None:
    from trt_build.weights import write_graph

    digests = []
    for name, inline in (("inside", 1 << 30), ("beside", 0)):
        module = Layers(2)
        digests.append(write_graph(model_of(module), module, tmp_path / f"{name}.onnx", inline_bytes=inline))
    assert (digests[0].weights_file, digests[1].weights_file) == (None, tmp_path / "beside.weights")
    assert digests[0].weights_sha256 == digests[1].weights_sha256
    assert digests[0].graph_sha256 == digests[1].graph_sha256


def test_a_placeholder_that_nobody_fills_is_an_error(tmp_path: Path) -> None:
    from trt_build.weights import write_graph

    module = Layers(1)
    with pytest.raises(ExportError, match="does not know"):
        write_graph(model_of(module), torch.nn.Linear(1, 1), tmp_path / "g.onnx")


def test_a_disk_that_is_too_small_is_said_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from trt_build.weights import check_free_disk, weight_bytes

    module = Layers(4)
    assert weight_bytes(module) == 4 * 4 * 32 * 64  # of placeholders too
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 0, 10**9))
    check_free_disk([module], tmp_path / "not" / "yet", largest_bytes=4)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(10**9, 10**9, 30_000))
    with pytest.raises(BuildError, match="another --out"):
        check_free_disk([module], tmp_path, largest_bytes=4)
    check_free_disk([module], tmp_path, largest_bytes=2)
