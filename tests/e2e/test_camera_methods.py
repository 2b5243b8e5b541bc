"""`--camera`: each method behind the whole bridge. WELCOME names it, the pose reaches the pixels, and what a model
cannot do is refused in one line."""

from __future__ import annotations

import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from bridge import Camera, Client
from bridge.backends.helios import HeliosEngine, create
from bridge.cli.local_service import FREE_PORT, LocalService
from bridge.cli.model_options import arguments_of
from bridge.config import ModelForm, ServeConfig
from bridge.engine.interface import ControlWindow, FrameChunk, OverlappingStep, Pictures, Plan, SessionStart, State
from bridge.errors import EngineIncompatible, EngineUnavailable
from bridge.protocol.messages import PixelFormat, SceneUpdate

pytest.importorskip("torch")
pytestmark = pytest.mark.torch

SMALL = ModelForm(frame_size=(128, 64), chunk_latents=(2, 3))
METHODS = ("channels", "layout", "warp-history", "prompt")


@pytest.fixture(scope="module")
def adapter(helios_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Callable[[float], Path]:
    """Writes camera channels for the small model; their weights are `scale` times random ones."""
    import torch
    from safetensors.torch import save_file

    from model.networks.checkpoints import PATCHES, load_transformer
    from model.networks.conditioner import CONDITIONING_CHANNELS, Conditioner

    folder = tmp_path_factory.mktemp("adapters")

    def write(scale: float) -> Path:
        torch.manual_seed(0)
        model = load_transformer(helios_folder / "transformer", extra_channels=CONDITIONING_CHANNELS)
        tensors = {f"transformer.{name}.weight": getattr(model, name).weight.detach().clone() for name in PATCHES}
        for weight in tensors.values():
            weight[:, 16:] = scale * torch.randn_like(weight[:, 16:])
        tensors |= {f"conditioner.{name}": tensor for name, tensor in Conditioner().state_dict().items()}
        path = folder / f"{scale}.safetensors"
        save_file(tensors, path)
        return path

    return write


@pytest.fixture(scope="module", params=METHODS)
def engine(request: pytest.FixtureRequest, helios_folder: Path, adapter: Callable[[float], Path]) -> Any:
    extra = {"adapter": adapter(0.3)} if request.param == "channels" else {}
    made = create(model=str(helios_folder), frame_size=(128, 64), chunk_latents=(2, 3), camera=request.param, **extra)
    yield made
    made.close()


def window(frames: int = 5, *, turn_deg: float = 0.0, cut: bool = False) -> ControlWindow:
    half = np.radians(np.linspace(0, turn_deg, frames)) / 2
    rotations = np.stack([np.zeros(frames), np.sin(half), np.zeros(frames), np.cos(half)], axis=-1)
    return ControlWindow(
        positions=np.tile([0.0, 1.6, 5.0], (frames, 1)), rotations=rotations,
        vertical_fov_deg=np.full(frames, 60.0), actions=("",) * frames, scene_updates=(), cut=cut,
        newest_control_t_us=0,
    )  # fmt: skip


def step(engine: HeliosEngine, state: State, **how: Any) -> tuple[FrameChunk, State]:
    given = window(**how)
    return engine.step(state, given, Plan(frames=len(given.positions), steps=(1, 1, 1), rung="full"))


def begun(engine: HeliosEngine, **start: Any) -> State:
    return engine.open(SessionStart(**{"seed": 1, "prompt": "a garden", "scene": None, **start}))


def test_the_pose_reaches_the_pixels_of_every_chunk(engine: HeliosEngine) -> None:
    state = begun(engine)
    for _ in range(3):
        still, after = step(engine, state)
        again, _ = step(engine, state)
        turned, _ = step(engine, state, turn_deg=20)
        np.testing.assert_array_equal(again.frames, still.frames)
        assert np.any(turned.frames != still.frames)
        state = after


def test_it_reaches_them_without_a_blockout_too(engine: HeliosEngine) -> None:
    state = begun(engine, scene=SceneUpdate(replace=True))
    for _ in range(2):
        still, after = step(engine, state)
        turned, _ = step(engine, state, turn_deg=20)
        assert np.any(turned.frames != still.frames)
        state = after


def test_a_cut_forgets_the_last_picture(engine: HeliosEngine) -> None:
    _, one = step(engine, begun(engine))
    _, other = step(engine, begun(engine, prompt="a garden"), turn_deg=90)
    frames = [step(engine, state, cut=True)[0].frames for state in (one, other)]
    np.testing.assert_array_equal(*frames)


def test_the_blockouts_depth_goes_with_pictures_that_follow_it(engine: HeliosEngine) -> None:
    chunk, _ = step(engine, begun(engine), turn_deg=5)
    if engine.info.camera_method == "prompt":
        assert chunk.depth is None
        return
    assert chunk.depth is not None
    assert chunk.parts is not None
    assert chunk.depth.shape == chunk.parts.shape == (5, 16, 32)
    assert np.isfinite(chunk.depth[:, -1]).all()  # the ground


def test_the_rest_of_a_chunk_can_be_made_anew(engine: HeliosEngine) -> None:
    _, state = step(engine, begun(engine))
    chunk, whole = step(engine, state, frames=9, turn_deg=20)
    assert sorted(chunk.earlier) == [1, 5]
    inside = chunk.earlier[5]
    if "view_frame" in inside:
        np.testing.assert_array_equal(inside["view_frame"], chunk.frames[4])
        np.testing.assert_array_equal(whole["view_frame"], chunk.frames[8])
        assert inside["view_camera"][4] == pytest.approx(np.sin(np.radians(10) / 2))
    again, _ = step(engine, inside, turn_deg=-20)
    assert again.frames.shape == chunk.frames[:5].shape


def test_a_session_that_begins_with_an_image_is_steered_from_there(engine: HeliosEngine) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (64, 128, 3), np.uint8)
    pictures = Pictures(data=(picture.tobytes(),), pixel_format=PixelFormat.RGB8, width=128, height=64)
    state = begun(engine, pictures=pictures)
    still, _ = step(engine, state)
    turned, _ = step(engine, state, turn_deg=20)
    assert np.any(turned.frames != still.frames)


