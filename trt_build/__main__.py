"""`python -m trt_build`: builds what a model runs from, and checks it."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence
from typing import Protocol

from model.errors import ModelError
from trt_build.errors import BuildCancelled
from trt_build.watched import INTERRUPTED

COMMANDS = {
    "export": "trt_build.commands.export",
    "verify": "trt_build.commands.verify",
    "build": "trt_build.commands.build",
    "inspect": "trt_build.commands.inspect",
    "bench": "trt_build.commands.bench",
    "cache": "trt_build.commands.cache",
}


class Command(Protocol):
    """What a module in `trt_build/commands/` holds."""

    SUMMARY: str
    EXAMPLES: str

    @staticmethod
    def add_arguments(parser: argparse.ArgumentParser) -> None: ...

    @staticmethod
    def run(options: argparse.Namespace) -> int: ...


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit status; what a user or the machine did wrong is one line on stderr."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except (BuildCancelled, KeyboardInterrupt) as exc:
        print(f"trt_build: {str(exc) or 'stopped'}", file=sys.stderr)
        return INTERRUPTED
    except ModelError as exc:
        print(f"trt_build: {exc}", file=sys.stderr)
        return 2
    except OSError as exc:
        print(f"trt_build: {exc}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m trt_build", description=__doc__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    for name, module in COMMANDS.items():
        command = _load(module)
        sub = commands.add_parser(
            name, help=command.SUMMARY, description=command.SUMMARY, epilog=command.EXAMPLES,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )  # fmt: skip
        command.add_arguments(sub)
        sub.set_defaults(run=command.run)
    return parser


def _load(module: str) -> Command:
    command: Command = importlib.import_module(module)  # type: ignore[assignment]
    return command


if __name__ == "__main__":
    raise SystemExit(main())
