"""The engine of every Helios-shaped model: the chunk loop of `model.rollout`, conditioned on the session's blockout.

Here wire values become the model's (parts, cameras, texts) and the model's errors ours. The loop itself, and all that
knows the network, is in model/.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from bridge.clock import MonotonicClock
from bridge.engine import ControlWindow, EngineInfo, FrameChunk, Plan, Rung, SessionStart, State
from bridge.errors import EngineError, EngineIncompatible, EngineUnavailable, StepFailed
from bridge.messages import Part, SceneUpdate, Shape
from bridge.reproject import NO_PART
from model import blockout
from model.blockout import Blockout, PackedParts
from model.camera import Camera
from model.conditioning import condition
from model.errors import BlockoutError, ModelError
from model.maps import DEFAULT_MAP, load_map
from model.rollout import Rollout
from model.runners.base import ModuleRunner
from model.spec import ModelSpec, read_spec
from model.state import ChunkRequest, RolloutState

SHIPPED_MODEL = Path(blockout.__file__).parent / "demo" / "weights"
CHUNK_LATENTS = (1, 2, 3)
"""Latent frames a chunk that the shipped model was trained on."""

_RUNNERS = {
    "onnxruntime": ("model.runners.ort:create", "onnxruntime", "it is a base dependency: reinstall helios-bridge"),
    "torch": ("model.demo.checkpoint:create_torch_runner", "torch", "pip install 'helios-bridge[torch]'"),
    "tensorrt": ("trt_build.serving:create", "TensorRT and an NVIDIA driver", "pip install 'helios-bridge[tensorrt]'"),
    "rtx": ("trt_build.serving_rtx:create", "TensorRT-RTX and an NVIDIA driver", "pip install 'helios-bridge[rtx]'"),
}
_SCENE = "scene_msgpack"
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}
_encode_parts = msgspec.msgpack.Encoder().encode
_decode_parts = msgspec.msgpack.Decoder(tuple[Part, ...]).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """A session's geometry: the wire's parts, and the same ready to be cast.

    ids: (parts + 1,) uint32, each packed part's id; the last stands for none, which a cast calls -1.
    """

    parts: tuple[Part, ...]
    packed: PackedParts
    ids: NDArray[np.uint32]


class HeliosEngine:
    """One exported model on one runner. See `Engine` for the contract."""

    def __init__(self, folder: Path, runner: str, threads: int, precision: str = "auto") -> None:
        """Raises: EngineUnavailable, EngineIncompatible: the runner or the model's files are not to be had."""
        try:
            self._spec: ModelSpec = read_spec(folder)
            load = _load_runner(runner)
            chosen = {} if precision == "auto" else {"precision": precision}
            self._runner: ModuleRunner = load(folder, threads=threads, **chosen)
            clock = MonotonicClock()
            self._rollout = Rollout(self._spec, self._runner, clock=lambda: clock.now_us() / 1e6)
        except ModelError as exc:
            raise EngineIncompatible(f"model {folder}: {exc}") from exc
        self._default = load_map(DEFAULT_MAP)
        self._worlds: dict[bytes, _World] = {}
        self._info = EngineInfo(
            model=self._spec.name,
            runner=runner if precision == "auto" else f"{runner} {precision}",
            frame_width=self._spec.frame_width,
            frame_height=self._spec.frame_height,
            frames_per_chunk=tuple(self._spec.frames_in(latents) for latents in CHUNK_LATENTS),
            depth_width=self._spec.frame_width // 4,
            depth_height=self._spec.frame_height // 4,
            camera_method="channels",
            default_map=DEFAULT_MAP,
            rungs=rungs_of(self._spec.stage_steps),
        )

    def warm_up(self) -> None:
        """Makes the longest chunk once, for nobody: a runtime's first run allocates, and is twice as slow."""
        frames = self._info.frames_per_chunk[-1]
        still = ControlWindow(
            positions=np.tile(np.array(self._default.spawn_position), (frames, 1)),
            rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
            vertical_fov_deg=np.full(frames, 60.0),
            actions=("",) * frames,
            scene_updates=(),
            cut=False,
            newest_control_t_us=0,
        )
        plan = Plan(frames=frames, steps=self._spec.stage_steps, rung="warm-up")
        self.step(self.open(SessionStart(seed=0, prompt="", scene=None)), still, plan)

    @property
    def info(self) -> EngineInfo:
        return self._info

    def open(self, start: SessionStart) -> State:
        parts: tuple[Part, ...] = _parts_of(self._default.blockout)
        if start.scene is not None:
            parts = _updated(parts, [start.scene])
        world = self._world(parts)
        try:
            state = self._rollout.open(start.seed, start.prompt)
        except ModelError as exc:
            raise EngineError(f"the session cannot be opened: {exc}") from exc
        return state.to_arrays() | _scene_array(world)

    def step(self, state: State, window: ControlWindow, plan: Plan) -> tuple[FrameChunk, State]:
        if plan.frames not in self._info.frames_per_chunk or plan.frames != len(window.positions):
            raise StepFailed(
                f"plan: got {plan.frames} frames and {len(window.positions)} cameras, "
                f"expected one of {self._info.frames_per_chunk} and as many cameras"
            )
        world = self._world_of(state)
        if window.scene_updates:
            world = self._world(_updated(world.parts, window.scene_updates))
        texts = _texts(window, self._spec.temporal_stride)
        seen = condition(world.packed, self._cameras(window))
        try:
            before = RolloutState.from_arrays(state)
            features: dict[str, NDArray[np.generic]] = {"rays": seen.rays, "flow": seen.flow}
            guide: dict[str, NDArray[np.generic]] = {"rays": seen.rays, "lookup": seen.lookup}
            request = ChunkRequest(texts=texts, steps=plan.steps, features=features, guide=guide, cut=window.cut)
            result, after = self._rollout.chunk(before, request)
        except ModelError as exc:
            raise StepFailed(f"the chunk could not be made: {exc}") from exc
        chunk = FrameChunk(
            frames=result.frames,
            depth=seen.depth,
            actions=(texts[-1],) * plan.frames,
            stage_ms=result.stage_ms,
            parts=world.ids[seen.part],
        )
        return chunk, after.to_arrays() | _scene_array(world)

    def close(self) -> None:
        self._runner.close()

    def _cameras(self, window: ControlWindow) -> list[Camera]:
        return [
            Camera(
                position=position,
                rotation=rotation,
                vertical_fov_deg=float(fov),
                height=self._spec.frame_height,
                width=self._spec.frame_width,
            )
            for position, rotation, fov in zip(window.positions, window.rotations, window.vertical_fov_deg, strict=True)
        ]

    def _world_of(self, state: State) -> _World:
        """The world in a state, from the cache unless this process has not met it yet (it replaced a crashed one)."""
        key = state[_SCENE].tobytes()
        return self._worlds[key] if key in self._worlds else self._world(_decode_parts(key))

    def _world(self, parts: tuple[Part, ...]) -> _World:
        try:
            packed = Blockout().add(_model_part(part) for part in parts).pack()
        except BlockoutError as exc:
            raise EngineError(f"this blockout cannot be shown: {exc}") from exc
        # A pack has its meshes last; both kinds stand in order of id, as `parts` does.
        in_order = sorted(parts, key=lambda part: (part.shape is Shape.MESH, part.id))
        ids = np.array([*(part.id for part in in_order), NO_PART], np.uint32)
        world = _World(parts=parts, packed=packed, ids=ids)
        if len(self._worlds) > 64:
            self._worlds.clear()
        self._worlds[_encode_parts(parts)] = world
        return world


