"""`python -m benchmarks.gpu`: Helios-14B's speed on a GPU, beside diffusers' pipeline in the same process.

Random weights are made on the device, at full size: nothing is downloaded. On a CPU a small network takes its place, so
that this very program is tested without a GPU; its figures then say nothing. The table is printed last.
"""

from __future__ import annotations

import argparse
import datetime
import gc
import json
import sys
import time
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from benchmarks.gpu_baseline import time_pipeline
from benchmarks.gpu_checks import agreement, copy_rate, forget_peak, machine, matrix_rate, memory_gb, waiter
from benchmarks.gpu_model import decoder_graph, prompt_graph, random_prompt, random_transformer, served_decoders
from benchmarks.gpu_sizes import FULL, SMALL, Size, step_flop
from model.cli_args import commit, output_file, stage_steps
from model.fast.graph import chunk_kernels, fast_denoiser_graph
from model.pipeline.state import ChunkRequest, PipelineState
from model.pipeline.video_pipeline import VideoPipeline
from model.precision import Precision
from model.runners.cuda_graph import CudaGraphRunner
from model.runners.torch import TorchGraph
from model.spec import DECODERS, Graph, ModelSpec

_WARM_UP_CHUNKS = 3
_SIZES = {"full": FULL, "small": SMALL}


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status: 0, or 1 when the fast form does not agree with diffusers' class."""
    options = _options(arguments)
    started_s = time.perf_counter()
    device = torch.device(options.device)
    size = _SIZES[options.size or ("full" if device.type == "cuda" else "small")]
    spec = size.spec(steps=options.steps, chunk_latents=options.chunk_latents)
    precision = Precision(options.precision)
    torch.manual_seed(0)
    torch.backends.cudnn.benchmark = True  # as the static runner sets it; diffusers' pipeline has it too
    _tell(f"{size.name} on {device}, {precision}, steps {options.steps}, decoder {options.decoder}")
    report: dict[str, Any] = {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "command": "python -m benchmarks.gpu " + " ".join(arguments if arguments is not None else sys.argv[1:]),
        "commit": commit(),
        "machine": machine(device),
        "size": size.name,
        "precision": str(precision),
        "steps": options.steps,
        "chunk_latents": options.chunk_latents,
        "chunk_frames": spec.frames_in(options.chunk_latents),
        "decoder": options.decoder,
        "weights": options.weights,
    }
    _tell("rates")
    report["rates"] = {
        "bf16_tflops": matrix_rate(size.matrix, Precision.BF16, device),
        "fp8_tflops": matrix_rate(size.matrix, Precision.FP8, device) if precision is Precision.FP8 else None,
        "copy_gb_s": copy_rate(device, size_bytes=16 * size.matrix**2),
    }
    _tell("agreement with diffusers at full width, two blocks")
    agrees = agreement(size, spec, device)
    report["agreement"] = agrees.as_json()
    forget_peak(device)
    _tell("weights")
    with torch.no_grad():
        prompt = random_prompt(size, device)
        model = random_transformer(size, device, torch.bfloat16)
        decoder = decoder_graph(options.decoder, size, spec, device, torch.bfloat16)
    report["parameters"] = sum(parameter.numel() for parameter in model.parameters())
    if options.baseline == "diffusers":
        _tell("diffusers' pipeline")
        report["baseline"] = _baseline(model, decoder, prompt, spec, options.baseline_chunks, device)
    _tell("static graphs")
    kernel, kernels_ms = chunk_kernels(model, spec, precision)
    report["attention"] = {"kernel": str(kernel or "torch's choice"), "ms": {str(k): v for k, v in kernels_ms.items()}}
    with torch.no_grad():
        graph = fast_denoiser_graph(model, spec, precision, kernel=kernel)
    del model
    gc.collect()
    forget_peak(device)
    runner = CudaGraphRunner(
        {
            str(Graph.TEXT_ENCODER): prompt_graph(prompt),
            str(Graph.DENOISER): graph,
            **served_decoders(decoder, spec),
        },
        device=str(device),
        background=DECODERS,
    )
    left_s = options.limit_s - (time.perf_counter() - started_s)
    report["ours"] = _measured(runner, spec, options.chunks, limit_s=left_s / 2)
    report["ours"]["memory_gb"] = memory_gb(device)
    report["ours"]["cuda_graphs"] = dict(runner.captured)
    report["summary"] = _summary(report, size, spec, precision)
    report["seconds"] = time.perf_counter() - started_s
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    print("\n".join(table(report)), flush=True)
    return 0 if agrees.holds else 1


