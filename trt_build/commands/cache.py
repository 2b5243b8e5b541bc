"""`cache`: the plans on this machine, and making room."""

from __future__ import annotations

import argparse
import time

from trt_build.cache import EngineCache, Entry
from trt_build.commands.build import add_cache
from trt_build.errors import BuildError

SUMMARY = "list the plans on this machine, or remove the least recently used"
EXAMPLES = """examples:
  python -m trt_build cache list
  python -m trt_build cache prune --keep-gb 60
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("what", choices=["list", "prune"])
    parser.add_argument("--keep-gb", type=float, metavar="N", help="prune until at most N GB of plans are left")
    add_cache(parser)


def run(options: argparse.Namespace) -> int:
    cache = EngineCache(options.cache)
    if options.what == "prune":
        if options.keep_gb is None or options.keep_gb < 0:
            raise BuildError("cache prune needs --keep-gb N, with N of 0 or more")
        removed = cache.prune(round(options.keep_gb * 1e9))
        for entry in removed:
            print(f"removed {_line(entry)}")
        print(f"removed {_gb(removed)}, {_gb(cache.entries())} are left in {cache.root}")
        return 0
    entries = cache.entries()
    for entry in reversed(entries):
        print(_line(entry))
    print(f"{_gb(entries)} in {cache.root}")
    return 0


def _line(entry: Entry) -> str:
    key = entry.key
    traits = [
        word for word, has in (("streaming", entry.traits.weight_streaming), ("stripped", entry.traits.stripped)) if has
    ]
    used = time.strftime("%Y-%m-%d %H:%M", time.localtime(entry.used_s))
    return (
        f"{key.model} {key.graph_name} {key.precision}{''.join(f' {word}' for word in traits)}, "
        f"{entry.plan_bytes / 1e6:.1f} MB, TensorRT {key.tensorrt}, {key.gpu} (driver {key.driver}), used {used}, "
        f"{entry.folder.name}"
    )


def _gb(entries: list[Entry]) -> str:
    return f"{len(entries)} plans, {sum(entry.plan_bytes for entry in entries) / 1e9:.2f} GB"
