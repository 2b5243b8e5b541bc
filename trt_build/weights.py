"""Writing a traced graph with its weights, one at a time: inside the file, or beside it where they would be too large.

A protobuf message ends at 2 GB; above `INLINE_BYTES` the weights go to `<name>.weights` (ONNX external data), each read
from where it lies, written and forgotten. Needs the torch extra.
"""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import onnx
import onnx_ir
from onnx import TensorProto
from onnx.external_data_helper import ExternalDataInfo
from onnx_ir.tensor_adapters import TorchTensor
from torch import Tensor, nn

from model.networks.fp8 import QuantisedLinear
from model.networks.weight_offload import Streamed, is_hollow
from trt_build.errors import BuildError, ExportError

INLINE_BYTES = 1 << 30
_STAYS_INSIDE_BYTES = 1024  # shapes, scales and other small numbers, which readers want at hand
_ALIGNMENT = 4096  # page-aligned tensors can be mapped (ONNX, ExternalData.md)
_BLOCK_BYTES = 1 << 22
_MARGIN = 1.05  # the graph, the few weights that stay float32, what a file system needs

Advance = Callable[[int], object]
"""Told the bytes of every weight once it is written."""


@dataclass(frozen=True, slots=True)
class Written:
    """weights_file: None if the weights are inside. bytes: of both files.

    graph_sha256: of the graph without its weights' values; weights_sha256: of the values alone, wherever they lie.
    """

    file: Path
    weights_file: Path | None
    bytes: int
    graph_sha256: str
    weights_sha256: str


def weight_bytes(module: nn.Module) -> int:
    """Of all parameters and buffers, hollow ones too: about what an export of the module takes."""
    return sum(t.numel() * t.element_size() for t in (*module.parameters(), *module.buffers()))


def check_free_disk(modules: Iterable[nn.Module], folder: Path, *, largest_bytes: int) -> None:
    """largest_bytes: what a number takes at most once it is exported.

    Raises: BuildError: the modules' weights will not fit where `folder` lies.
    """
    numbers = sum(t.numel() for module in modules for t in (*module.parameters(), *module.buffers()))
    needed = int(numbers * largest_bytes * _MARGIN)
    existing = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    free = shutil.disk_usage(existing).free
    if needed > free:
        raise BuildError(
            f"the export needs {needed / 1e9:.1f} GB at {folder}, {free / 1e9:.1f} GB are free; "
            f"free {(needed - free) / 1e9:.1f} GB or give another --out"
        )


def write_graph(
    model: onnx_ir.Model,
    module: nn.Module,
    path: Path,
    *,
    inline_bytes: int = INLINE_BYTES,
    advance: Advance = lambda _: None,
) -> Written:
    """Writes what `module` was traced to at `path`, and its weights there or beside it.

    Raises: ExportError: a placeholder in the graph belongs to no layer that can fill it.
    """
    weights = model.graph.initializers
    total = sum(value.const_value.nbytes for value in weights.values() if value.const_value is not None)
    beside = None if total <= inline_bytes else path.with_suffix(".weights")
    with beside.open("wb") if beside else nullcontext() as file:
        for name, value in weights.items():
            tensor = _filled(name, value.const_value, module)
            if file is not None and beside is not None and tensor.nbytes > _STAYS_INSIDE_BYTES:
                file.write(bytes(-file.tell() % _ALIGNMENT))
                offset = file.tell()
                file.write(tensor.tobytes())
                value.const_value = onnx_ir.ExternalTensor(
                    beside.name, offset, tensor.nbytes, tensor.dtype,
                    shape=onnx_ir.Shape(tensor.shape.numpy()), name=name, base_dir=path.parent,
                )  # fmt: skip
            else:
                value.const_value = tensor
            advance(tensor.nbytes)
            del tensor  # before the next is read
    onnx.save(onnx_ir.to_proto(model), path)
    return written_at(path)


def _filled(name: str, given: onnx_ir.TensorProtocol | None, module: nn.Module) -> onnx_ir.TensorProtocol:
    """The weight that an initializer stands for."""
    if given is None:
        raise ExportError(f"the traced graph has no value for {name}")
    placeholder = given.raw
    if not isinstance(placeholder, Tensor) or not is_hollow(placeholder):
        return given
    owner, _, attribute = name.rpartition(".")
    try:
        layer = module.get_submodule(owner)
    except AttributeError as exc:
        raise ExportError(f"the traced graph has a placeholder {name} that its module does not know") from exc
    if not isinstance(layer, Streamed | QuantisedLinear):
        raise ExportError(f"{name} is a placeholder in a {type(layer).__name__}, which cannot fill it")
    stored = layer.stored(attribute)
    if stored.shape != placeholder.shape or stored.dtype != placeholder.dtype:
        raise ExportError(
            f"{name} is {stored.dtype} {tuple(stored.shape)}, traced as {placeholder.dtype} {tuple(placeholder.shape)}"
        )
    return TorchTensor(stored, name=name)


def written_at(path: Path) -> Written:
    """What lies there now: the graph's file and, where it names one, the file of its weights."""
    model = onnx.load(path, load_external_data=False)
    digest, beside = hashlib.sha256(), None
    for tensor in model.graph.initializer:
        if tensor.data_location == TensorProto.EXTERNAL:
            place = ExternalDataInfo(tensor)
            beside = path.parent / place.location
            for block in _blocks(beside, place.offset or 0, place.length or 0):
                digest.update(block)
        else:
            digest.update(tensor.raw_data or tensor.SerializeToString(deterministic=True))
        for field in ("raw_data", "external_data", "data_location"):
            tensor.ClearField(field)
    return Written(
        file=path,
        weights_file=beside,
        bytes=sum(file.stat().st_size for file in (path, beside) if file),
        graph_sha256=hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
        weights_sha256=digest.hexdigest(),
    )


def _blocks(file: Path, offset: int, length: int) -> Iterator[bytes]:
    with file.open("rb") as opened:
        opened.seek(offset)
        while length and (block := opened.read(min(length, _BLOCK_BYTES))):
            length -= len(block)
            yield block
