from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from model.errors import SpecError
from model.spec import SPEC_FILE, Decode, ModelSpec, TimeShift, read_spec, write_spec


def spec(**changes: Any) -> ModelSpec:
    fields: dict[str, Any] = {
        "name": "small", "frame_height": 192, "frame_width": 320, "fps": 24.0, "decode": Decode.STREAMING,
        "chunk_latents": 3, "latents_mean": (0.1,) * 16, "latents_inv_std": (2.0,) * 16, "text_tokens": 4,
        "text_dim": 64,
    }  # fmt: skip
    return ModelSpec(**{**fields, **changes})


def test_what_is_written_is_read_back(tmp_path: Path) -> None:
    written = spec(history_sizes=(4, 2, 1), initial_text_state=(1.0, 0.0), time_shift_type=TimeShift.EXPONENTIAL)
    write_spec(written, tmp_path)
    assert read_spec(tmp_path) == written
    assert read_spec(tmp_path / SPEC_FILE) == written


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda d: d.pop("gamma"), "lacks gamma"),
        (lambda d: d.update(colour=1), "does not know: colour"),
        (lambda d: d.update(stages="3"), "stages must be int"),
        (lambda d: d.update(stages=True), "stages must be int"),
        (lambda d: d.update(fps="24"), "fps must be float"),
        (lambda d: d.update(keep_prefix=1), "keep_prefix must be bool"),
        (lambda d: d.update(history_sizes=4), "history_sizes must be a list"),
        (lambda d: d.update(history_sizes=[4, 2.5, 1]), "history_sizes must be int"),
        (lambda d: d.update(decode="sometimes"), "decode must be one of streaming, per_chunk"),
    ],
)
def test_a_wrong_file_is_refused_by_name(tmp_path: Path, change: Any, named: str) -> None:
    write_spec(spec(), tmp_path)
    raw = json.loads((tmp_path / SPEC_FILE).read_text())
    change(raw)
    (tmp_path / SPEC_FILE).write_text(json.dumps(raw))
    with pytest.raises(SpecError, match=named):
        read_spec(tmp_path)


def test_whole_numbers_do_for_real_ones(tmp_path: Path) -> None:
    write_spec(spec(), tmp_path)
    raw = json.loads((tmp_path / SPEC_FILE).read_text()) | {"fps": 24}
    (tmp_path / SPEC_FILE).write_text(json.dumps(raw))
    assert read_spec(tmp_path) == spec()


@pytest.mark.parametrize("content", ["", "[1]", "{"])
def test_a_broken_file_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / SPEC_FILE).write_text(content)
    with pytest.raises(SpecError):
        read_spec(tmp_path)


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="cannot read"):
        read_spec(tmp_path)


@pytest.mark.parametrize(
    "changes",
    [
        {"frame_height": 200}, {"frame_width": 0}, {"history_sizes": (4, 2)}, {"history_sizes": (4, 0, 1)},
        {"stages": 1, "stage_steps": (1,), "stage_range": (0.0, 1.0)}, {"stage_steps": (1, 1)},
        {"stage_steps": (1, 0, 1)}, {"stage_range": (0.0, 1.0)}, {"chunk_latents": 0}, {"chunk_latents": 10},
        {"use_dynamic_shifting": True, "shift": 3.0}, {"latents_mean": (0.0,)}, {"latents_inv_std": (1.0,) * 15},
        {"patch_size": (2, 2, 2)},
    ],
)  # fmt: skip
def test_impossible_values_are_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(SpecError):
        spec(**changes)


def test_sizes_follow_from_the_frame() -> None:
    sizes = spec(conditioning_channels=24)
    assert (sizes.latent_height, sizes.latent_width, sizes.denoiser_channels) == (24, 40, 40)
    assert sizes.frames_in(3) == 12
    assert spec(decode=Decode.PER_CHUNK).frames_in(9) == 33
