"""A model's torch graphs -> a folder of ONNX graphs for one runtime, checked against the modules they came from.

Here live the order of the steps and what makes a folder whole. Tracing, precision and writing weights have files of
their own; which modules a model has is the model's business. Needs the torch extra.
"""

from __future__ import annotations

import enum
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import onnx
import onnx_ir
import torch
from onnx import numpy_helper
from tqdm import tqdm

from model.networks.transformer import DenoiserGraph, Form
from model.networks.weight_offload import is_hollow
from model.precision import Precision
from model.runners.base import ModuleRunner
from model.runners.torch import TorchGraph, TorchRunner
from model.spec import SPEC_FILE, ModelSpec, write_spec
from trt_build.calibrate import calibrated_scales
from trt_build.cases import cases_of, profiles_of
from trt_build.compare import OutputError, compared
from trt_build.errors import BuildError, ExportError
from trt_build.manifest import (
    MANIFEST_FILE,
    ExportManifest,
    GraphExport,
    Profile,
    Target,
    read_manifest,
    write_manifest,
)
from trt_build.precision import in_precision
from trt_build.simulate import runnable
from trt_build.sources import Source
from trt_build.trace import OPSET, traced
from trt_build.weights import INLINE_BYTES, Written, check_free_disk, weight_bytes, write_graph, written_at

ORT_OPSET = 20  # the first with GELU as one operator
FLOAT16_STORAGE_ERROR = 2e-2  # weights rounded to 11 bits, in units of max(1, largest value)
_MAKE_IT_AN_EXPORT = (MANIFEST_FILE, SPEC_FILE)
_SMALL = 1024  # numbers; smaller weights (biases, norms, tables) stay float32


class Storage(enum.StrEnum):
    """How weights lie in a file for onnxruntime. They are float32 again once loaded; FLOAT16 halves the file."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """model, decoder, view: what the manifest says that the graphs came from.

    inline_bytes: weights of more than this in all lie beside their graph. calibrate_on: the device on which fp8's
    ranges are seen. progress: a bar on stderr, if that is a terminal.

    Raises: BuildError: the parts do not go together.
    """

    model: str
    decoder: str = "wan"
    view: bool = False
    target: Target = Target.ONNXRUNTIME
    precision: Precision = Precision.FP32
    storage: Storage = Storage.FLOAT32
    inline_bytes: int = INLINE_BYTES
    calibrate_on: str = "cpu"
    progress: bool = False

    def __post_init__(self) -> None:
        if self.target is Target.ONNXRUNTIME and self.precision is not Precision.FP32:
            raise BuildError(f"onnxruntime runs fp32 only, not {self.precision}; use --target tensorrt")
        if self.target is Target.TENSORRT and self.storage is not Storage.FLOAT32:
            raise BuildError(f"weights stored as {self.storage} are for onnxruntime; leave --store out for tensorrt")


def export_model(source: Source, folder: Path, config: ExportConfig, *, report: Callable[[str], None] = print) -> None:
    """Writes every graph, spec.json, what else serving reads and export.json into `folder`, after comparing each.

    What an earlier export left there goes. While files are changed there is no spec.json, without which nothing reads
    the folder. The source's modules are changed to `config.precision` in place.

    Raises: ExportError: a graph's outputs differ from its module's by more than its precision explains.
    BuildError: the disk is too small. ModelError: the model lacks its tokeniser.
    """
    spec = source.spec
    source.tokenize()  # first: it costs nothing, and may be what is missing
    profiles = {name: profiles_of(spec, name, graph) for name, graph in source.graphs.items()}
    largest_bytes = 4 if config.precision is Precision.FP32 else 2
    check_free_disk([graph.module for graph in source.graphs.values()], folder, largest_bytes=largest_bytes)
    scales = None
    if config.precision is Precision.FP8:
        scales = calibrated_scales(
            spec, source.graphs, source.requests(), tokenize=source.tokenize(), device=config.calibrate_on,
            progress=config.progress,
        )  # fmt: skip
    graphs = {name: in_precision(graph, config.precision, scales) for name, graph in source.graphs.items()}
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as name:
        fresh = Path(name)
        written = _write(graphs, fresh, config)
        write_spec(spec, fresh)
        _check(spec, graphs, fresh, written, config, report)
        manifest = ExportManifest(
            model=config.model, decoder=config.decoder, view=config.view, target=config.target,
            precision=config.precision, opset=ORT_OPSET if config.target is Target.ONNXRUNTIME else OPSET,
            graphs={name: _entry(file, profiles[name]) for name, file in written.items()},
            versions={"torch": torch.__version__, "onnx": onnx.__version__},
        )  # fmt: skip
        write_manifest(manifest, fresh)
        for place, file in source.files.items():
            (fresh / place).parent.mkdir(exist_ok=True)
            shutil.copyfile(file, fresh / place)
        _replace(folder, fresh)


def _replace(folder: Path, fresh: Path) -> None:
    """Moves an export into place: the files without which it is none go first and come last."""
    folder.mkdir(exist_ok=True)
    for file in _exported_files(folder):
        file.unlink(missing_ok=True)
    for file in sorted(fresh.rglob("*"), key=lambda file: file.name in _MAKE_IT_AN_EXPORT):
        target = folder / file.relative_to(fresh)
        if file.is_dir():
            target.mkdir(exist_ok=True)
        else:
            shutil.move(file, target)


def _exported_files(folder: Path) -> list[Path]:
    """What an earlier export left, by its own word: other files of the user's stay."""
    try:
        graphs = list(read_manifest(folder).graphs.values())
    except BuildError:
        graphs = []
    names = [name for graph in graphs for name in (graph.file, graph.weights_file) if name]
    return [folder / name for name in (*_MAKE_IT_AN_EXPORT, *names)]


