"""Runs each command of `helios-bridge` with its parsed options.

The game and TensorRT's plans are imported by name: nothing in bridge imports demos, and few machines have TensorRT.
What only one command needs is imported inside it.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import os
import signal
import sys
from typing import Any

from bridge.cli.local_service import FREE_PORT, LISTENING, LOADING, LocalService
from bridge.cli.model_options import form_of, model_of
from bridge.config import CONNECT_WAIT_S, ServeConfig, check_address
from bridge.engine.interface import EngineInfo
from bridge.engine.pipe import EngineConfig
from bridge.errors import ConfigError
from bridge.service.server import Server

_GAME = "demos.play:run"
_PLANS = "bridge.backends.plans"
_LOADING_US = 1_800_000_000
"""How long an engine may take to be ready: 60 GB from a slow disk, and kernels compiled for the first time."""
_TEST_PATTERNS: dict[str, dict[str, object]] = {"synthetic": {}, "axes": {"room": "labelled"}}


def serve(options: argparse.Namespace) -> int:
    if options.build and options.runner != "tensorrt":
        raise ConfigError(f"--build: got --runner {options.runner}, expected --runner tensorrt, whose plans it builds")
    config = _serve_config(options, bind=options.bind)
    if config.runner == "tensorrt":
        importlib.import_module(_PLANS).make_ready(config.model, build=options.build)
    server = Server(config, engine_config(config))
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: server.stop())
    # Not to stdout, whose first line is the address: scripts wait for that.
    print(f"{LOADING}{options.model} ...", file=sys.stderr, flush=True)
    server.run(lambda address: print(f"{LISTENING}{address}\n{_described(server.info)}", flush=True))
    return 0


def _described(info: EngineInfo) -> str:
    """What is served, on a line."""
    *shorter, longest = map(str, info.frames_per_chunk)
    frames = f"{', '.join(shorter)} or {longest}" if shorter else longest
    return (
        f"serving {info.model} on {info.runner}: {info.frame_width}x{info.frame_height}, chunks of {frames} frames, "
        f"camera by {info.camera_method}"
    )


def _serve_config(options: argparse.Namespace, *, bind: str) -> ServeConfig:
    return ServeConfig(
        bind=bind, model=model_of(options), runner=options.runner, precision=options.precision, form=form_of(options),
        fps=options.fps,
        max_sessions=options.max_sessions, seed=options.seed, quality=options.quality,
        waste=options.waste,
        curve=getattr(options, "curve_keys", None), insecure=getattr(options, "insecure", False),
        states=getattr(options, "states", None),
    )  # fmt: skip


def play(options: argparse.Namespace) -> int:
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
        curve=getattr(options, "curve", None), wait_s=options.wait,
    )  # fmt: skip
    status: int = getattr(module, _GAME.split(":")[1])(game_options)
    return status


def bench(options: argparse.Namespace) -> int:
    if options.what == "play":
        options.headless = options.tour = True
        options.seconds = options.seconds or 20.0
        options.connect, options.record, options.wait = None, None, CONNECT_WAIT_S
        return play(options)
    if options.what == "budget":
        from bridge.bench.frame_budget import bench_budget, names_of

        return bench_budget(
            names_of(options.traces), seconds=options.seconds or 60.0, seed=options.seed, report=options.report
        )
    if options.what == "inprocess":
        from bridge.bench.inprocess import bench_inprocess

        return bench_inprocess(options.report)
    from bridge.bench.transport import bench_transport

    return bench_transport(options.report, controls=options.controls)


def conform_client(options: argparse.Namespace) -> int:
    from bridge.conformance import command

    check_address(options.bind, name="--bind")
    return command.conform_client(
        bind=options.bind, command=options.client, only=options.only, patience_s=options.patience, junit=options.junit
    )


def conform_server(options: argparse.Namespace) -> int:
    from bridge.conformance import command

    check_address(options.address, name="ADDR")
    return command.conform_server(
        address=options.address,
        curve=options.curve,
        only=options.only,
        patience_s=options.patience,
        junit=options.junit,
    )


def blockout(options: argparse.Namespace) -> int:
    from bridge.cli.blockout import from_gltf

    return from_gltf(
        options.file, options.out, axes=options.axes, units_per_metre=options.units_per_metre,
        materials=options.material, boxes=options.boxes,
    )  # fmt: skip


def keys(options: argparse.Namespace) -> int:
    from bridge.transport.curve_keys import new_keys
    from bridge.transport.sockets import new_curve_pair

    made = new_keys(options.folder, options.client, new_curve_pair)
    print(f"the service's keys: {options.folder}; helios-bridge serve --bind tcp://*:5599 --curve {options.folder}")
    for folder in made:
        print(f"hand over {folder}; there: Client(address, curve={str(folder)!r})")
    return 0


def doctor(options: argparse.Namespace) -> int:
    if options.axes:
        from bridge.cli.axes_check import check_axes

        return check_axes()
    from bridge.cli.doctor import examine

    return examine(
        model=options.model, offline=options.offline, runner=options.runner, precision=options.precision,
        form=form_of(options),
    )  # fmt: skip


def engine_config(config: ServeConfig) -> EngineConfig:
    """The engine process for a service.

    Its network computes on all cores but one, at most on eight (onnxruntime's decoder on one more): the game, the
    service, and the rays that are cast beside the network share what is left.
    """
    if config.model in _TEST_PATTERNS:
        if config.form.camera not in ("auto", "channels"):
            raise ConfigError(f"camera: {config.form.camera} needs a network; {config.model} draws what a pose shows")
        settings = _TEST_PATTERNS[config.model]
        return EngineConfig(factory="bridge.backends.synthetic:create", settings=settings, threads=1)
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    threads = max(1, min(8, cores - 1))
    return EngineConfig(
        factory="bridge.backends.helios:create",
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