def rungs_of(stage_steps: tuple[int, ...]) -> tuple[Rung, ...]:
    """What a model can leave out, best first: steps beyond one a stage, then the pyramid's last stage, then the next.

    The shares are CPU time of the demo's chunk of one latent frame: 78, 60 and 46 ms, for 0.9 and 2.2 dB on its tour.
    """
    stages = len(stage_steps)
    one_each = (1,) * stages
    dearer = sum(stage_steps) / stages
    rungs = [Rung(name="full", steps=stage_steps)]
    if dearer > 1:
        rungs.append(Rung(name=f"{_NUMBERS.get(stages, stages)}-steps", steps=one_each, cost_share=1 / dearer))
    if stages > 1:
        rungs.append(Rung(name="half-latents", steps=(*one_each[:-1], 0), cost_share=0.77 / dearer))
    if stages > 2:
        rungs.append(Rung(name="quarter-latents", steps=(*one_each[:-2], 0, 0), cost_share=0.6 / dearer))
    return tuple(rungs)


def create(*, model: str, runner: str, threads: int, precision: str = "auto") -> HeliosEngine:
    """The engine process's factory.

    model: "demo" or a folder with spec.json and graphs. runner: "auto" or a name. precision: "auto", or one of
    `model.precision.Precision` for a runner that has a choice (torch).
    """
    folder = SHIPPED_MODEL if model == "demo" else Path(model)
    if not folder.is_dir():
        raise EngineUnavailable(f"model: got {model!r}, expected 'demo' or a folder with spec.json and *.onnx graphs")
    if runner == "auto":
        runner = "onnxruntime" if precision == "auto" else "torch"
    engine = HeliosEngine(folder, runner, threads, precision)
    engine.warm_up()
    return engine


