"""A random-weight Helios in the real one's folder layout behind the whole bridge: loop, engine, service and game."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bridge import Camera, Client
from bridge.cli.model_options import arguments_of
from bridge.config import ModelForm
from bridge.engine.interface import ControlWindow, Plan, SessionStart, State
from bridge.errors import (
    BridgeError,
    ConfigError,
    EngineUnavailable,
    LocalProtocolError,
    RemoteProtocolError,
    StepFailed,
)
from bridge.protocol.messages import SceneUpdate, Source

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SMALL = ModelForm(frame_size=(128, 64), chunk_latents=(1, 2, 3))


@pytest.fixture(scope="module")
def engine(helios_folder: Path):
    from bridge.backends.helios import create

    made = create(model=str(helios_folder), frame_size=(128, 64), chunk_latents=(1, 2, 3), blend_chunks=2)
    yield made
    made.close()


def window(frames: int, action: str = "", updates: tuple[SceneUpdate, ...] = ()) -> ControlWindow:
    return ControlWindow(
        positions=np.zeros((frames, 3)), rotations=np.tile([0.0, 0.0, 0.0, 1.0], (frames, 1)),
        vertical_fov_deg=np.full(frames, 60.0), actions=(action,) * frames, scene_updates=updates, cut=False,
        newest_control_t_us=0,
    )  # fmt: skip


def plan(frames: int) -> Plan:
    return Plan(frames=frames, steps=(1, 1, 1), rung="full")


def opened(engine, prompt: str = "a garden", seed: int = 1) -> State:
    return engine.open(SessionStart(seed=seed, prompt=prompt, scene=None))


def test_a_game_is_played_on_it(helios_folder: Path, tmp_path: Path):
    """`play` starts `serve` as its own process; both read the folder, and the picture is the network's."""
    command = [sys.executable, "-m", "bridge", "play", "--headless", "--tour", "--seconds", "5", "--tick-hz", "20",
               "--model", str(helios_folder), *arguments_of(SMALL), "--report", str(tmp_path / "r.json"),
               "--out", str(tmp_path)]  # fmt: skip
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert told.returncode == 0, told.stderr
    report = json.loads((tmp_path / "r.json").read_text())
    assert report["runner"].startswith("torch fp32 wan")
    assert report["frame_size"] == [128, 64]
    assert report["generated"] > 0
    assert report["unanswered"] == 0


def test_a_chunks_first_frames_are_there_before_its_last(engine):
    begun = engine.begin(opened(engine), window(9), plan(9))
    runs = list(begun.runs())
    assert [(run.first, len(run.frames)) for run in runs] == [(0, 1), (1, 4), (5, 4)]
    chunk, _ = begun.finish()
    np.testing.assert_array_equal(chunk.frames, np.concatenate([run.frames for run in runs]))
    assert chunk.frames.std() > 1


def test_chunks_of_one_latent_frame_work(engine):
    assert engine.info.frames_per_chunk == (1, 5, 9)
    state = opened(engine)
    for frames in (1, 5, 1):
        chunk, state = engine.step(state, window(frames), plan(frames))
        assert len(chunk.frames) == frames


def test_prompt_and_action_are_told_and_blended_in(engine):
    def frames_after(*actions: str, prompt: str = "a garden") -> np.ndarray:
        state = opened(engine, prompt)
        for action in actions:
            chunk, state = engine.step(state, window(5, action), plan(5))
        return chunk.frames.astype(int)

    base = frames_after("", "", "")
    assert np.any(frames_after("", "", "it is night") != base)
    assert np.any(frames_after("", "", "", prompt="a castle") != base)
    half, whole = frames_after("", "", "it is night"), frames_after("", "it is night", "it is night")
    assert np.any(half != whole)
    update = SceneUpdate(prompt="a castle")
    state = opened(engine)
    _, state = engine.step(state, window(5, updates=(update,)), plan(5))
    assert bytes(state["prompt_utf8"]).decode() == "a castle"


def test_a_session_can_be_reseeded(engine):
    _, state = engine.step(opened(engine), window(5), plan(5))
    same, _ = engine.step(state, window(5, updates=(SceneUpdate(seed=1),)), plan(5))
    other, after = engine.step(state, window(5, updates=(SceneUpdate(seed=2),)), plan(5))
    kept, _ = engine.step(state, window(5), plan(5))
    np.testing.assert_array_equal(same.frames, kept.frames)
    assert np.any(other.frames != kept.frames)
    assert int(after["seed"]) == 2


def test_what_was_heard_changes_no_frame(engine):
    state = opened(engine)
    engine.prefetch_prompt(state, None, "rain")
    engine.prefetch_prompt(state, "a castle", "rain")
    heard, _ = engine.step(state, window(5, "rain"), plan(5))
    again, _ = engine.step(state, window(5, "rain"), plan(5))
    np.testing.assert_array_equal(heard.frames, again.frames)


