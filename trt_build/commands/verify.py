"""`verify`: what was exported (or built) against the model it came from."""

from __future__ import annotations

import argparse
from pathlib import Path

from model.cli_args import output_file
from model.runners.base import ModuleRunner
from trt_build.errors import need
from trt_build.manifest import read_manifest
from trt_build.model_names import model_folder

SUMMARY = "compare an exported folder, and its plans, with torch on the same inputs"
EXAMPLES = """examples:
  python -m trt_build verify out/demo
  python -m trt_build verify out/demo-fp8 --report out/demo-fp8/verify.json

bf16 and fp8 graphs run on ONNX Runtime with float32 in place of bf16; fp8 rounding is kept.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that `export` wrote")
    parser.add_argument("--model", metavar="demo|PATH", help="compare with this model (default: the one exported)")
    parser.add_argument("--report", type=output_file, metavar="FILE", help="also write the errors as JSON")


def run(options: argparse.Namespace) -> int:
    """0 if every output is as close as its precision allows, 1 if not."""
    manifest = read_manifest(options.folder)  # torch takes seconds to load: what is not there is told first
    model_folder(options.model or manifest.model)
    need("verify", "torch", "onnx", "diffusers", extra="torch")
    from trt_build.compare import table
    from trt_build.verify import verify

    verification = verify(options.folder, model=options.model, open_plans=_open_plans)
    print(table(verification.errors))
    for runtime, reason in verification.skipped.items():
        print(f"{runtime} not compared: {reason}")
    if options.report:
        verification.write(options.report)
    failed = sum(not error.passed for error in verification.errors)
    count = len(verification.errors)
    print(f"{count - failed} of {count} outputs pass" + (f", {failed} FAIL" if failed else ""))
    return 0 if verification.passed else 1


def _open_plans(folder: Path) -> ModuleRunner | None:
    need("comparing plans", "tensorrt", "pycuda.driver", extra="tensorrt")
    from trt_build.serving import open_plans

    return open_plans(folder)
