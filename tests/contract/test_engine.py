"""One suite over all engines: what the bridge relies on, whatever makes the frames."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator

import numpy as np
import pytest

from bridge.backends.helios import create as create_helios
from bridge.backends.synthetic import SyntheticConfig, SyntheticEngine
from bridge.engine.chunk_pool import PoolLayout
from bridge.engine.interface import ControlWindow, Engine, Plan, SessionStart, State
from bridge.errors import EngineError
from bridge.presentation.reprojection import NO_PART
from bridge.protocol.messages import Part, PartMove, SceneUpdate, Shape

ENGINES: dict[str, Callable[[], Engine]] = {
    "helios": lambda: create_helios(model="demo", runner="onnxruntime", threads=1),
    "synthetic": lambda: SyntheticEngine(SyntheticConfig(width=64, height=48, frames_per_chunk=(2, 5))),
}

START = SessionStart(seed=7, prompt="a walled garden", scene=None)
BLOCKOUT = SceneUpdate(
    replace=True,
    add=(
        Part(id=1, shape=Shape.PLANE, position=(0.0, 0.0, 0.0), size=(40.0, 1.0, 40.0), material="grass"),
        Part(id=2, shape=Shape.BOX, position=(0.0, 1.0, -5.0), size=(2.0, 2.0, 2.0), material="stone"),
        Part(id=3, shape=Shape.SPHERE, position=(3.0, 1.0, -4.0), material="stone"),
        Part(id=4, shape=Shape.CYLINDER, position=(-3.0, 1.0, -4.0), material="wood"),
    ),
)


@pytest.fixture(params=sorted(ENGINES))
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    made = ENGINES[request.param]()
    yield made
    made.close()


def window(frames: int, *, x: float = 0.0, updates: tuple[SceneUpdate, ...] = (), cut: bool = False) -> ControlWindow:
    return ControlWindow(
        positions=np.stack([np.full(frames, x), np.full(frames, 1.6), -0.05 * np.arange(frames)], axis=-1),
        rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
        vertical_fov_deg=np.full(frames, 60.0),
        actions=("walk forward",) * frames,
        scene_updates=updates,
        cut=cut,
        newest_control_t_us=0,
    )


def plan(engine: Engine, which: int = 0) -> Plan:
    return Plan(frames=engine.info.frames_per_chunk[which], steps=(1, 1, 1), rung="full")


def snapshot(state: State) -> bytes:
    return pickle.dumps({name: np.array(value) for name, value in sorted(state.items())})


def test_info_describes_what_steps_return(engine: Engine) -> None:
    info = engine.info
    assert info.frames_per_chunk == tuple(sorted(set(info.frames_per_chunk)))
    assert info.camera_method in ("channels", "warp-history", "layout", "prompt", "none")
    assert all(0 < len(text) <= 64 for text in (info.model, info.runner, info.default_map))
    state = engine.open(START)
    for which in range(len(info.frames_per_chunk)):
        wanted = plan(engine, which)
        chunk, state = engine.step(state, window(wanted.frames), wanted)
        assert chunk.frames.shape == (wanted.frames, info.frame_height, info.frame_width, 3)
        assert chunk.frames.dtype == np.uint8
        assert chunk.frames.nbytes + (0 if chunk.depth is None else chunk.depth.nbytes) <= PoolLayout.slot_bytes_of(
            info
        )
        assert len(chunk.actions) == wanted.frames
        assert all(value >= 0 for value in chunk.stage_ms.values())
        if chunk.depth is not None:
            assert chunk.depth.shape == (wanted.frames, info.depth_height, info.depth_width)
            assert chunk.depth.dtype == np.float32
            assert not np.isnan(chunk.depth).any()
            assert (chunk.depth > 0).all()
        if chunk.parts is not None:
            assert chunk.depth is not None
            assert (chunk.parts.shape, chunk.parts.dtype) == (chunk.depth.shape, np.dtype(np.uint32))
            assert np.isfinite(chunk.depth[chunk.parts != NO_PART]).all()


def test_parts_are_named_as_the_blockout_names_them(engine: Engine) -> None:
    wanted = plan(engine)
    chunk, _ = engine.step(engine.open(SessionStart(seed=7, prompt="", scene=BLOCKOUT)), window(wanted.frames), wanted)
    if chunk.parts is not None:
        assert set(np.unique(chunk.parts).tolist()) - {NO_PART} <= {part.id for part in BLOCKOUT.add}


def test_a_chunk_can_be_continued_from_inside_it_where_the_engine_says_so(engine: Engine) -> None:
    wanted = plan(engine, -1)
    chunk, state = engine.step(engine.open(START), window(wanted.frames), wanted)
    for frames, inside in chunk.earlier.items():
        assert 0 < frames < wanted.frames
        assert set(inside) == set(state)
        again, after = engine.step(inside, window(wanted.frames), wanted)
        assert len(again.frames) == wanted.frames
        assert set(after) == set(state)


def test_a_state_is_plain_arrays_that_survive_another_process(engine: Engine) -> None:
    state = engine.open(START)
    assert all(type(name) is str and isinstance(value, np.ndarray) for name, value in state.items())
    assert all(value.dtype != object for value in state.values())
    wanted = plan(engine)
    here, _ = engine.step(state, window(wanted.frames), wanted)
    there, _ = engine.step(pickle.loads(pickle.dumps(dict(state))), window(wanted.frames), wanted)
    assert np.array_equal(here.frames, there.frames)


def test_a_step_leaves_its_state_alone_and_repeats_exactly(engine: Engine) -> None:
    state = engine.open(START)
    wanted = plan(engine)
    _, state = engine.step(state, window(wanted.frames), wanted)
    before = snapshot(state)
    first, after_first = engine.step(state, window(wanted.frames), wanted)
    frames = first.frames.copy()
    second, after_second = engine.step(state, window(wanted.frames), wanted)
    assert snapshot(state) == before
    assert np.array_equal(frames, second.frames)
    assert snapshot(after_first) == snapshot(after_second) != before


def test_sessions_do_not_mix(engine: Engine) -> None:
    wanted = plan(engine)
    alone = engine.open(START)
    expected = []
    for _ in range(2):
        chunk, alone = engine.step(alone, window(wanted.frames), wanted)
        expected.append(chunk.frames.copy())
    mine, other = engine.open(START), engine.open(SessionStart(seed=8, prompt="elsewhere", scene=BLOCKOUT))
    for number in range(2):
        chunk, mine = engine.step(mine, window(wanted.frames), wanted)
        assert np.array_equal(chunk.frames, expected[number])
        _, other = engine.step(other, window(wanted.frames, x=2.0), wanted)


def test_a_blockout_can_be_opened_changed_and_left_behind(engine: Engine) -> None:
    wanted = plan(engine)
    state = engine.open(SessionStart(seed=7, prompt="", scene=BLOCKOUT))
    updates = (
        SceneUpdate(add=(Part(id=5, shape=Shape.BOX, position=(1.0, 1.0, -3.0)),)),
        SceneUpdate(move=(PartMove(id=5, position=(1.5, 1.0, -3.0)),)),
        SceneUpdate(remove=(5,)),
    )
    for update in updates:
        chunk, state = engine.step(state, window(wanted.frames, updates=(update,)), wanted)
        assert len(chunk.frames) == wanted.frames
    chunk, state = engine.step(state, window(wanted.frames, x=9.0, updates=(BLOCKOUT,), cut=True), wanted)
    assert len(chunk.frames) == wanted.frames


def test_a_state_tells_its_level(engine: Engine) -> None:
    wanted = plan(engine)
    assert engine.scene_of(engine.open(START)) == SceneUpdate(seed=7, prompt="a walled garden")
    state = engine.open(SessionStart(seed=7, prompt="", scene=BLOCKOUT))
    moved = SceneUpdate(prompt="x", move=(PartMove(id=2, position=(1.0, 1.0, -5.0)),), remove=(3, 4))
    _, state = engine.step(state, window(wanted.frames, updates=(moved,)), wanted)
    scene = engine.scene_of(state)
    assert (scene.seed, scene.prompt, scene.replace) == (7, "x", True)
    assert [(part.id, part.position) for part in scene.add] == [(1, (0.0, 0.0, 0.0)), (2, (1.0, 1.0, -5.0))]
    with pytest.raises(EngineError):
        engine.scene_of({"other": np.zeros(1)})


def test_a_plan_that_was_never_offered_is_refused(engine: Engine) -> None:
    state = engine.open(START)
    frames = max(engine.info.frames_per_chunk) + 1
    with pytest.raises(EngineError, match="expected"):
        engine.step(state, window(frames), Plan(frames=frames, steps=(1, 1, 1), rung="full"))
