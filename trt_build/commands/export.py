"""`export`: torch weights -> ONNX graphs."""

from __future__ import annotations

import argparse
import importlib
import logging
from pathlib import Path

from trt_build.errors import BuildError, need

SUMMARY = "torch weights -> ONNX graphs"
EXAMPLES = """examples:
  python -m trt_build export --model demo --precision fp32 --out out/demo
  python -m trt_build export --model runs/mine --precision fp32 --store float16 --out out/mine
"""
_DEMO_LOADER = "model.demo.checkpoint:load_graphs"
_PRECISIONS = ("fp32",)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--model", required=True, metavar="demo|PATH", help="the demo model, or a training run's folder"
    )
    parser.add_argument("--precision", default="fp32", help="what the graphs compute in: fp32")
    parser.add_argument(
        "--store", default="float32", choices=("float32", "float16"), help="how weights lie in the files"
    )
    parser.add_argument("--out", required=True, metavar="DIR", help="the folder to write")


def run(options: argparse.Namespace) -> int:
    if options.precision not in _PRECISIONS:
        raise BuildError(f"precision {options.precision} cannot be exported; choose {', '.join(_PRECISIONS)}")
    need("export", "torch.onnx", "onnxscript", extra="torch")
    from trt_build.export import Storage, export_model

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators of packages that are not there
    folder = None if options.model == "demo" else Path(options.model)
    if folder is not None and not folder.is_dir():
        raise BuildError(f"no model at {folder}; give `demo` or the folder of a training run")
    module, _, factory = _DEMO_LOADER.partition(":")
    spec, graphs = getattr(importlib.import_module(module), factory)(folder)
    export_model(spec, graphs, Path(options.out), storage=Storage(options.store))
    print(f"wrote {spec.name} to {options.out}")
    return 0
