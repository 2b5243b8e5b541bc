"""`bench`: how long each graph takes."""

from __future__ import annotations

import argparse
import json
import platform
from dataclasses import asdict
from pathlib import Path
from typing import Any

from model.cli_args import commit, output_file
from model.runners.base import ModuleRunner
from trt_build.errors import BuildError
from trt_build.manifest import read_manifest

SUMMARY = "time each graph at each size, on the plans or on onnxruntime"
EXAMPLES = """examples:
  python -m trt_build bench out/helios-bf16 --report bench.json
  python -m trt_build bench out/demo --runner onnxruntime --runs 20
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that `export` wrote")
    parser.add_argument("--runner", default="tensorrt", choices=["tensorrt", "onnxruntime"])
    parser.add_argument("--runs", type=int, default=100, help="timed runs of each (default: 100)")
    parser.add_argument("--warm-up", type=int, default=10, help="runs before them (default: 10)")
    parser.add_argument("--report", type=output_file, metavar="FILE", help="also write every time as JSON")


def run(options: argparse.Namespace) -> int:
    if options.runs < 1 or options.warm_up < 0:
        raise BuildError(f"got {options.runs} runs and {options.warm_up} before; expected 1 or more, and 0 or more")
    from trt_build.bench import measure, table

    manifest = read_manifest(options.folder)
    runner, on = _runner(options)
    settings: dict[str, Any] = {
        "machine": f"{platform.node()}, {on}", "commit": commit(), "folder": str(options.folder),
        "precision": manifest.precision, "runs": options.runs, "warm_up": options.warm_up,
    }  # fmt: skip
    for name, value in settings.items():
        print(f"{name}: {value}")
    timings = measure(runner, manifest, runs=options.runs, warm_up=options.warm_up)
    runner.close()
    print(table(timings))
    if options.report:
        report = {**settings, "timings": [asdict(timing) for timing in timings]}
        options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    return 0


def _runner(options: argparse.Namespace) -> tuple[ModuleRunner, str]:
    """The runner, and what it runs on in words."""
    if options.runner == "onnxruntime":
        import onnxruntime

        from model.runners.onnxruntime import OrtRunner

        return OrtRunner(options.folder, threads=1), f"onnxruntime {onnxruntime.__version__}, 1 thread"
    from trt_build.environment import this_environment

    here = this_environment("bench")
    from trt_build.serving import create

    return create(options.folder, threads=1), f"{here.gpu}, driver {here.driver}, TensorRT {here.tensorrt}"
