"""What a TensorRT plan depends on, and which part of it changed. Pure values: no files, no GPU, no TensorRT."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields

from model.spec import ModelSpec
from trt_build.manifest import ExportManifest, GraphExport

_DIGEST_CHARS = 16
_HASH_CHARS = 8  # of a hash, in a message

LABELS = {
    "weights": "weights",
    "graph": "graph",
    "shapes": "shapes",
    "steps": "steps",
    "precision": "precision",
    "tensorrt": "TensorRT",
    "gpu": "GPU",
    "compute_capability": "compute capability",
    "driver": "driver",
}
_HASHED = ("weights", "graph")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildEnvironment:
    """Where a plan is built and runs: it fits no other.

    gpu: the device's own name. compute_capability: "9.0". driver: its version, as the driver tells it.
    """

    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineKey:
    """A plan is good for exactly one key. model and graph_name say what it is; a change of any other part makes the
    plan stale.

    weights, graph: SHA-256 of each. shapes: every profile, as text. steps: a stage, as "1,1,1".
    """

    model: str
    graph_name: str
    weights: str
    graph: str
    shapes: str
    steps: str
    precision: str
    tensorrt: str
    gpu: str
    compute_capability: str
    driver: str

    def digest(self) -> str:
        """A short name of the whole key, safe in a file name."""
        text = json.dumps(asdict(self), sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_DIGEST_CHARS]

    def changes(self, older: EngineKey) -> tuple[str, ...]:
        """The parts that differ, each as "TensorRT 11.3 -> 11.4"."""
        return tuple(
            f"{label} {_shown(name, getattr(older, name))} -> {_shown(name, getattr(self, name))}"
            for name, label in LABELS.items()
            if getattr(self, name) != getattr(older, name)
        )


def engine_keys(manifest: ExportManifest, spec: ModelSpec, environment: BuildEnvironment) -> dict[str, EngineKey]:
    """The key of each graph's plan, by the graph's name."""
    return {
        name: EngineKey(
            model=spec.name,
            graph_name=name,
            weights=graph.weights_sha256,
            graph=graph.graph_sha256,
            shapes=_shapes_text(graph),
            steps=",".join(map(str, spec.stage_steps)),
            precision=manifest.precision,
            **asdict(environment),
        )
        for name, graph in manifest.graphs.items()
    }


def key_from_json(loaded: Mapping[str, object]) -> EngineKey:
    """Raises: KeyError: a part is missing."""
    return EngineKey(**{field.name: str(loaded[field.name]) for field in fields(EngineKey)})


def _shapes_text(graph: GraphExport) -> str:
    """One profile after another: "stage0: hidden_states 1x16x1x12x20..1x16x9x12x20"; "fixed" if no length varies."""
    texts = []
    for profile in graph.profiles:
        ranges = [
            f"{name} {'..'.join('x'.join(map(str, shape)) for shape in (of.min, of.opt, of.max))}"
            for name, of in profile.shapes.items()
        ]
        texts.append(f"{profile.name}: {' '.join(ranges)}")
    return "; ".join(texts) or "fixed"


def _shown(name: str, value: str) -> str:
    return value[:_HASH_CHARS] if name in _HASHED else value
