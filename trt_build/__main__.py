"""`python -m trt_build`: builds what a model runs from. Needs the torch extra."""

from __future__ import annotations

import argparse
import importlib
import logging
import sys
from collections.abc import Sequence
from pathlib import Path

_EXAMPLES = """examples:
  python -m trt_build export --model demo --precision fp32 --out out/demo
  python -m trt_build export --model runs/mine --precision fp32 --store float16 --out out/mine
"""
_DEMO_LOADER = "model.demo.checkpoint:load_graphs"
_PRECISIONS = ("fp32",)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; a user's mistake is one line on stderr."""
    options = _parser().parse_args(arguments)
    if options.precision not in _PRECISIONS:
        return _refuse(f"precision {options.precision} cannot be exported; choose {', '.join(_PRECISIONS)}")
    try:
        importlib.import_module("torch.onnx")
        importlib.import_module("onnxscript")
    except ImportError as exc:
        return _refuse(f"export needs torch ({exc}); run `pip install 'helios-bridge[torch]'`")
    from model.errors import ModelError
    from trt_build.export import Storage, export_model

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # it warns of operators of packages that are not there
    folder = None if options.model == "demo" else Path(options.model)
    if folder is not None and not folder.is_dir():
        return _refuse(f"no model at {folder}; give `demo` or the folder of a training run")
    module, _, factory = _DEMO_LOADER.partition(":")
    try:
        spec, graphs = getattr(importlib.import_module(module), factory)(folder)
        export_model(spec, graphs, Path(options.out), storage=Storage(options.store))
    except ModelError as exc:
        return _refuse(str(exc))
    print(f"wrote {spec.name} to {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m trt_build", description=__doc__, epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    export = commands.add_parser(
        "export", help="torch weights -> ONNX files that onnxruntime serves", epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    export.add_argument(
        "--model", required=True, metavar="demo|PATH", help="the demo model, or a training run's folder"
    )
    export.add_argument("--precision", default="fp32", help="what the graphs compute in: fp32")
    export.add_argument(
        "--store", default="float32", choices=("float32", "float16"), help="how weights lie in the files"
    )
    export.add_argument("--out", required=True, metavar="DIR", help="the folder to write")
    return parser


def _refuse(reason: str) -> int:
    print(f"trt_build: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    raise SystemExit(main())