def export_graph(graph: TorchGraph, path: Path, *, storage: Storage = Storage.FLOAT32) -> Written:
    """Writes one graph for onnxruntime; its inputs and outputs keep their names.

    Raises: BuildError: float16 storage of weights that are read from their files one at a time.
    """
    if isinstance(graph.module, DenoiserGraph):
        graph = replace(graph, module=graph.module.in_form(Form.ONNXRUNTIME))
    if any(is_hollow(weight) for weight in graph.module.parameters()):
        if storage is not Storage.FLOAT32:
            raise BuildError(f"weights of a Helios checkpoint are not stored as {storage}; leave --store out")
        return write_graph(traced(graph, opset=ORT_OPSET), graph.module, path)
    model = onnx_ir.to_proto(traced(graph, opset=ORT_OPSET, optimise=True))
    if storage is Storage.FLOAT16:
        store_as_float16(model)
    onnx.save(model, path)
    return written_at(path)


def store_as_float16(model: onnx.ModelProto) -> None:
    """Halves the large float32 weights, in place; each is cast back by a node that the runtime folds on loading."""
    casts = []
    for weight in model.graph.initializer:
        if weight.data_type != onnx.TensorProto.FLOAT or np.prod(weight.dims) < _SMALL:
            continue
        name = weight.name
        weight.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(weight).astype(np.float16), f"{name}.float16"))
        casts.append(onnx.helper.make_node("Cast", [weight.name], [name], to=onnx.TensorProto.FLOAT))
    nodes = [*casts, *model.graph.node]
    del model.graph.node[:]
    model.graph.node.extend(nodes)


def _write(graphs: Mapping[str, TorchGraph], folder: Path, config: ExportConfig) -> dict[str, Written]:
    total = sum(weight_bytes(graph.module) for graph in graphs.values())
    with tqdm(total=total, unit="B", unit_scale=True, disable=None if config.progress else True) as bar:
        written = {}
        for name, graph in graphs.items():
            bar.set_description(f"tracing {name}")
            path = folder / f"{name}.onnx"
            if config.target is Target.ONNXRUNTIME:
                written[name] = export_graph(graph, path, storage=config.storage)
                bar.update(weight_bytes(graph.module))
                continue
            model = traced(graph)
            bar.set_description(f"writing {name}")
            written[name] = write_graph(model, graph.module, path, inline_bytes=config.inline_bytes, advance=bar.update)
            onnx.checker.check_model(path)
    return written


def _check(
    spec: ModelSpec,
    graphs: Mapping[str, TorchGraph],
    folder: Path,
    written: Mapping[str, Written],
    config: ExportConfig,
    report: Callable[[str], None],
) -> None:
    """Runs every graph that is small enough on ONNX Runtime and its module in torch, on one case each."""
    small = {name: graph for name, graph in graphs.items() if written[name].weights_file is None}
    first = {case.graph: case for case in reversed(cases_of(spec, small))}
    errors: list[OutputError] = []
    if small:
        with runnable(folder, small) as runner:
            runners: dict[str, ModuleRunner] = {"onnxruntime": runner, "torch": TorchRunner(small)}
            precisions = dict.fromkeys(small, config.precision)
            errors = compared(first.values(), runners, reference="torch", precision=precisions)
    for name, file in written.items():
        size = f"{name}: {file.bytes / 1e6:.1f} MB"
        if name in small:
            worst = max(e.max_error / max(1.0, e.largest) for e in errors if e.graph == name)
            report(f"{size}, largest difference to torch {worst:.1e}")
        else:
            report(f"{size}, too large to compare in passing; run `verify`")
    if wrong := [f"{e.graph} ({e.output})" for e in errors if not _close(e, config)]:
        raise ExportError(f"{', '.join(wrong)} differ from torch by more than {config.precision} explains")


def _close(error: OutputError, config: ExportConfig) -> bool:
    if config.storage is Storage.FLOAT16:
        return error.max_error <= FLOAT16_STORAGE_ERROR * max(1.0, error.largest)
    return error.passed


def _entry(written: Written, profiles: tuple[Profile, ...]) -> GraphExport:
    return GraphExport(
        file=written.file.name, weights_file=written.weights_file.name if written.weights_file else "",
        bytes=written.bytes, graph_sha256=written.graph_sha256, weights_sha256=written.weights_sha256,
        profiles=profiles,
    )  # fmt: skip
