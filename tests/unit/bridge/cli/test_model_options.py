"""The command line's words for a model's form, there and back."""

from __future__ import annotations

import argparse
from pathlib import Path

import pytest

from bridge.cli.model_options import add_model, arguments_of, form_of, model_of
from bridge.config import ModelForm
from bridge.errors import BridgeError, ConfigError


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser(exit_on_error=False)
    add_model(parser)
    return parser.parse_args(arguments)


@pytest.mark.parametrize(
    "form",
    [
        ModelForm(),
        ModelForm(
            decoder="tiny", vae_precision="fp32", frame_size=(128, 64), chunk_latents=(1, 9), steps=(2, 2, 2),
            amplify_first_chunk=False, blend_chunks=3, camera="layout", adapter=Path("a b.safetensors"),
        ),
    ],
)  # fmt: skip
def test_what_is_said_is_what_was_meant(form: ModelForm) -> None:
    assert form_of(parsed(*arguments_of(form))) == form


@pytest.mark.parametrize(
    "arguments",
    [
        ["--size", "640"],
        ["--size", "ax64"],
        ["--size", "0x0"],
        ["--chunk-latents", "a"],
        ["--decoder", "none"],
        ["--blend-chunks", "x"],
    ],
)
def test_what_cannot_be_read_is_refused(arguments: list[str]) -> None:
    with pytest.raises((argparse.ArgumentError, SystemExit)):
        parsed(*arguments)


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--chunk-latents", "10"], "chunk_latents: got 10, expected 1 to 9"),
        (["--size", "32x64"], "frame_size: got 32"),
        (["--chunk-latents", "3,1,3"], "chunk_latents: got 3,1,3, expected each length once"),
        (["--size", "128x100"], "frame_size: got 100, expected multiples of 64 pixels"),
        (["--steps", "1,51,1"], "steps: got 51"),
        (["--blend-chunks", "0"], "blend_chunks: got 0"),
    ],
)
def test_what_is_out_of_bounds_is_refused(arguments: list[str], named: str) -> None:
    with pytest.raises(ConfigError, match=named):
        form_of(parsed(*arguments))


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["--chunk-latents", "3,x"], "--chunk-latents: got '3,x', expected whole numbers with commas between"),
        (["--steps", "a"], "--steps: got 'a', expected three positive numbers"),
        (["--steps", "1,1"], "--steps: got '1,1', expected three positive numbers"),
    ],
)
def test_what_is_no_number_is_refused_by_option_value_and_what_was_expected(arguments: list[str], named: str) -> None:
    with pytest.raises(argparse.ArgumentError) as refused:
        parsed(*arguments)
    assert named in str(refused.value)


def test_folders_and_our_own_models_are_taken_as_they_are(tmp_path: Path) -> None:
    for name in ("demo", "synthetic", str(tmp_path), "no such/thing at all"):
        assert model_of(parsed("--model", name)) == name


def test_an_id_that_is_not_here_is_told_without_a_network(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("model.helios.download.HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(BridgeError, match="leave --offline out"):
        model_of(parsed("--model", "nobody/nothing", "--offline"))
