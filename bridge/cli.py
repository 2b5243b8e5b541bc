"""The command line: `helios-bridge serve | play | bench | conform | blockout | keys | doctor`.

Here arguments become settings, and errors one clear line. What a command does lives in its own module; the game is
reached by name, because nothing in bridge/ imports demos/.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import importlib
import logging
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from bridge.cli_model import add_model, form_of, model_of
from bridge.config import DEFAULT_ADDRESS, ServeConfig, check_address
from bridge.errors import BridgeError, ConfigError
from bridge.link import EngineConfig
from bridge.local import FREE_PORT, LISTENING, LocalService
from bridge.server import Server

_GAME = "demos.play:run"
_PLANS = "bridge.engines.plans"
_LOADING_US = 1_800_000_000
"""How long an engine may take to be ready: 60 GB from a slow disk, and kernels compiled for the first time."""
_GAME_FPS = 30.0
"""The demo game's own service: at 60 ticks a second every frame is on show for two, at 24 for two or three in turn."""

_TEST_PATTERNS: dict[str, dict[str, object]] = {"synthetic": {}, "axes": {"room": "labelled"}}

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


def engine_config(config: ServeConfig) -> EngineConfig:
    """The engine process for a service.

    One core is left to the game and the service.
    """
    if config.model in _TEST_PATTERNS:
        if config.form.camera not in ("auto", "channels"):
            raise ConfigError(f"camera: {config.form.camera} needs a network; {config.model} draws what a pose shows")
        settings = _TEST_PATTERNS[config.model]
        return EngineConfig(factory="bridge.engines.synthetic:create", settings=settings, threads=1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, min(8, cores - 1))
    return EngineConfig(
        factory="bridge.engines.helios:create",
        settings={
            "model": config.model,
            "runner": config.runner,
            "threads": threads,
            "precision": config.precision,
            **dataclasses.asdict(config.form),
        },
        threads=1,
        slots=3 * config.max_sessions,
        start_timeout_us=_LOADING_US,
    )


def _complain(exc: BaseException, *, status: int) -> int:
    print(f"helios-bridge: {exc}", file=sys.stderr)
    return status


def _serve(options: argparse.Namespace) -> int:
    config = _serve_config(options, bind=options.bind)
    if config.runner == "tensorrt":
        importlib.import_module(_PLANS).make_ready(config.model, build=options.build)
    server = Server(config, engine_config(config))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    server.run(lambda address: print(f"{LISTENING}{address}", flush=True))
    return 0


def _serve_config(options: argparse.Namespace, *, bind: str) -> ServeConfig:
    return ServeConfig(
        bind=bind, model=model_of(options), runner=options.runner, precision=options.precision, form=form_of(options),
        fps=options.fps,
        max_sessions=options.max_sessions, seed=options.seed, quality=options.quality,
        waste=options.waste,
        curve=getattr(options, "curve_keys", None), insecure=getattr(options, "insecure", False),
        states=getattr(options, "states", None),
    )  # fmt: skip


def _play(options: argparse.Namespace) -> int:
    if options.connect is not None:
        check_address(options.connect, name="--connect")
        return _game(options, options.connect)
    with LocalService(_serve_config(options, bind=FREE_PORT)) as service:
        return _game(options, service.address)


def _game(options: argparse.Namespace, address: str) -> int:
    """Calls the game with its own options type."""
    module = importlib.import_module(_GAME.split(":")[0])
    game_options: Any = module.PlayOptions(
        connect=address, headless=options.headless, tour=options.tour, seconds=options.seconds,
        tick_hz=options.tick_hz, seed=options.seed, record=options.record, report=options.report, out_dir=options.out,
        curve=getattr(options, "curve", None),
    )  # fmt: skip
    status: int = getattr(module, _GAME.split(":")[1])(game_options)
    return status


def _bench(options: argparse.Namespace) -> int:
    if options.what == "play":
        options.headless = options.tour = True
        options.seconds = options.seconds or 20.0
        options.connect, options.record = None, None
        return _play(options)
    if options.what == "budget":
        from bridge.bench_budget import bench_budget, names_of

        return bench_budget(
            names_of(options.traces), seconds=options.seconds or 60.0, seed=options.seed, report=options.report
        )
    if options.what == "inprocess":
        from bridge.bench_inprocess import bench_inprocess

        return bench_inprocess(options.report)
    from bridge.bench import bench_transport

    return bench_transport(options.report, controls=options.controls)


def _conform_client(options: argparse.Namespace) -> int:
    from bridge.conform.command import conform_client

    check_address(options.bind, name="--bind")
    return conform_client(
        bind=options.bind, command=options.client, only=options.only, patience_s=options.patience, junit=options.junit
    )


def _conform_server(options: argparse.Namespace) -> int:
    from bridge.conform.command import conform_server

    check_address(options.address, name="ADDR")
    return conform_server(
        address=options.address,
        curve=options.curve,
        only=options.only,
        patience_s=options.patience,
        junit=options.junit,
    )


def _blockout(options: argparse.Namespace) -> int:
    from bridge.blockout_command import from_gltf

    return from_gltf(
        options.file, options.out, axes=options.axes, units_per_metre=options.units_per_metre,
        materials=options.material, boxes=options.boxes,
    )  # fmt: skip


def _keys(options: argparse.Namespace) -> int:
    from bridge.curve import new_keys
    from bridge.transport import new_curve_pair

    made = new_keys(options.folder, options.client, new_curve_pair)
    print(f"the service's keys: {options.folder}; helios-bridge serve --bind tcp://*:5599 --curve {options.folder}")
    for folder in made:
        print(f"hand over {folder}; there: Client(address, curve={str(folder)!r})")
    return 0


