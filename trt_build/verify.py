"""An exported folder against the model it came from: every graph at every profile, on every runtime that is here.

The reference is torch in float32. Needs the torch extra.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import onnxruntime
import torch

from model.precision import Precision
from model.runners.base import ModuleRunner
from model.runners.torch import TorchRunner
from model.spec import read_spec
from trt_build.cases import cases_of
from trt_build.compare import OutputError, compared
from trt_build.errors import BuildError, ExtraMissing
from trt_build.manifest import ExportManifest, Target, read_manifest
from trt_build.simulate import runnable
from trt_build.sources import load_source

REFERENCE, ONNXRUNTIME, TENSORRT = "torch", "onnxruntime", "tensorrt"
_WIDENING = {Precision.FP32: 1, Precision.BF16: 2, Precision.FP8: 3}
"""Size of a graph's float32 twin against its file, at most; ONNX Runtime holds it twice while it loads."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verification:
    """skipped: runtime -> why it was not compared."""

    manifest: ExportManifest
    errors: tuple[OutputError, ...]
    skipped: Mapping[str, str]
    versions: Mapping[str, str]

    @property
    def passed(self) -> bool:
        return bool(self.errors) and all(error.passed for error in self.errors)

    def write(self, path: Path) -> None:
        """As JSON: what was compared, each error with its verdict, and the verdict on all."""
        report = {
            "passed": self.passed,
            "model": self.manifest.model,
            "target": self.manifest.target,
            "precision": self.manifest.precision,
            "versions": dict(self.versions),
            "skipped": dict(self.skipped),
            "errors": [asdict(error) | {"passed": error.passed} for error in self.errors],
        }
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


OpenPlans = Callable[[Path], ModuleRunner | None]
"""A folder -> a runner of the plans that were built from it, None if one is not. Raises: ExtraMissing: no TensorRT."""


def verify(folder: Path, *, model: str | None = None, open_plans: OpenPlans) -> Verification:
    """Compares what lies in `folder` with the model that export.json names, or with `model`.

    Raises: BuildError: the folder is no export, or nothing in it can be run here. ModelError: the model does not load.
    """
    manifest = read_manifest(folder)
    spec = read_spec(folder)
    frame_size = (spec.frame_width, spec.frame_height)
    source = load_source(model or manifest.model, decoder=manifest.decoder, frame_size=frame_size, view=manifest.view)
    if lost := sorted(source.graphs.keys() ^ manifest.graphs.keys()):
        raise BuildError(f"{folder} and {model or manifest.model} do not have the same graphs: {', '.join(lost)}")
    skipped: dict[str, str] = {}
    with ExitStack() as stack:
        runners: dict[str, ModuleRunner] = {}
        if short := _memory_short(folder, manifest):
            skipped[ONNXRUNTIME] = short
        else:
            runners[ONNXRUNTIME] = stack.enter_context(runnable(folder, manifest.graphs))
        if manifest.target is Target.TENSORRT:
            try:
                plans = open_plans(folder)
            except ExtraMissing as exc:
                plans, skipped[TENSORRT] = None, str(exc)
            if plans is not None:
                runners[TENSORRT] = stack.enter_context(_closing(plans))
            else:
                skipped.setdefault(TENSORRT, "no plans for this machine; run `python -m trt_build build`")
        if not runners:
            raise BuildError("nothing to verify: " + "; ".join(f"{name}: {why}" for name, why in skipped.items()))
        runners[REFERENCE] = TorchRunner(source.graphs)
        errors = compared(
            cases_of(source.spec, source.graphs), runners, reference=REFERENCE,
            precision=dict.fromkeys(manifest.graphs, manifest.precision),
        )  # fmt: skip
    return Verification(
        manifest=manifest, errors=tuple(errors), skipped=skipped,
        versions={"torch": torch.__version__, "onnxruntime": onnxruntime.__version__},
    )  # fmt: skip


@contextmanager
def _closing(runner: ModuleRunner) -> Iterator[ModuleRunner]:
    try:
        yield runner
    finally:
        runner.close()


def _memory_short(folder: Path, manifest: ExportManifest) -> str:
    """Why the graphs cannot be run in float32 here; empty if they can."""
    sizes = [
        sum((folder / name).stat().st_size for name in (graph.file, graph.weights_file) if name)
        for graph in manifest.graphs.values()
    ]
    needed = 2 * _WIDENING[manifest.precision] * sum(sizes)
    free = os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if needed <= free:
        return ""
    return f"needs {needed / 1e9:.0f} GB of memory for these graphs in float32, {free / 1e9:.0f} GB are free"