def test_options_that_do_not_go_with_it_are_refused(helios_folder: Path, engine):
    from bridge.backends.helios import create

    with pytest.raises(ConfigError, match="export it first"):
        create(model=str(helios_folder), runner="onnxruntime", frame_size=(128, 64))
    with pytest.raises(ConfigError, match=r"--decoder, --size: .* exported with these fixed"):
        create(model="demo", decoder="tiny", frame_size=(128, 64))
    with pytest.raises(BridgeError, match="multiple of 64"):
        create(model=str(helios_folder), frame_size=(100, 64))
    with pytest.raises(BridgeError, match="taew2_1"):
        create(model=str(helios_folder), frame_size=(128, 64), decoder="tiny")
    with pytest.raises(EngineUnavailable, match="expected 'demo', a Diffusers folder"):
        create(model="/nowhere")
    with pytest.raises(StepFailed, match="expected one of"):
        engine.step(opened(engine), window(33), plan(33))


def test_a_lost_shard_is_one_clear_sentence(helios_folder: Path, tmp_path: Path):
    from bridge.backends.helios import create

    folder = Path(shutil.copytree(helios_folder, tmp_path / "helios"))
    lost = sorted((folder / "transformer").glob("*.safetensors"))[0]
    lost.unlink()
    with pytest.raises(BridgeError) as told:
        create(model=str(folder), frame_size=(128, 64))
    assert str(told.value) == f"model: {folder}: transformer lacks {lost.name}, which its index of shards names"


def test_doctor_plans_its_memory_and_makes_a_frame(helios_folder: Path):
    command = [sys.executable, "-m", "bridge", "doctor", "--model", str(helios_folder), *arguments_of(SMALL)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "yes: every tensor has its name and shape" in told.stdout
    assert "one frame                yes" in told.stdout


def test_doctor_opens_the_adapter(helios_folder: Path, tmp_path: Path):
    """What it brings, and in one line why it does not fit; nothing is started then."""
    import torch
    from safetensors.torch import save_file

    def doctor(name: str, width: int) -> subprocess.CompletedProcess[str]:
        file, weight = tmp_path / name, "transformer.blocks.0.attn1.to_q.lora"
        save_file({f"{weight}_A.weight": torch.ones(2, width), f"{weight}_B.weight": torch.ones(64, 2)}, file)
        command = [sys.executable, "-m", "bridge", "doctor", "--model", str(helios_folder)]
        command += arguments_of(replace(SMALL, adapter=file))
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)

    told = doctor("good.safetensors", 64)
    assert told.returncode == 0, told.stdout + told.stderr
    assert (
        "adapter                  LoRA of rank 2 for 1 of the weights, no camera channels; fits the transformer"
        in told.stdout
    )
    assert "one frame                yes" in told.stdout
    told = doctor("bad.safetensors", 9)
    assert told.returncode == 1
    (refusal,) = [line for line in told.stdout.splitlines() if line.startswith("can be loaded")]
    assert "bad.safetensors: blocks.0.attn1.to_q.weight would be (64, 9), the transformer has (64, 64)" in refusal
    assert "one frame" not in told.stdout


def test_doctor_plans_the_full_size_where_it_cannot_run(tmp_path: Path):
    from tests.helios_folder import write_full_size_configs

    command = [sys.executable, "-m", "bridge", "doctor", "--model", str(write_full_size_configs(tmp_path))]
    told = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode == 1, told.stderr
    assert "28.68 GB: 14.312 B parameters" in told.stdout
    assert "NO: " in told.stdout
    assert "one frame" not in told.stdout


@pytest.mark.parametrize(
    ("part", "tensor", "said"),
    [
        ("transformer", "proj_out.bias", "the first chunk came out with numbers that are not finite"),
        ("vae", "decoder.conv_out.bias", "its frame is of one colour"),
    ],
)
def test_doctor_takes_no_frame_of_broken_weights(
    helios_folder: Path, tmp_path: Path, part: str, tensor: str, said: str
):
    import torch
    from safetensors.torch import load_file, save_file

    folder = Path(shutil.copytree(helios_folder, tmp_path / "helios"))
    for file in (folder / part).glob("*.safetensors"):
        if tensor in (tensors := load_file(file)):
            save_file(tensors | {tensor: torch.full_like(tensors[tensor], torch.nan)}, file)
    command = [sys.executable, "-m", "bridge", "doctor", "--model", str(folder), *arguments_of(SMALL)]
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert told.returncode == 1
    last = told.stdout.splitlines()[-1]
    assert last.startswith("one frame                NO: ")
    assert said in last