def _baseline(
    model: Any, decoder: TorchGraph, prompt: torch.Tensor, spec: ModelSpec, chunks: int, device: torch.device
) -> dict[str, Any]:
    times = time_pipeline(model, decoder.module, prompt, spec, chunks=chunks, wait=waiter(device))
    result = {
        "chunk_ms": _percentiles(times.chunk_ms),
        "decode_ms": _percentiles(times.decode_ms),
        "chunks": len(times.chunk_ms),
        "noise": times.noise,
        "memory_gb": memory_gb(device),
    }
    forget_peak(device)
    return result


def _measured(runner: CudaGraphRunner, spec: ModelSpec, chunks: int, *, limit_s: float) -> dict[str, Any]:
    """Chunks one after the other, then decoding beside denoising; steady state, after a warm-up."""
    loop = VideoPipeline(
        spec, runner, clock=time.perf_counter, tokenize=lambda _: {"tokens": np.zeros((1, 1), np.int64)}
    )
    request = ChunkRequest(texts=("",) * spec.chunk_latents, steps=spec.stage_steps)
    state = loop.open(0)
    for _ in range(_WARM_UP_CHUNKS):
        _, state = loop.chunk(state, request)
    until_s = time.perf_counter() + limit_s / 2
    chunk_ms, first_ms, stage_ms, state = _one_by_one(loop, state, request, chunks, until_s)
    until_s = time.perf_counter() + limit_s / 2
    period_ms = _overlapped(loop, state, request, chunks, until_s)
    return {
        "chunks": len(chunk_ms),
        "chunk_ms": _percentiles(chunk_ms),
        "first_frame_ms": _percentiles(first_ms),
        "stage_ms": {name: _percentiles(laps) for name, laps in stage_ms.items()},
        "overlapped_chunks": len(period_ms),
        "overlapped_chunk_ms": _percentiles(period_ms),
    }


def _one_by_one(
    loop: VideoPipeline, state: PipelineState, request: ChunkRequest, chunks: int, until_s: float
) -> tuple[list[float], list[float], dict[str, list[float]], PipelineState]:
    """Milliseconds from a chunk's start to its last frame and to its first, and of its parts."""
    chunk_ms: list[float] = []
    first_ms: list[float] = []
    stage_ms: dict[str, list[float]] = {}
    while len(chunk_ms) < chunks and (not chunk_ms or time.perf_counter() < until_s):
        start_s = time.perf_counter()
        begun = loop.begin(state, request)
        next(begun.pieces())
        first_ms.append((time.perf_counter() - start_s) * 1e3)
        result, state = begun.result(), begun.state
        chunk_ms.append((time.perf_counter() - start_s) * 1e3)
        for name, lap in result.stage_ms.items():
            stage_ms.setdefault(name, []).append(lap)
    return chunk_ms, first_ms, stage_ms, state


def _overlapped(
    loop: VideoPipeline, state: PipelineState, request: ChunkRequest, chunks: int, until_s: float
) -> list[float]:
    """Milliseconds from one chunk's frames to the next one's, each decoded while its successor is denoised."""
    decoding = loop.begin(state, request)
    marks_s: list[float] = []
    while len(marks_s) <= chunks and (len(marks_s) < 2 or time.perf_counter() < until_s):
        following = loop.begin(decoding.state, request)
        decoding.result()
        decoding = following
        marks_s.append(time.perf_counter())
    decoding.result()
    return [(end - start) * 1e3 for start, end in pairwise(marks_s)]


def _summary(report: dict[str, Any], size: Size, spec: ModelSpec, precision: Precision) -> dict[str, Any]:
    ours, frames = report["ours"], spec.frames_in(spec.chunk_latents)
    flop = sum(steps * step_flop(size, spec, stage=stage) for stage, steps in enumerate(spec.stage_steps))
    denoise_ms = sum(ours["stage_ms"][f"stage{stage}"]["p50"] for stage in range(spec.stages))
    rate = report["rates"]["fp8_tflops" if precision is Precision.FP8 else "bf16_tflops"]
    reached = flop / denoise_ms / 1e9
    best_ms = min(ours["overlapped_chunk_ms"]["p50"], ours["chunk_ms"]["p50"])
    summary = {
        "chunk_tflop": flop / 1e12,
        "denoise_ms": denoise_ms,
        "tflops": reached,
        "of_matrix_rate": reached / rate,
        "frames_per_s": frames / ours["chunk_ms"]["p50"] * 1e3,
        "overlapped_frames_per_s": frames / ours["overlapped_chunk_ms"]["p50"] * 1e3,
        "first_frame_ms": ours["first_frame_ms"]["p50"],
    }
    if "baseline" in report:
        summary["times_baseline"] = report["baseline"]["chunk_ms"]["p50"] / best_ms
    return summary


