"""ONNX graphs -> TensorRT plans, through TensorRT's Python API, on the GPU that will run them.

Needs the tensorrt extra. Where plans are kept is the cache's business, what a terminal shows progress.py's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import SupportsInt, TextIO

import tensorrt as trt

from model.runners.tensorrt import TensorRtLog
from trt_build.cache import EngineCache, Entry, PlanTraits
from trt_build.errors import BuildCancelled, BuildError
from trt_build.key import BuildEnvironment, EngineKey
from trt_build.lock import held
from trt_build.manifest import ExportManifest, Profile
from trt_build.progress import BuildProgress
from trt_build.state import keys_of, tensorrt_export
from trt_build.watched import run_watched

_logger = logging.getLogger(__name__)
_WRITING = "Writing the plan"
_STOPPED = "the build was stopped; nothing of it was kept but kernel timings"


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildOptions:
    """How to build. workspace_bytes: the most scratch memory that a kernel may take, 0 for no limit.

    weight_streaming: the plan may run with part of its weights in host memory, for small cards. strip: leave the
    weights out; the plan is small, and takes them from the ONNX file when it is loaded. optimization_level: 0 to 5;
    TensorRT's own default is 3. rebuild: even if there is a plan.
    """

    workspace_bytes: int = 0
    weight_streaming: bool = False
    strip: bool = False
    optimization_level: int = 3
    rebuild: bool = False

    def __post_init__(self) -> None:
        if not 0 <= self.optimization_level <= 5:
            raise BuildError(f"optimization level: got {self.optimization_level}, expected 0 to 5")
        if self.workspace_bytes < 0:
            raise BuildError(f"workspace: got {self.workspace_bytes} bytes, expected 0 (no limit) or more")

    @property
    def traits(self) -> PlanTraits:
        return PlanTraits(
            weight_streaming=self.weight_streaming, stripped=self.strip, workspace_bytes=self.workspace_bytes,
            optimization_level=self.optimization_level,
        )  # fmt: skip


class BuildMonitor(trt.IProgressMonitor):  # type: ignore[misc]  # an untyped base where the stubs are not at hand
    """Hands on what TensorRT tells; raises nothing, because TensorRT is in the midst of a build."""

    def __init__(self, progress: BuildProgress) -> None:
        trt.IProgressMonitor.__init__(self)
        self._progress = progress

    def phase_start(self, phase_name: str, parent_phase: str, num_steps: SupportsInt) -> None:
        self._progress.start(phase_name, parent_phase, int(num_steps))

    def step_complete(self, phase_name: str, step: SupportsInt) -> bool:
        return self._progress.step(phase_name, int(step))

    def phase_finish(self, phase_name: str) -> None:
        self._progress.finish(phase_name)


def build_model(
    folder: Path,
    cache: EngineCache,
    environment: BuildEnvironment,
    options: BuildOptions,
    *,
    graphs: tuple[str, ...] = (),
    out: TextIO = sys.stderr,
    clock: Callable[[], float] = time.monotonic,
) -> list[Entry]:
    """Builds every plan of an exported model that the cache does not have. graphs: only these; empty means all.

    Raises: BuildError: the folder holds no export for TensorRT, TensorRT refuses a graph, or the disk is full.
    BuildCancelled: the user pressed Ctrl-C; what was finished before stays.
    """
    keys = chosen_keys(folder, environment, graphs)
    manifest = tensorrt_export(folder)
    return [_build_one(folder, manifest, key, cache, options, out, clock) for key in keys.values()]


def chosen_keys(folder: Path, environment: BuildEnvironment, graphs: tuple[str, ...]) -> dict[str, EngineKey]:
    """Raises: BuildError: the export is for another runtime, or has no such graph."""
    keys = keys_of(folder, environment)
    if unknown := sorted(set(graphs) - set(keys)):
        raise BuildError(f"no graph named {', '.join(unknown)}; the export has {', '.join(keys)}")
    return {name: key for name, key in keys.items() if not graphs or name in graphs}


def _build_one(
    folder: Path,
    manifest: ExportManifest,
    key: EngineKey,
    cache: EngineCache,
    options: BuildOptions,
    out: TextIO,
    clock: Callable[[], float],
) -> Entry:
    def say(text: str) -> None:
        out.write(f"{key.graph_name}: {text}\n")
        out.flush()

    with cache.building(key, on_wait=lambda holder: say(f"process {holder} is building it; waiting")):
        entry = None if options.rebuild else _usable(cache, key, options, say)
        if entry is not None:
            return entry
        graph = manifest.graphs[key.graph_name]
        file = folder / graph.file
        _check_file(file, graph.weights_file, graph.bytes)
        cache.check_room(0 if options.strip else graph.bytes, what=f"{key.graph_name}'s plan")
        began_s = clock()
        timings = cache.root / _timing_file(key)

        def work(progress: BuildProgress) -> Entry:
            plan = memoryview(build_plan(file, graph.profiles, options, timings=timings, progress=progress))
            with _writing(progress, plan.nbytes) as advance:
                return cache.store(key, plan, options.traits, build_s=clock() - began_s, advance=advance)

        entry = run_watched(work, title=key.graph_name, out=out, clock=clock)
        say(f"built in {entry.build_s:.1f} s, {entry.plan_bytes / 1e6:.1f} MB: {entry.folder}")
        return entry


@contextlib.contextmanager
def _writing(progress: BuildProgress, nbytes: int) -> Iterator[Callable[[int], None]]:
    """A plan's way to the disk as a phase like TensorRT's own: gives what is to be told each piece's bytes.

    Raises: BuildCancelled: the progress was cancelled.
    """
    written = 0

    def advance(piece_bytes: int) -> None:
        nonlocal written
        written += piece_bytes
        if not progress.step(_WRITING, written - 1):
            raise BuildCancelled(_STOPPED)

    progress.start(_WRITING, None, nbytes)
    yield advance
    progress.finish(_WRITING)


def build_plan(
    file: Path,
    profiles: tuple[Profile, ...],
    options: BuildOptions,
    *,
    timings: Path | None = None,
    progress: BuildProgress | None = None,
) -> trt.IHostMemory:
    """One graph's plan, in memory. timings: kernels' measured times, read and written back, which a next build reuses.

    Raises: BuildError, with what TensorRT said. BuildCancelled: `progress` was cancelled.
    """
    progress = progress or BuildProgress()
    log = TensorRtLog()
    try:
        builder = trt.Builder(log)
    except TypeError as exc:  # what the bindings raise when the library gives no builder
        raise BuildError(f"TensorRT does not start ({log.last_errors()}); see whether `nvidia-smi` works") from exc
    network = builder.create_network(0)  # strongly typed: there is no other kind any more
    _parse(file, network, log)
    config = _configured(builder, options, profiles)
    config.progress_monitor = BuildMonitor(progress)
    cache = _load_timings(config, timings)
    plan = builder.build_serialized_network(network, config)
    if timings is not None and cache is not None:
        _save_timings(cache, timings)  # also those of a build that was stopped: it goes on faster next time
    if progress.cancelled:
        raise BuildCancelled(_STOPPED)
    if plan is None:
        raise BuildError(
            f"TensorRT {trt.__version__} builds no plan of {file}: {log.last_errors()}; if it lacks memory, give "
            f"--workspace-gb or --weight-streaming, else export the model again with this version of helios-bridge"
        )
    return plan


def _parse(file: Path, network: trt.INetworkDefinition, log: TensorRtLog) -> None:
    parser = trt.OnnxParser(network, log)
    if parser.parse_from_file(str(file)):
        return
    errors = [parser.get_error(index) for index in range(parser.num_errors)]
    said = "; ".join(f"{error.node_name()} ({error.node_operator()}): {error.desc()}" for error in errors[:3])
    raise BuildError(
        f"TensorRT {trt.__version__} does not take {file}: {said or log.last_errors()}; export the model again "
        f"with this version of helios-bridge"
    )


def _configured(builder: trt.Builder, options: BuildOptions, profiles: tuple[Profile, ...]) -> trt.IBuilderConfig:
    config = builder.create_builder_config()
    config.profiling_verbosity = trt.ProfilingVerbosity.DETAILED  # `inspect` reads layers from the plan
    config.builder_optimization_level = options.optimization_level
    if options.workspace_bytes:
        config.set_memory_pool_limit(trt.MemoryPoolType.WORKSPACE, options.workspace_bytes)
    if options.weight_streaming:
        config.set_flag(trt.BuilderFlag.WEIGHT_STREAMING)
    if options.strip:
        config.set_flag(trt.BuilderFlag.STRIP_PLAN)
        config.set_flag(trt.BuilderFlag.REFIT_IDENTICAL)  # the same weights come back: full speed is kept
    for profile in profiles:
        asked = builder.create_optimization_profile()
        for name, shapes in profile.shapes.items():
            asked.set_shape(name, trt.Dims(shapes.min), trt.Dims(shapes.opt), trt.Dims(shapes.max))
        if config.add_optimization_profile(asked) < 0:
            raise BuildError(f"TensorRT refuses the profile {profile.name}: {dict(profile.shapes)}")
    return config


def _load_timings(config: trt.IBuilderConfig, file: Path | None) -> trt.ITimingCache | None:
    """The config's timing cache: what the file holds, or an empty one if it is another GPU's or damaged."""
    data = file.read_bytes() if file is not None and file.exists() else b""
    cache = config.create_timing_cache(data)
    if config.set_timing_cache(cache, ignore_mismatch=False):
        return cache
    _logger.warning("timings.refused file=%s", file)
    cache = config.create_timing_cache(b"")
    return cache if config.set_timing_cache(cache, ignore_mismatch=False) else None


def _save_timings(cache: trt.ITimingCache, file: Path) -> None:
    """Under a lock of its own, as graphs may be built side by side. The last wins; what it lacks is measured anew."""
    with held(file.with_suffix(".lock"), on_wait=lambda _: None):
        fresh = file.with_suffix(f".{os.getpid()}")
        fresh.write_bytes(memoryview(cache.serialize()))
        fresh.replace(file)


def _timing_file(key: EngineKey) -> str:
    gpu = "".join(c if c.isalnum() else "-" for c in key.gpu)
    return f".timings-{key.tensorrt}-{gpu}.cache"


def _usable(cache: EngineCache, key: EngineKey, options: BuildOptions, say: Callable[[str], None]) -> Entry | None:
    found = cache.find(key)
    if not isinstance(found, Entry):
        say(found.reason)
        return None
    if found.traits != options.traits:
        say("built with other options; building anew")
        return None
    say(f"up to date: {found.folder}")
    return found


def _check_file(file: Path, weights_file: str, wanted_bytes: int) -> None:
    files = [file, *([file.parent / weights_file] if weights_file else [])]
    there = sum(path.stat().st_size for path in files if path.is_file())
    if there != wanted_bytes:
        raise BuildError(
            f"{' and '.join(map(str, files))}: got {there} bytes, expected {wanted_bytes}; export the model again"
        )
