"""`export`: torch weights -> ONNX graphs."""

from __future__ import annotations

import argparse

from model.cli_args import frame_size, output_folder
from model.precision import Precision
from trt_build.errors import BuildError, need
from trt_build.manifest import Target
from trt_build.model_names import model_folder

SUMMARY = "torch weights -> ONNX graphs"
EXAMPLES = """examples:
  python -m trt_build export --model demo --precision fp32 --out out/demo
  python -m trt_build export --model runs/mine --precision fp32 --store float16 --out out/mine
  python -m trt_build export --model demo --precision fp8 --out out/demo-fp8
  python -m trt_build export --model Helios-Distilled --precision bf16 --out out/helios
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="demo|PATH",
        help="the demo model, a training run's folder, or a Helios checkpoint in the Diffusers layout",
    )  # fmt: skip
    parser.add_argument(
        "--decoder", default="wan", choices=("wan", "tiny"), help="of a Helios checkpoint (default wan)"
    )
    parser.add_argument(
        "--size", type=frame_size, metavar="WIDTHxHEIGHT", help="of a Helios checkpoint's frames (default 640x384)"
    )
    parser.add_argument(
        "--camera", choices=("warp-history",),
        help="gives a Helios checkpoint's denoiser the room in its history that `serve --camera warp-history` needs; "
        "the other methods need none",
    )  # fmt: skip
    parser.add_argument(
        "--precision", default=Precision.FP32, type=Precision, choices=list(Precision), metavar="fp32|bf16|fp8",
        help="what the graphs compute in (default fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--target", type=Target, choices=list(Target), metavar="onnxruntime|tensorrt",
        help="what the graphs are for (default: onnxruntime for fp32, which TensorRT has no attention kernel for, "
        "tensorrt for the others)",
    )  # fmt: skip
    parser.add_argument(
        "--store", default="float32", choices=("float32", "float16"), help="how weights lie in files for onnxruntime"
    )
    parser.add_argument(
        "--calibrate-on", default="auto", choices=("auto", "cpu", "cuda"),
        help="where fp8's ranges are seen, while the float32 model makes chunks (default: the GPU, if torch has one); "
        "a GPU reads the weights of 14 billion parameters from their files as it goes",
    )  # fmt: skip
    parser.add_argument("--out", type=output_folder, required=True, metavar="DIR", help="the folder to write")


def run(options: argparse.Namespace) -> int:
    model_folder(options.model)  # torch takes seconds to load: what is not there is told first
    need("export", "torch.onnx", "onnxscript", "tqdm", extra="torch")
    import torch

    from trt_build.export import ExportConfig, Storage, export_model
    from trt_build.sources import load_source

    precision: Precision = options.precision
    target = options.target or (Target.ONNXRUNTIME if precision is Precision.FP32 else Target.TENSORRT)
    config = ExportConfig(
        model=options.model, decoder=options.decoder, view=options.camera is not None, target=target,
        precision=precision, storage=Storage(options.store), progress=True,
        calibrate_on=_device(options.calibrate_on, torch.cuda.is_available()),
    )  # fmt: skip
    source = load_source(options.model, decoder=options.decoder, frame_size=options.size, view=config.view)
    export_model(source, options.out, config)
    print(f"wrote {source.spec.name} to {options.out}")
    return 0


def _device(asked: str, has_gpu: bool) -> str:
    """Raises: BuildError: a GPU was asked for, and torch has none."""
    if asked == "cuda" and not has_gpu:
        raise BuildError("--calibrate-on cuda: torch has no GPU here; leave it out")
    return asked if asked != "auto" else "cuda" if has_gpu else "cpu"