def _doctor(options: argparse.Namespace) -> int:
    if options.axes:
        from bridge.axes_check import check_axes

        return check_axes()
    from bridge.doctor import examine

    return examine(model=model_of(options), runner=options.runner, precision=options.precision, form=form_of(options))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="helios-bridge", description="A game engine's neural renderer: serve a model, play its world, measure it."
    )
    commands = parser.add_subparsers(metavar="serve | play | bench | conform | blockout | keys | doctor", required=True)

    serve = _command(commands, "serve", _serve, "serve a model to game engines")
    serve.add_argument("--bind", default=DEFAULT_ADDRESS, help="address to listen on (default: %(default)s, loopback)")
    add_model(serve)
    serve.add_argument(
        "--build", action="store_true", help="--runner tensorrt: build what is missing or stale before serving"
    )
    _add_service(serve, fps=24.0)
    serve.add_argument("--curve", dest="curve_keys", type=Path, metavar="FOLDER", help="encrypt: keys of `keys new`")
    serve.add_argument("--states", type=Path, metavar="FOLDER", help="let clients save and restore sessions there")
    serve.add_argument("--insecure", action="store_true", help="listen beyond this machine without keys")

    play = _command(commands, "play", _play, "walk through the demo world")
    play.add_argument("--connect", metavar="ADDR", help="a running service (default: starts one and stops it)")
    play.add_argument(
        "--curve", type=Path, metavar="FOLDER", help="this client's keys, where the service asks for them"
    )
    play.add_argument("--headless", action="store_true", help="no window")
    play.add_argument("--tour", action="store_true", help="the scripted path instead of the keyboard")
    play.add_argument("--record", type=Path, metavar="FILE.mp4", help="write what was shown as a video")
    _add_run(play, seconds=None)
    add_model(play)
    _add_service(play, fps=_GAME_FPS)

    bench = _command(
        commands, "bench", _bench, "measure the transport, a control's parts or a whole tour; simulate the frame budget"
    )
    bench.add_argument("what", choices=["transport", "play", "budget", "inprocess"])
    bench.add_argument("--traces", default="all", metavar="all|NAME,...", help="budget: which traces to simulate")
    bench.add_argument("--controls", type=int, default=600, help="transport: how many each way (default: %(default)s)")
    _add_run(bench, seconds=None)
    add_model(bench)
    _add_service(bench, fps=_GAME_FPS)

    _add_conform(commands)

    blockout = _command(commands, "blockout", _blockout, "turn a level's file into the messages that hand it over")
    blockout.add_argument("what", choices=["from-gltf"])
    blockout.add_argument("file", type=Path, metavar="FILE", help=".glb or .gltf")
    blockout.add_argument("--out", type=Path, metavar="FILE.scene", help="default: beside the file")
    blockout.add_argument("--axes", default="opengl", choices=["opengl", "opencv", "unity", "unreal", "godot"])
    blockout.add_argument("--units-per-metre", type=float, default=1.0, help="of the client (Unreal: 100)")
    blockout.add_argument("--material", action="append", default=[], metavar="NAME=OTHER", help="rename a material")
    blockout.add_argument("--boxes", action="store_true", help="boxes around the meshes instead of their triangles")

    keys = _command(commands, "keys", _keys, "make keys for encrypted connections")
    keys.add_argument("what", choices=["new"])
    keys.add_argument("folder", nargs="?", type=Path, default=Path("keys"), help="default: %(default)s")
    keys.add_argument("--client", action="append", default=[], metavar="NAME", help="may connect; may be given again")

    doctor = _command(commands, "doctor", _doctor, "what this machine has, for a bug report")
    doctor.add_argument("--axes", action="store_true", help="play known turns in every engine's axes, say what is seen")
    add_model(doctor)
    return parser


def _add_conform(commands: Any) -> None:
    """`conform client` and `conform server`."""
    conform = _command(commands, "conform", lambda _: 2, "test a client or a server of yours against the protocol")
    sides = conform.add_subparsers(metavar="client | server", required=True)

    client = sides.add_parser("client", help="play a server to a client")
    client.set_defaults(command=_conform_client)
    client.add_argument("--bind", default=FREE_PORT, help="where the client looks for a server (default: a free port)")
    client.add_argument(
        "client", nargs="*", metavar="-- COMMAND",
        help="starts the client anew for each script, {address} standing for the address; without it, it must come",
    )  # fmt: skip

    server = sides.add_parser("server", help="play a client to a server")
    server.set_defaults(command=_conform_server)
    server.add_argument("--curve", type=Path, metavar="FOLDER", help="the client's keys, where it asks for them")
    server.add_argument("address", metavar="ADDR", help=f"where the server is, for example {DEFAULT_ADDRESS}")

    for side in (client, server):
        side.add_argument("--only", action="append", default=[], metavar="SCRIPT", help="may be given several times")
        side.add_argument("--patience", type=float, default=10.0, metavar="S", help="for each thing expected")
        side.add_argument("--junit", type=Path, metavar="FILE.xml", help="write the results")
        side.add_argument("--log", default="warning", choices=["debug", "info", "warning", "error"], help="log level")


def _command(
    commands: Any, name: str, run: Callable[[argparse.Namespace], int], summary: str
) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = commands.add_parser(
        name, help=summary, description=summary[0].upper() + summary[1:] + ".",
        epilog=f"examples:\n  {_EXAMPLES[name]}", formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.set_defaults(command=run)
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
    parser.add_argument("--report", type=Path, metavar="FILE.json", help="write the figures")
    parser.add_argument("--out", type=Path, default=Path("out"), metavar="DIR", help="where files without a name go")