def test_doctor_plans_by_an_id_and_fetches_no_weights(helios_folder: Path, tmp_path: Path):
    from tests.checkpoint_hub import ID, NOWHERE, serving

    def doctor(hub: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "bridge", "doctor", "--model", ID, *arguments_of(SMALL)]
        env = {**os.environ, "HF_ENDPOINT": hub, "HF_HUB_CACHE": str(tmp_path)}
        return subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=env)

    told = doctor(NOWHERE)
    assert told.returncode == 1
    assert "\ncpu  " in told.stdout
    last = told.stdout.splitlines()[-1]
    assert last.startswith(f"can be loaded            NO: model: the configs of {ID} could not be fetched: ")
    with serving(helios_folder) as (hub, state):
        told = doctor(hub)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "weights                  not here yet; `serve` fetches " in told.stdout
    assert "one frame" not in told.stdout
    assert "\ncheckpoint               Helios-Tiny: 128x64," in told.stdout
    assert all(name.endswith(".json") for name, _ in state["fetched"])


def test_doctor_makes_a_frame_of_an_id_that_is_here_without_a_network(helios_folder: Path, tmp_path: Path):
    from model.helios.download import fetch
    from tests.checkpoint_hub import ID, NOWHERE, serving

    with serving(helios_folder) as (hub, _):
        fetch(ID, offline=False, say=lambda _: None, endpoint=hub, cache=tmp_path)
    command = [sys.executable, "-m", "bridge", "doctor", "--model", ID, *arguments_of(SMALL)]
    env = {**os.environ, "HF_ENDPOINT": NOWHERE, "HF_HUB_CACHE": str(tmp_path)}
    told = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False, env=env)
    assert told.returncode == 0, told.stdout + told.stderr
    assert "one frame                yes: Helios-Tiny on torch fp32 wan" in told.stdout


@pytest.fixture(scope="module")
def service(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory):
    from bridge.cli.local_service import FREE_PORT, LocalService
    from bridge.config import ServeConfig

    states = tmp_path_factory.mktemp("states")
    config = ServeConfig(bind=FREE_PORT, model=str(helios_folder), form=SMALL, states=states)
    with LocalService(config) as running:
        yield running, states


def played(client, *, chunks: int = 1) -> list:
    """Frames of the network until `chunks` whole chunks more were shown."""
    seen: dict[tuple[int, int], object] = {}
    for _ in range(600):
        frame = client.step(Camera(position=(0.0, 1.6, 5.0)), timeout_s=10.0)
        if frame.header.chunk >= 0 and frame.header.source is Source.GENERATED:
            seen[frame.header.chunk, frame.header.index] = frame.pixels.copy()
        if len({chunk for chunk, _ in seen}) > chunks:
            return list(seen.values())
        time.sleep(0.02)
    raise AssertionError(f"only {len(seen)} frames came")


def test_a_session_begins_with_an_image_or_a_clip_over_the_wire(service):
    running, _ = service
    generator = np.random.default_rng(1)
    with Client(running.address) as client:
        assert {"pictures", "save"} <= set(client.welcome.capabilities)
        played(client)
        client.reset(seed=3, prompt="a castle", pictures=generator.integers(0, 256, (96, 160, 3), np.uint8))
        assert played(client)
        client.reset(pictures=generator.integers(0, 256, (9, 64, 128, 3), np.uint8))
        assert played(client)
        client.reset(pictures=generator.integers(0, 256, (3, 64, 128, 3), np.uint8))
        with pytest.raises(RemoteProtocolError, match="a clip of 9 or more, got 3"):
            played(client)


def test_a_session_is_saved_to_one_file_and_gone_on_with_by_another(service):
    running, states = service
    with Client(running.address) as client:
        played(client)
        size = client.save("slot-1")
    (file,) = states.iterdir()
    assert (file.name, file.stat().st_size) == ("slot-1.state.npz", size)
    with Client(running.address) as client:
        client.reset(restore="slot-1")
        assert played(client)
        client.reset(restore="slot-2")
        with pytest.raises(RemoteProtocolError, match="no saved state 'slot-2'"):
            played(client)
        with pytest.raises(LocalProtocolError, match="no dot first"):
            client.save("../elsewhere")


def test_a_restored_session_makes_the_frames_that_the_saved_one_would_have_made(engine, tmp_path: Path):
    from bridge.engine.state_file import read_state, write_state

    _, state = engine.step(opened(engine), window(5, "rain"), plan(5))
    write_state(tmp_path / "a.state.npz", state, engine.info)
    restored = read_state(tmp_path / "a.state.npz", engine.info)
    straight, _ = engine.step(state, window(5, "rain"), plan(5))
    again, _ = engine.step(restored, window(5, "rain"), plan(5))
    np.testing.assert_array_equal(straight.frames, again.frames)