def test_camera_channels_of_zero_weight_change_no_bit(helios_folder: Path, adapter: Callable[[float], Path]) -> None:
    """Nor anything beside the plain model, but for the order in which a convolution over more channels sums."""
    form: dict[str, Any] = {"frame_size": (128, 64), "chunk_latents": (2,)}
    plain = create(model=str(helios_folder), camera="prompt", **form)
    wider = create(model=str(helios_folder), camera="channels", adapter=adapter(0.0), **form)
    state, wide = begun(plain), begun(wider)
    told = {"prompt_utf8": np.frombuffer(b"a garden. The camera stands still.", np.uint8)}
    for _ in range(2):
        chunk, state = step(plain, state)
        turned, _ = step(wider, {**wide, **told}, turn_deg=30)
        same, wide = step(wider, {**wide, **told})
        np.testing.assert_array_equal(turned.frames, same.frames)
        assert np.abs(same.frames.astype(int) - chunk.frames).max() <= 1
    plain.close()
    wider.close()


def _with_tiny_decoder(folder: Path, beside: Path) -> Path:
    """The same checkpoint with random weights of the tiny decoder in it."""
    from safetensors.torch import save_file

    from model.networks.autoencoder import TAEW2_1, TinyAutoencoder

    for part in folder.iterdir():
        (beside / part.name).symlink_to(part)
    save_file(TinyAutoencoder(TAEW2_1).state_dict(), beside / "taew2_1.safetensors")
    return beside


