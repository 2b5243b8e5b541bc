"""The command line: `helios-bridge serve | play | bench | conform | blockout | keys | doctor`.

Parses arguments and prints errors as one line. commands.py runs the commands.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.cli import commands as run
from bridge.cli.local_service import FREE_PORT
from bridge.cli.model_options import add_model
from bridge.config import CONNECT_WAIT_S, DEFAULT_ADDRESS
from bridge.errors import BridgeError, ConfigError
from bridge.version import name_and_version
from model.cli_args import output_file, output_folder

_GAME_FPS = 30.0
"""The demo game's own service: at 60 ticks a second every frame is on show for two, at 24 for two or three in turn."""

_EXAMPLES = {
    "serve": "helios-bridge serve\n  helios-bridge serve --bind tcp://127.0.0.1:7000 --model demo --fps 24",
    "play": "helios-bridge play\n  helios-bridge play --headless --tour --seconds 30 --report r.json --record tour.mp4",
    "bench": "helios-bridge bench play --seconds 20 --report play.json\n"
    "  helios-bridge bench transport --report transport.json\n"
    "  helios-bridge bench budget --traces all --report budget.json",
    "conform": "helios-bridge conform client -- python my_client.py {address}\n"
    "  helios-bridge conform server tcp://127.0.0.1:5599\n"
    "  helios-bridge conform client --bind tcp://127.0.0.1:5599 --junit conform.xml",
    "blockout": "helios-bridge blockout from-gltf level.glb\n"
    "  helios-bridge blockout from-gltf level.glb --axes unity --material Wood.Floor=planks --out level.scene",
    "keys": "helios-bridge keys new --client alice --client bob\n"
    "  helios-bridge serve --bind tcp://*:5599 --curve keys\n"
    "  helios-bridge play --connect tcp://server:5599 --curve keys/alice",
    "doctor": "helios-bridge doctor\n  helios-bridge doctor --model path/to/model\n"
    "  helios-bridge doctor --model BestWishYsh/Helios-Distilled --offline\n  helios-bridge doctor --axes",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command. Returns the exit status: 0 done, 1 it failed, 2 it was asked wrongly, 130 interrupted."""
    parser = _parser()
    options = parser.parse_args(arguments)
    logging.basicConfig(level=options.log.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    try:
        command: Callable[[argparse.Namespace], int] = options.command
        return command(options)
    except ConfigError as exc:
        return _complain(exc, status=2)
    except BridgeError as exc:
        return _complain(exc, status=1)
    except OSError as exc:
        return _complain(exc, status=1)
    except KeyboardInterrupt:
        return 130


def _complain(exc: BaseException, *, status: int) -> int:
    print(f"helios-bridge: {exc}", file=sys.stderr)
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helios-bridge", description="A game engine's neural renderer: serve a model, play its world, measure it."
    )
    parser.add_argument("--version", action="version", version=name_and_version())
    commands = parser.add_subparsers(metavar="serve | play | bench | conform | blockout | keys | doctor", required=True)

    serve = _command(commands, "serve", run.serve, "serve a model to game engines")
    serve.add_argument("--bind", default=DEFAULT_ADDRESS, help="address to listen on (default: %(default)s, loopback)")
    add_model(serve)
    serve.add_argument(
        "--build", action="store_true", help="--runner tensorrt: build what is missing or stale before serving"
    )
    _add_service(serve, fps=24.0)
    serve.add_argument("--curve", dest="curve_keys", type=Path, metavar="FOLDER", help="encrypt: keys of `keys new`")
    serve.add_argument(
        "--states", type=output_folder, metavar="FOLDER", help="let clients save and restore sessions there"
    )
    serve.add_argument("--insecure", action="store_true", help="listen beyond this machine without keys")

    play = _command(commands, "play", run.play, "walk through the demo world")
    play.add_argument("--connect", metavar="ADDR", help="a running service (default: starts one and stops it)")
    play.add_argument(
        "--curve", type=Path, metavar="FOLDER", help="this client's keys, where the service asks for them"
    )
    play.add_argument(
        "--wait", type=float, default=CONNECT_WAIT_S, metavar="SECONDS",
        help="for a service that is loading its model: it answers when that is done (%(default)g)",
    )  # fmt: skip
    play.add_argument("--headless", action="store_true", help="no window")
    play.add_argument("--tour", action="store_true", help="the scripted path instead of the keyboard")
    play.add_argument("--record", type=output_file, metavar="FILE.mp4", help="write what was shown as a video")
    _add_run(play, seconds=None)
    add_model(play)
    _add_service(play, fps=_GAME_FPS)

    bench = _command(
        commands,
        "bench",
        run.bench,
        "measure the transport, a control's parts or a whole tour; simulate the frame budget",
    )
    bench.add_argument("what", choices=["transport", "play", "budget", "inprocess"])
    bench.add_argument("--traces", default="all", metavar="all|NAME,...", help="budget: which traces to simulate")
    bench.add_argument("--controls", type=int, default=600, help="transport: how many each way (default: %(default)s)")
    _add_run(bench, seconds=None)
    add_model(bench)
    _add_service(bench, fps=_GAME_FPS)

    _add_conform(commands)

    blockout = _command(commands, "blockout", run.blockout, "turn a level's file into the messages that hand it over")
    blockout.add_argument("what", choices=["from-gltf"])
    blockout.add_argument("file", type=Path, metavar="FILE", help=".glb or .gltf")
    blockout.add_argument("--out", type=output_file, metavar="FILE.scene", help="default: beside the file")
    blockout.add_argument("--axes", default="opengl", choices=["opengl", "opencv", "unity", "unreal", "godot"])
    blockout.add_argument("--units-per-metre", type=float, default=1.0, help="of the client (Unreal: 100)")
    blockout.add_argument("--material", action="append", default=[], metavar="NAME=OTHER", help="rename a material")
    blockout.add_argument("--boxes", action="store_true", help="boxes around the meshes instead of their triangles")

    keys = _command(commands, "keys", run.keys, "make keys for encrypted connections")
    keys.add_argument("what", choices=["new"])
    keys.add_argument("folder", nargs="?", type=Path, default=Path("keys"), help="default: %(default)s")
    keys.add_argument("--client", action="append", default=[], metavar="NAME", help="may connect; may be given again")

    doctor = _command(commands, "doctor", run.doctor, "what this machine has, for a bug report")
    doctor.add_argument("--axes", action="store_true", help="play known turns in every engine's axes, say what is seen")
    add_model(doctor)
    return parser


def _add_conform(commands: Any) -> None:
    """`conform client` and `conform server`."""
    conform = _command(commands, "conform", lambda _: 2, "test a client or a server of yours against the protocol")
    sides = conform.add_subparsers(metavar="client | server", required=True)

    client = sides.add_parser("client", help="play a server to a client")
    client.set_defaults(command=run.conform_client)
    client.add_argument("--bind", default=FREE_PORT, help="where the client looks for a server (default: a free port)")
    client.add_argument(
        "client", nargs="*", metavar="-- COMMAND",
        help="starts the client anew for each script, {address} standing for the address; without it, it must come",
    )  # fmt: skip

    server = sides.add_parser("server", help="play a client to a server")
    server.set_defaults(command=run.conform_server)
    server.add_argument("--curve", type=Path, metavar="FOLDER", help="the client's keys, where it asks for them")
    server.add_argument("address", metavar="ADDR", help=f"where the server is, for example {DEFAULT_ADDRESS}")

    for side in (client, server):
        side.add_argument("--only", action="append", default=[], metavar="SCRIPT", help="may be given several times")
        side.add_argument("--patience", type=float, default=10.0, metavar="S", help="for each thing expected")
        side.add_argument("--junit", type=output_file, metavar="FILE.xml", help="write the results")
        side.add_argument("--log", default="warning", choices=["debug", "info", "warning", "error"], help="log level")


def _command(
    commands: Any, name: str, command: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n  {_EXAMPLES[name]}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=command)
    parser.add_argument("--log", default="warning", choices=["debug", "info", "warning", "error"], help="log level")
    return parser


def _add_service(parser: argparse.ArgumentParser, *, fps: float) -> None:
    parser.add_argument("--fps", type=float, default=fps, help="frames a second of the model's video (%(default)s)")
    parser.add_argument("--max-sessions", type=int, default=4)
    parser.add_argument("--quality", default="auto", metavar="auto|RUNG", help="stay on a rung of the quality ladder")
    parser.add_argument(
        "--waste", type=float, default=0.5, metavar="SHARE",
        help="of the engine's time, so much may go into replacing frames by fresher ones unseen (%(default)s)",
    )  # fmt: skip
    with contextlib.suppress(argparse.ArgumentError):  # play and bench have it among the options of a run
        parser.add_argument("--seed", type=int, default=0, help="of the model's noise")


def _add_run(parser: argparse.ArgumentParser, *, seconds: float | None) -> None:
    parser.add_argument("--seconds", type=float, default=seconds, help="stop after this time")
    parser.add_argument("--tick-hz", type=float, default=60.0, help="controls a second")
    parser.add_argument("--seed", type=int, default=0, help="of the model's noise")
    parser.add_argument("--report", type=output_file, metavar="FILE.json", help="write the figures")
    parser.add_argument(
        "--out", type=output_folder, default=Path("out"), metavar="DIR", help="where files without a name go"
    )
