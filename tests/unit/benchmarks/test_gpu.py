"""The GPU benchmark at small size on a CPU: the same program, from random weights to the table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytestmark = pytest.mark.torch


def test_the_work_of_a_step_is_what_the_shapes_say() -> None:
    from benchmarks.gpu_sizes import FULL, step_flop, tokens

    spec = FULL.spec(steps=(1, 1, 1), chunk_latents=9)
    assert [tokens(spec, stage=stage) for stage in range(3)] == [(540, 2400), (2160, 2400), (8640, 2400)]
    tflop = [step_flop(FULL, spec, stage=stage) / 1e12 for stage in range(3)]
    assert tflop == pytest.approx([67.5, 116.9, 357.3], abs=0.1)


@pytest.mark.parametrize("small", [True, False])
def test_tokens_are_those_that_the_transformer_sees(small: bool) -> None:
    """Counted from the sizes, against the patch embeddings' own outputs."""
    from benchmarks.gpu_sizes import FULL, SMALL, tokens
    from model.networks.denoiser import example_inputs
    from model.networks.rope import padded

    spec = (SMALL if small else FULL).spec(steps=(1, 1, 1), chunk_latents=3)
    inputs = example_inputs(spec)  # three new frames at half of the full size: stage 1
    patches = {"short": (1, 2, 2), "mid": (2, 4, 4), "long": (4, 8, 8)}
    history = 0
    for term, patch in patches.items():
        latents = padded(inputs[f"latents_history_{term}"][:, :1], patch)
        _, _, frames, rows, columns = latents.shape
        history += (frames // patch[0]) * (rows // patch[1]) * (columns // patch[2])
    _, _, frames, rows, columns = inputs["hidden_states"].shape
    assert tokens(spec, stage=1) == (frames * rows * columns // 4, history)


def test_random_weights_are_in_the_checkpoints_dtypes_and_nothing_is_zero() -> None:
    from benchmarks.gpu_model import random_transformer
    from benchmarks.gpu_sizes import SMALL

    model = random_transformer(SMALL, torch.device("cpu"), torch.bfloat16)
    dtypes = {name: str(parameter.dtype) for name, parameter in model.named_parameters()}
    assert dtypes["blocks.0.attn1.to_q.weight"] == "torch.bfloat16"
    assert dtypes["blocks.0.scale_shift_table"] == dtypes["blocks.1.norm2.weight"] == "torch.float32"
    assert dtypes["condition_embedder.time_embedder.linear_1.weight"] == "torch.float32"
    products = [parameter for name, parameter in model.named_parameters() if parameter.ndim > 1]
    assert all(parameter.std() > 1e-3 for parameter in products)


@pytest.mark.parametrize(
    ("precision", "decoder", "steps", "baseline"),
    [("bf16", "tiny", "1,1,1", "diffusers"), ("fp8", "none", "1,2,1", "none"), ("bf16", "wan", "1,1,1", "diffusers")],
)
def test_the_benchmark_runs_and_reports(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], precision: str, decoder: str, steps: str, baseline: str
) -> None:
    from benchmarks import gpu

    file = tmp_path / "report.json"
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        status = gpu.main(
            ["--weights", "random", "--precision", precision, "--steps", steps, "--decoder", decoder, "--baseline",
             baseline, "--report", str(file), "--device", "cpu", "--chunk-latents", "2", "--chunks", "2",
             "--baseline-chunks", "1"]
        )  # fmt: skip
    finally:
        torch.set_num_threads(threads)
    assert status == 0
    report = json.loads(file.read_text())
    assert report["agreement"]["holds"]
    assert report["agreement"]["bf16_error"] > 0
    assert report["agreement"]["fp8_native"] is False
    ours, summary = report["ours"], report["summary"]
    assert ours["chunks"] == ours["overlapped_chunks"] == 2
    assert 0 < ours["chunk_ms"]["p50"] <= ours["chunk_ms"]["p90"]
    assert 0 < ours["first_frame_ms"]["p50"] <= ours["chunk_ms"]["p50"]
    parts = sum(lap["p50"] for lap in ours["stage_ms"].values())
    assert parts == pytest.approx(ours["chunk_ms"]["p50"], rel=0.5)
    assert summary["frames_per_s"] == pytest.approx(report["chunk_frames"] / ours["chunk_ms"]["p50"] * 1e3)
    assert report["chunk_frames"] == 5
    assert ("baseline" in report) == (baseline == "diffusers")
    table = capsys.readouterr().out.splitlines()
    assert table[-1].startswith("took")
    assert any(line.startswith("faster than diffusers") for line in table) == (baseline == "diffusers")


def test_steps_that_make_no_sense_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from benchmarks import gpu

    with pytest.raises(SystemExit):
        gpu.main(["--steps", "1,0,1"])
    assert "expected three positive numbers" in capsys.readouterr().err