def _load_runner(name: str) -> Callable[..., ModuleRunner]:
    """Raises: EngineUnavailable: what the runner needs is not installed."""
    where, needs, remedy = _RUNNERS[name]
    module, attribute = where.split(":")
    try:
        loaded: Callable[..., ModuleRunner] = getattr(importlib.import_module(module), attribute)
    except ImportError as exc:  # the package is not there, or a library that it loads
        raise EngineUnavailable(f"runner {name} needs {needs} ({exc}); {remedy}") from exc
    return loaded


def _texts(window: ControlWindow, stride: int) -> tuple[str, ...]:
    """One text a latent frame, its newest; a scene's new prompt is read before them."""
    texts = list(window.actions[stride - 1 :: stride])
    prompts = [update.prompt for update in window.scene_updates if update.prompt is not None]
    if prompts:
        texts[0] = prompts[-1]
    return tuple(texts)


def _updated(parts: Sequence[Part], updates: Iterable[SceneUpdate]) -> tuple[Part, ...]:
    """The parts after the updates, in the order that `SceneUpdate` gives."""
    by_id = {part.id: part for part in parts}
    for update in updates:
        if update.replace:
            by_id.clear()
        for gone in update.remove:
            by_id.pop(gone, None)
        by_id |= {part.id: part for part in update.add}
        for move in update.move:
            if move.id not in by_id:
                raise EngineError(f"cannot move part {move.id}: the blockout has no part with this id; add it first")
            by_id[move.id] = msgspec.structs.replace(by_id[move.id], position=move.position, rotation=move.rotation)
    return tuple(by_id[key] for key in sorted(by_id))


def _scene_array(world: _World) -> dict[str, NDArray[np.generic]]:
    return {_SCENE: np.frombuffer(_encode_parts(world.parts), dtype=np.uint8)}


def _model_part(part: Part) -> blockout.Part:
    mesh = part.shape is Shape.MESH
    return blockout.Part(
        id=part.id,
        shape=blockout.Shape(part.shape.value),
        position=part.position,
        size=part.size,
        rotation=part.rotation,
        material=part.material,
        colour=part.colour,
        vertices=np.frombuffer(part.vertices, "<f4").reshape(-1, 3) if mesh else None,
        triangles=np.frombuffer(part.triangles, "<u4").reshape(-1, 3) if mesh else None,
    )


def _parts_of(default: Blockout) -> tuple[Part, ...]:
    return tuple(
        Part(id=part.id, shape=Shape(part.shape.value), position=part.position, rotation=part.rotation,
             size=part.size, material=part.material, colour=part.colour)
        for part in default.parts.values()
    )  # fmt: skip