@pytest.mark.parametrize("method", ["auto", "channels", "warp-history", "prompt"])
def test_welcome_names_the_method_in_force(
    method: str, helios_folder: Path, adapter: Callable[[float], Path], tmp_path: Path
) -> None:
    form = replace(SMALL, camera=method, adapter=adapter(0.3) if method == "channels" else None)
    if method == "auto":  # with the other decoder, too
        helios_folder, form = _with_tiny_decoder(helios_folder, tmp_path), replace(form, decoder="tiny")
    # bf16 is the GPU's form, over static graphs; with prompt alone the next chunk begins before this one's frames come.
    precision = "bf16" if method in ("warp-history", "prompt") else "auto"
    config = ServeConfig(bind=FREE_PORT, model=str(helios_folder), form=form, precision=precision)
    decoder = "tiny" if form.decoder == "tiny" else "wan"
    indices: set[int] = set()
    with LocalService(config) as service, Client(service.address) as client:
        assert client.welcome.camera_method == ("layout" if method == "auto" else method)
        assert client.welcome.runner == f"torch {'fp32' if precision == 'auto' else precision} {decoder}"
        for _ in range(1500):
            frame = client.step(Camera(position=(0.0, 1.6, 5.0)), timeout_s=10.0)
            indices.add(frame.header.index)
            if frame.header.chunk >= 2:
                break
            time.sleep(0.02)
        assert frame.header.chunk >= 2
        assert max(indices) >= 4  # frames of a chunk's second latent frame, which come after its first
        assert frame.pixels.std() > 1


@pytest.mark.parametrize(
    ("model", "form", "said"),
    [
        ("small", ModelForm(camera="channels"), "channels needs a conditioner .*can do layout, warp-history, prompt"),
        ("demo", ModelForm(camera="layout"), "layout needs the encoder graph; helios-demo can do channels"),
        ("demo", ModelForm(camera="prompt"), "prompt needs a text encoder that reads sentences"),
        ("demo", ModelForm(camera="warp-history"), "warp-history needs room for a view .* made with --camera"),
        ("synthetic", ModelForm(camera="layout"), "layout needs a network"),
    ],
)
def test_what_a_model_cannot_do_is_refused_in_one_line(
    model: str, form: ModelForm, said: str, helios_folder: Path
) -> None:
    name = str(helios_folder) if model == "small" else model
    size = ["--size", "128x64"] if model == "small" else []
    command = [sys.executable, "-m", "bridge", "serve", "--bind", FREE_PORT, "--model", name, *arguments_of(form)]
    told = subprocess.run([*command, *size], capture_output=True, text=True, timeout=120, check=False)
    assert told.returncode in (1, 2)
    refused = [line for line in told.stderr.strip().splitlines() if line != f"loading {name} ..."]
    assert len(refused) == 1, told.stderr
    assert re.search(said, refused[0])


def test_an_adapter_that_does_not_fit_is_refused_before_anything_is_read(helios_folder: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import save_file

    path = tmp_path / "a.safetensors"
    name = "blocks.0.attn1.to_q.lora"
    save_file({f"{name}_A.weight": torch.ones(2, 9), f"{name}_B.weight": torch.ones(64, 2)}, path)
    with pytest.raises(EngineIncompatible, match=r"to_q.weight would be \(64, 9\)"):
        create(model=str(helios_folder), frame_size=(128, 64), adapter=path)
    with pytest.raises((EngineIncompatible, EngineUnavailable), match="cannot read the adapter"):
        create(model=str(helios_folder), frame_size=(128, 64), adapter=tmp_path / "none.safetensors")


def test_what_is_after_a_chunk_is_known_before_its_frames_where_nothing_waits_for_them(helios_folder: Path) -> None:
    form: dict[str, Any] = {"frame_size": (128, 64), "chunk_latents": (3,), "precision": "bf16"}
    for camera, early in (("prompt", True), ("layout", False)):
        engine = create(model=str(helios_folder), camera=camera, **form)
        step_begun = engine.begin(begun(engine), window(9), Plan(frames=9, steps=(1, 1, 1), rung="full"))
        assert isinstance(step_begun, OverlappingStep)
        after = step_begun.after()
        chunk, state = step_begun.finish()
        assert (after is not None) is early
        if after is not None:
            assert state.keys() == after.state.keys()
            assert sorted(after.earlier) == sorted(chunk.earlier) == [1, 5]
            for name, array in state.items():
                np.testing.assert_array_equal(after.state[name], array)
            assert {"stage0", "stage1", "stage2"} <= after.stage_ms.keys()
        engine.close()
