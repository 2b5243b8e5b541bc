"""An exported folder's plans, found in the cache and opened: what `serve --runner tensorrt` runs on.

Needs the tensorrt extra; never torch.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.errors import RunnerError
from model.runners.device import Device
from model.runners.tensorrt import PlanFile, TrtRunner
from trt_build.cache import EngineCache, Entry, Miss, default_root
from trt_build.environment import this_environment
from trt_build.key import BuildEnvironment
from trt_build.state import engine_states, stale_message


def create(folder: Path, *, threads: int) -> TrtRunner:
    """`--runner tensorrt`: every plan of an export, on the first GPU. threads: not used; TensorRT has its own.

    Raises: RunnerError: plans are missing or stale, or do not load; the message names the command that builds them.
    """
    environment = this_environment("serving with TensorRT")
    from model.runners.cuda import CudaDevice  # only now: without pycuda the line above says what to install

    states = engine_states(folder, environment, EngineCache(default_root()))
    if misses := {name: state for name, state in states.items() if isinstance(state, Miss)}:
        raise RunnerError(stale_message(folder, misses))
    return opened(folder, {name: state for name, state in states.items() if isinstance(state, Entry)}, CudaDevice())


def open_plans(folder: Path) -> TrtRunner | None:
    """For `verify`: the plans of an export, an autoencoder's memory as inputs and outputs; None if one of them is not
    built for this machine."""
    environment = this_environment("comparing plans")
    from model.runners.cuda import CudaDevice

    return open_if_built(folder, environment, EngineCache(default_root()), CudaDevice())


def open_if_built(folder: Path, environment: BuildEnvironment, cache: EngineCache, device: Device) -> TrtRunner | None:
    states = engine_states(folder, environment, cache)
    entries = {name: state for name, state in states.items() if isinstance(state, Entry)}
    if len(entries) < len(states):
        device.close()
        return None
    return opened(folder, entries, device, keep_memory=False)


def opened(folder: Path, entries: Mapping[str, Entry], device: Device, *, keep_memory: bool = True) -> TrtRunner:
    """A runner of the plans, which owns `device` from now on. keep_memory: as `TrtRunner`'s."""
    plans = {name: plan_file(folder, name, entry) for name, entry in entries.items()}
    return TrtRunner(plans, device, keep_memory=keep_memory)


def plan_file(folder: Path, name: str, entry: Entry) -> PlanFile:
    """folder: the export that a stripped plan takes its weights from."""
    return PlanFile(
        path=entry.plan,
        weights_from=folder / f"{name}.onnx" if entry.traits.stripped else None,
        weight_streaming=entry.traits.weight_streaming,
    )
