"""Whether an export's plans are built for this machine, and what to say when they are not. No TensorRT here."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from model.spec import read_spec
from trt_build.cache import EngineCache, Entry, Miss
from trt_build.errors import BuildError
from trt_build.key import BuildEnvironment, EngineKey, engine_keys
from trt_build.manifest import MANIFEST_FILE, ExportManifest, Target, read_manifest


def engine_states(folder: Path, environment: BuildEnvironment, cache: EngineCache) -> dict[str, Entry | Miss]:
    """Each graph's plan, or why there is none. Raises: BuildError: the folder is no export for TensorRT."""
    return {name: cache.find(key) for name, key in keys_of(folder, environment).items()}


def keys_of(folder: Path, environment: BuildEnvironment) -> dict[str, EngineKey]:
    """The key of every graph of an export. Raises: BuildError, as `engine_states`."""
    return engine_keys(tensorrt_export(folder), read_spec(folder), environment)


def tensorrt_export(folder: Path) -> ExportManifest:
    """Raises: BuildError: nothing in `folder` was exported, or not for TensorRT."""
    wanted = "export for TensorRT: `python -m trt_build export --model demo --precision bf16 --out DIR`, then give DIR"
    if not (folder / MANIFEST_FILE).exists():
        raise BuildError(f"{folder} has no {MANIFEST_FILE}; {wanted}")
    manifest = read_manifest(folder)
    if manifest.target is not Target.TENSORRT:
        raise BuildError(
            f"{folder} was exported for {manifest.target}, whose operators TensorRT does not take; {wanted}"
        )
    return manifest


def stale_message(folder: Path, misses: Mapping[str, Miss]) -> str:
    """One line: each graph's reason, and the commands that build what is lacking."""
    reasons = {miss.reason for miss in misses.values()}
    if len(reasons) == 1:
        said = f"{', '.join(misses)}: {reasons.pop()}"
    else:
        said = "; ".join(f"{name}: {miss.reason}" for name, miss in misses.items())
    return f"TensorRT engines ({said}); build them with `python -m trt_build build {folder}`, or serve with --build"
