"""`inspect`: what TensorRT made of the graphs."""

from __future__ import annotations

import argparse
from pathlib import Path

from trt_build.cache import EngineCache, Miss
from trt_build.commands.build import add_cache
from trt_build.errors import BuildError, need
from trt_build.manifest import read_manifest

SUMMARY = "layers, fused attention and memory of the plans that were built"
EXAMPLES = """examples:
  python -m trt_build inspect out/helios-bf16
  python -m trt_build inspect out/helios-bf16 --graph denoiser --layers
  python -m trt_build inspect out/helios-bf16 --onnx
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("folder", type=Path, metavar="DIR", help="a folder that `export` wrote and `build` built")
    parser.add_argument("--graph", action="append", default=[], metavar="NAME", help="only this graph; may be repeated")
    parser.add_argument(
        "--onnx", action="store_true", help="look into the exported graphs, not the plans; no GPU needed"
    )
    parser.add_argument("--layers", action="store_true", help="list every layer")
    add_cache(parser)


def run(options: argparse.Namespace) -> int:
    if options.onnx:
        return _inspect_onnx(options.folder, options.graph)
    from trt_build.environment import this_environment
    from trt_build.state import engine_states, stale_message

    states = engine_states(options.folder, this_environment("inspect"), EngineCache(options.cache))
    if unknown := sorted(set(options.graph) - set(states)):
        raise BuildError(f"no graph named {', '.join(unknown)}; the export has {', '.join(states)}")
    chosen = {name: state for name, state in states.items() if not options.graph or name in options.graph}
    if misses := {name: state for name, state in chosen.items() if isinstance(state, Miss)}:
        raise BuildError(stale_message(options.folder, misses))
    from model.runners.cuda import CudaDevice
    from trt_build.inspect import inspect_plan
    from trt_build.serving import plan_file

    device = CudaDevice()
    for name, state in chosen.items():
        assert not isinstance(state, Miss)
        inspection = inspect_plan(name, plan_file(options.folder, name, state), device)
        print(inspection.text())
        if options.layers:
            for layer in inspection.layers:
                print(f"    {layer.kind:<16} {layer.name}")
    device.close()
    return 0


def _inspect_onnx(folder: Path, chosen: list[str]) -> int:
    need("inspect --onnx", "onnx", extra="torch")
    from trt_build.contents import contents_of

    manifest = read_manifest(folder)
    if unknown := sorted(set(chosen) - set(manifest.graphs)):
        raise BuildError(f"no graph named {', '.join(unknown)}; the export has {', '.join(manifest.graphs)}")
    print(f"{manifest.model}, {manifest.precision} for {manifest.target}, opset {manifest.opset}")
    for name in chosen or manifest.graphs:
        graph = manifest.graphs[name]
        print(contents_of(folder / graph.file).text(name, graph.profiles))
    return 0
