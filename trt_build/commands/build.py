"""`build`: ONNX graphs -> TensorRT plans for the GPU of this machine."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

from model.precision import Precision
from trt_build.cache import EngineCache, default_root
from trt_build.errors import BuildError

SUMMARY = "ONNX graphs -> TensorRT plans for this GPU"
EXAMPLES = """examples:
  python -m trt_build build out/helios-bf16
  python -m trt_build build out/helios-fp8 --graph denoiser --rebuild
  python -m trt_build build out/helios-bf16 --weight-streaming --workspace-gb 4
  python -m trt_build build --dry-run --model helios-14b --gpu h100
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", nargs="?", type=Path, metavar="DIR", help="a folder that `export` wrote")
    parser.add_argument("--graph", action="append", default=[], metavar="NAME", help="only this graph; may be repeated")
    parser.add_argument("--workspace-gb", type=float, default=0.0, help="scratch memory limit (default: none)")
    parser.add_argument(
        "--weight-streaming", action="store_true", help="a plan that can keep weights in host memory, for small cards"
    )
    parser.add_argument(
        "--strip", action="store_true", help="a small plan without weights, which it takes from DIR when it is loaded"
    )
    parser.add_argument("--optimization-level", type=int, default=3, help="0 (fast to build) to 5 (default: 3)")
    parser.add_argument("--rebuild", action="store_true", help="even if the cache has a plan")
    add_cache(parser)
    dry = parser.add_argument_group("dry run", "needs no weights, no TensorRT and no GPU")
    dry.add_argument(
        "--dry-run", action="store_true", help="print what would be built, sizes, memory and time expected"
    )
    dry.add_argument("--model", metavar="NAME", help="a model whose sizes are known, in place of DIR: helios-14b")
    dry.add_argument("--gpu", default="h100", metavar="NAME", help="the GPU to plan for (default: h100)")
    dry.add_argument("--precision", type=Precision, default=Precision.BF16, choices=list(Precision), metavar="bf16|fp8")


def add_cache(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--cache",
        type=Path,
        default=default_root(),
        metavar="DIR",
        help="where plans are kept; serving looks in the default: %(default)s",
    )


def run(options: argparse.Namespace) -> int:
    if options.dry_run:
        from trt_build.estimate import describe, known_sizes, sizes_of_export

        given = known_sizes(options.model, options.precision) if options.model else None
        if given is None:
            given = sizes_of_export(_folder(options))
        print(describe(given, options.gpu))
        return 0
    from trt_build.environment import this_environment

    environment = this_environment("build")
    from trt_build.build import BuildOptions, build_model

    # What makes a build fail is told at its end; until then the terminal belongs to the progress bars.
    logging.getLogger("model.runners.tensorrt").setLevel(logging.CRITICAL)
    build_model(
        _folder(options), EngineCache(options.cache), environment,
        BuildOptions(
            workspace_bytes=round(options.workspace_gb * 1e9), weight_streaming=options.weight_streaming,
            strip=options.strip, optimization_level=options.optimization_level, rebuild=options.rebuild,
        ),
        graphs=tuple(options.graph),
    )  # fmt: skip
    return 0


def _folder(options: argparse.Namespace) -> Path:
    if options.folder is None:
        raise BuildError("build needs DIR, a folder that `python -m trt_build export` wrote")
    folder: Path = options.folder
    return folder