def table(report: dict[str, Any]) -> list[str]:
    """The report for reading."""
    ours, summary, rates = report["ours"], report["summary"], report["rates"]
    where = report["machine"].get("gpu", report["machine"]["device"])
    rows = [
        ("what", f"helios {report['size']}, {report['parameters'] / 1e9:.3g} B parameters, random weights"),
        ("where", f"{where}, torch {report['machine']['torch']}, commit {report['commit']}"),
        ("setting", f"{report['precision']}, steps {report['steps']}, {report['chunk_frames']} frames a chunk, "
                    f"decoder {report['decoder']}"),
        ("attention", f"{report['attention']['kernel']} "
                      + ", ".join(f"{name} {ms:.2f} ms" for name, ms in report["attention"]["ms"].items())),
        ("chunk", f"{_shown(ours['chunk_ms'])}, n={ours['chunks']}: {summary['frames_per_s']:.1f} frames/s"),
        ("chunk, decode beside", f"{_shown(ours['overlapped_chunk_ms'])}, n={ours['overlapped_chunks']}: "
                                 f"{summary['overlapped_frames_per_s']:.1f} frames/s"),
        *((name, _shown(lap)) for name, lap in ours["stage_ms"].items()),
        ("first frame", f"{_shown(ours['first_frame_ms'])} after its chunk's start"),
        ("transformer", f"{summary['chunk_tflop']:.3g} TFLOP a chunk at {summary['tflops']:.3g} TFLOP/s, "
                        f"{summary['of_matrix_rate']:.0%} of the measured matrix rate"),
        ("rates", ", ".join(f"{name} {value:.4g}" for name, value in rates.items() if value is not None)),
        ("memory", _gigabytes(ours["memory_gb"])),
        ("cuda graphs", ", ".join(f"{name} {count}" for name, count in ours["cuda_graphs"].items())),
        ("agreement", f"bf16 to diffusers {report['agreement']['bf16_error']:.2g}; a block's change in fp8 to bf16 "
                      f"{max(report['agreement']['fp8_change_errors']):.2g} "
                      f"({'native' if report['agreement']['fp8_native'] else 'simulated'}): "
                      + ("holds" if report["agreement"]["holds"] else "FAILS")),
    ]  # fmt: skip
    if report["machine"]["device"] == "cpu":
        rows.insert(0, ("a rehearsal", "on a CPU, at small size: nothing here tells of a GPU"))
    if "baseline" in report:
        baseline = report["baseline"]
        rows.append(("diffusers' chunk", f"{_shown(baseline['chunk_ms'])}, n={baseline['chunks']}; of it decode "
                     f"{_shown(baseline['decode_ms'])}; memory {_gigabytes(baseline['memory_gb'])}"))  # fmt: skip
        rows.append(("faster than diffusers", f"{summary['times_baseline']:.2f} times"))
    rows.append(("took", f"{report['seconds']:.0f} s"))
    return [f"{name:22} {value}" for name, value in rows]


def _shown(percentiles: dict[str, float]) -> str:
    return f"p50 {percentiles['p50']:.1f} ms, p90 {percentiles['p90']:.1f} ms"


def _gigabytes(memory: dict[str, float | None]) -> str:
    return ", ".join(f"{name} {'not known' if gb is None else f'{gb:.1f} GB'}" for name, gb in memory.items())


def _percentiles(values: list[float]) -> dict[str, float]:
    p50, p90 = np.percentile(values, [50, 90])
    return {"p50": float(p50), "p90": float(p90)}


def _tell(what: str) -> None:
    print(f"... {what}", flush=True)


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu", description=(__doc__ or "").splitlines()[0])
    add: Callable[..., Any] = parser.add_argument
    add("--weights", choices=["random"], default="random", help="made on the device; speed does not depend on them")
    add("--precision", choices=["bf16", "fp8"], default="bf16")
    add("--steps", type=stage_steps, default=(1, 1, 1), metavar="1,1,1|2,2,2", help="denoising steps a stage")
    add("--decoder", choices=["wan", "tiny", "none"], default="wan")
    add("--baseline", choices=["diffusers", "none"], default="diffusers", help="measured first, in this process")
    add("--report", type=output_file, metavar="FILE.json")
    add("--chunk-latents", type=int, default=9, choices=range(1, 10), metavar="1..9", help="latent frames a chunk")
    add("--chunks", type=int, default=20, help="at most so many are measured, twice (default: %(default)s)")
    add("--baseline-chunks", type=int, default=4, help="of diffusers' pipeline, after one (default: %(default)s)")
    add("--limit-s", type=float, default=480.0, help="stop measuring so that all ends in about this time")
    add("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    add("--size", choices=list(_SIZES), help="default: full on a GPU, small on a CPU")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
