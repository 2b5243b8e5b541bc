"""What TensorRT made of a graph: its layers, which attention runs as one kernel, what it keeps in GPU memory.

Needs the tensorrt extra, and the GPU that the plan was built for.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import tensorrt as trt

from model.runners.device import Device, size_text
from model.runners.tensorrt import PlanFile, TensorRtLog, load_plan
from trt_build.errors import BuildError

_NODE = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
_ATTENTION = re.compile(r"attention", re.IGNORECASE)
_SOFTMAX = re.compile(r"softmax", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Layer:
    """One kernel or group of them. nodes: the ONNX nodes that it computes."""

    name: str
    kind: str
    nodes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Attention:
    """node: the ONNX node that is the attention, or its softmax where it was exported in parts.

    layers: how many share it. with_others: whether one of those computes other nodes too.
    """

    node: str
    layers: int
    with_others: bool

    @property
    def fused(self) -> bool:
        """One kernel: an attention node in one layer; a softmax in one layer together with other nodes."""
        return self.layers == 1 and (self.with_others or bool(_ATTENTION.search(self.node)))


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspection:
    """scratch_bytes: what it computes in. streamable_bytes: of weights, 0 unless built with --weight-streaming."""

    graph: str
    layers: tuple[Layer, ...]
    plan_bytes: int
    scratch_bytes: int
    streamable_bytes: int
    profiles: tuple[str, ...]

    @property
    def attentions(self) -> tuple[Attention, ...]:
        return attentions(self.layers)

    def text(self) -> str:
        kinds = ", ".join(
            f"{count} {kind}" for kind, count in Counter(layer.kind for layer in self.layers).most_common()
        )
        found = self.attentions
        fused = sum(attention.fused for attention in found)
        lines = [
            f"{self.graph}: {len(self.layers)} layers ({kinds})",
            f"  attention: {fused} of {len(found)} run as one kernel"
            + "".join(f"\n    in {a.layers} layers: {a.node}" for a in found if not a.fused),
            f"  memory: plan {size_text(self.plan_bytes)}, scratch {size_text(self.scratch_bytes)}, "
            f"streamable weights {size_text(self.streamable_bytes)}",
            *(f"  profile {number}: {text or 'fixed'}" for number, text in enumerate(self.profiles)),
        ]
        return "\n".join(lines)


def inspect_plan(graph: str, plan: PlanFile, device: Device) -> Inspection:
    """Loads a plan and reads what it says of itself. Raises: RunnerError: it does not load on this GPU."""
    log = TensorRtLog()
    with device.current():
        loaded = load_plan(graph, plan, trt.Runtime(log), log, device, device.open_queue())
        told = loaded.engine.create_engine_inspector().get_engine_information(trt.LayerInformationFormat.JSON)
        return Inspection(
            graph=graph,
            layers=layers_of(told),
            plan_bytes=plan.path.stat().st_size,
            scratch_bytes=loaded.scratch_bytes,
            streamable_bytes=loaded.engine.streamable_weights_size if plan.weight_streaming else 0,
            profiles=tuple(map(str, loaded.limits)),
        )


def layers_of(text: str) -> tuple[Layer, ...]:
    """From the inspector's JSON. Raises: BuildError: it has no layers; the plan was built without details."""
    try:
        told: Any = json.loads(text)["Layers"]
        return tuple(
            Layer(str(one["Name"]), str(one["LayerType"]), tuple(_NODE.findall(str(one.get("Metadata", "")))))
            for one in told
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise BuildError(f"the plan does not tell its layers ({exc}); build it again with --rebuild") from exc


def attentions(layers: Sequence[Layer]) -> tuple[Attention, ...]:
    """Every attention, by its ONNX node; softmax stands for those that were exported in parts."""
    sharing: dict[str, list[Layer]] = {}
    for layer in layers:
        for node in layer.nodes:
            if _ATTENTION.search(node) or _SOFTMAX.search(node):
                sharing.setdefault(node, []).append(layer)
    return tuple(
        Attention(node, len(found), any(len(layer.nodes) > 1 for layer in found)) for node, found in sharing.items()
    )
