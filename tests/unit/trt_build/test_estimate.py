"""The dry run: sizes that are the real model's, memory that must fit, and no word of a measurement."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from model.precision import Precision
from model.spec import Graph
from trt_build.__main__ import main
from trt_build.estimate import (
    DECODER_MEMORY,
    ENCODER_MEMORY,
    FP8_PARAMETERS,
    HELIOS_14B,
    PARAMETERS,
    build_s,
    describe,
    known_sizes,
)


def test_it_prints_a_plan_without_weights_tensorrt_or_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--dry-run", "--model", "helios-14b", "--gpu", "h100"]) == 0
    text = capsys.readouterr().out
    assert "helios-14b, bf16, for NVIDIA H100 SXM (80 GB, compute capability 9.0); nothing is built" in text
    assert text.count("profile stage") == 3
    assert "1x16x9x48x80" in text
    assert "denoiser: 14.31 billion parameters, 28.62 GB" in text
    assert re.search(r"GPU memory while serving: .*: fits", text)
    assert re.search(r"time expected: up to \d+ min, not measured", text)


def test_fp8_halves_the_denoisers_linear_layers_only() -> None:
    bf16, fp8 = (known_sizes("helios-14b", precision) for precision in (Precision.BF16, Precision.FP8))
    assert bf16.weight_bytes - fp8.weight_bytes == FP8_PARAMETERS
    assert build_s(fp8) < build_s(bf16)


def test_a_small_card_is_told_what_is_missing() -> None:
    text = describe(known_sizes("helios-14b", Precision.BF16), "rtx4090")
    missing = re.search(r"= (\d+\.\d+) GB: (\d+\.\d+) GB MISSING; build with --weight-streaming", text)
    assert missing is not None
    assert float(missing[1]) - float(missing[2]) == pytest.approx(24, abs=0.02)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--model", "gpt-2"], "sizes of 'gpt-2' are not known; give helios-14b"),
        (["--model", "helios-14b", "--gpu", "voodoo2"], "GPU 'voodoo2' is not known here; give one of h100"),
        (["--model", "helios-14b", "--gpu", "a100", "--precision", "fp8"], "A100 80GB .* has no FP8"),
        ([], "build needs DIR"),
    ],
)
def test_what_it_cannot_plan_is_one_clear_line(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--dry-run", *arguments]) == 2
    error = capsys.readouterr().err
    assert re.search(said, error)
    assert error.count("\n") == 1


def test_an_export_is_planned_from_its_own_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("onnx")
    from tests.tensorrt_api.exports import write_export

    assert main(["build", "--dry-run", str(write_export(tmp_path / "export"))]) == 0
    text = capsys.readouterr().out
    assert "profile short: x 1x2 .. 3x2 .. 4x2" in text
    assert "profile fixed" in text


@pytest.mark.torch
def test_the_parameters_are_counted_right() -> None:
    """Against diffusers' and transformers' own classes at full size, which hold no memory on the meta device."""
    torch = pytest.importorskip("torch")
    diffusers, transformers = pytest.importorskip("diffusers"), pytest.importorskip("transformers")
    with torch.device("meta"):
        denoiser = diffusers.HeliosTransformer3DModel()
        autoencoder = diffusers.AutoencoderKLWan()
        text = transformers.UMT5EncoderModel(
            transformers.UMT5Config(
                vocab_size=256384, d_model=HELIOS_14B.text_dim, d_kv=64, d_ff=10240, num_layers=24, num_heads=64,
                feed_forward_proj="gated-gelu",
            )
        )  # fmt: skip

    def count(*modules: torch.nn.Module) -> int:
        return sum(parameter.numel() for module in modules for parameter in module.parameters())

    assert count(text) == PARAMETERS[Graph.TEXT_ENCODER]
    assert count(denoiser) == PARAMETERS[Graph.DENOISER]
    assert count(autoencoder.decoder, autoencoder.post_quant_conv) == PARAMETERS[Graph.DECODER]
    assert count(autoencoder.encoder, autoencoder.quant_conv) == PARAMETERS[Graph.ENCODER]
    assert PARAMETERS[Graph.DECODER_FIRST] == PARAMETERS[Graph.DECODER]
    assert PARAMETERS[Graph.ENCODER_FIRST] == PARAMETERS[Graph.ENCODER]
    from model.helios.wan import encoder_memory_shapes, memory_shapes

    remembered = memory_shapes(autoencoder, HELIOS_14B.latent_height, HELIOS_14B.latent_width)
    assert sum(math.prod(shape) for shape in remembered) == DECODER_MEMORY
    remembered = encoder_memory_shapes(autoencoder, HELIOS_14B.frame_height, HELIOS_14B.frame_width)
    assert sum(math.prod(shape) for shape in remembered) == ENCODER_MEMORY
    linear = [layer.weight.numel() for layer in denoiser.blocks.modules() if isinstance(layer, torch.nn.Linear)]
    assert sum(linear) == FP8_PARAMETERS
