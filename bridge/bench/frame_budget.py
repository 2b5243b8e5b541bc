"""`helios-bridge bench budget`: the service's decisions on simulated traces, beside two naive services.

Nothing is measured on this machine: the traces say what everything costs, and a seed gives the same figures
everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from bridge.bench.simulation import plot, traces
from bridge.bench.simulation.figures import Json, age_series, figures, own_figures
from bridge.bench.simulation.loop import RUNGS, Simulation
from bridge.bench.simulation.peers import PEERS
from bridge.bench.simulation.traces import EngineModel
from bridge.errors import ConfigError
from bridge.protocol.messages import Source
from bridge.scheduling.chunk_scheduler import ChunkSchedulerConfig
from bridge.scheduling.replanning import ReplanConfig

OURS = "helios-bridge"
_DECODINGS = ((0.0, False), (0.25, False), (0.5, False), (0.5, True))
"""What share of a long chunk's cost is decoding that streams, and whether it runs beside the next chunk."""
_WASTE_SHARES = (0.0, 0.1, 0.25, 0.5)


def names_of(wanted: str) -> tuple[str, ...]:
    """Trace names from what was asked for. Raises: ConfigError: there is no such trace."""
    names = traces.NAMES if wanted == "all" else tuple(wanted.split(","))
    for name in names:
        if name not in traces.NAMES:
            raise ConfigError(f"traces: got {name!r}, expected all or some of {','.join(traces.NAMES)}")
    return names


def bench_budget(names: Sequence[str], *, seconds: float, seed: int, report: Path | None) -> int:
    """Prints a table, and writes FILE.json with FILE.png beside it. Returns: the exit status."""
    engine = EngineModel()
    about = (
        f"simulated: {engine.fps:g} fps model, {engine.longest_us / 1e3:g} ms for {engine.frames_per_chunk[-1]} frames "
        f"({engine.fixed_share:.0%} of it whatever the length, {engine.decode_share:.0%} streamed decoding), "
        f"{traces.TICK_HZ:g} controls/s, {seconds:g} s, seed {seed}"
    )
    print(about)
    print(f"{'trace':20} {'who':18} {'delivery':>9} {'own frame':>9} {'age p50':>8} {'p95':>7} {'camera p99':>11} "
          f"{'gen.':>6} {'repr.':>6} {'held':>6} {'wasted':>7}")  # fmt: skip
    results: dict[str, dict[str, Json]] = {}
    rows = []
    for name in names:
        trace = traces.make(name, seconds=seconds, seed=seed)
        (outcome,) = Simulation([trace], engine=engine).run()
        answers = {OURS: outcome.answers, **{peer: answer(trace, engine) for peer, answer in PEERS.items()}}
        found = {who: figures(trace, given) for who, given in answers.items()} | {OURS: own_figures(trace, outcome)}
        results[name] = found
        for who, one in found.items():
            print(_line(name, who, one))
        shares = _mapping(found[OURS]["sources"])
        rows.append(
            plot.Row(
                title=name,
                ages={who: age_series(trace, given) for who, given in answers.items()},
                sources={source: float(str(shares[source.value])) for source in Source},
                delivery=[float(str(found[who]["delivery"])) for who in answers],
                age_ms=[_age_ms(found[who]) for who in answers],
            )
        )
    ticks = _ticks(engine, seconds, seed)
    long_chunks, trade = _long_chunks(engine, seconds, seed)
    if report is not None:
        picture = report.with_suffix(".png")
        report.parent.mkdir(parents=True, exist_ok=True)
        body = _head(engine, seconds, seed) | {"traces": results, "ticks": ticks, "long_chunks": long_chunks}
        report.write_text(json.dumps(body, indent=2) + "\n", "utf-8")
        plot.write_png(picture, plot.draw(about, rows, trade))
        print(f"wrote {report}, {picture}")
    return 0


def _ticks(engine: EngineModel, seconds: float, seed: int) -> dict[str, Json]:
    """Games that tick faster than the model makes frames: what each tick gets."""
    print(
        f"\n{'ticks/s, steady':20} {'own frame':>9} {'camera p50':>11} {'p99':>7} {'tick':>7} {'repr.':>6} {'held':>6}"
    )
    found: dict[str, Json] = {}
    for tick_hz in (60.0, 90.0, 120.0):
        trace = traces.make("steady", seconds=seconds, seed=seed, tick_hz=tick_hz)
        (outcome,) = Simulation([trace], engine=engine).run()
        one = found[f"{tick_hz:g}"] = own_figures(trace, outcome)
        camera, sources = _mapping(one["camera_ms"]), _mapping(one["sources"])
        print(
            f"{tick_hz:<20g} {one['own_frame']:>9.2%} {_ms(camera['p50']):>11} {_ms(camera['p99']):>7} "
            f"{trace.tick_us / 1e3:>7.1f} {sources['reprojected']:>6.1%} {sources['held']:>6.1%}"
        )
    return found


def _long_chunks(engine: EngineModel, seconds: float, seed: int) -> tuple[list[Json], plot.Trade]:
    """What is left to gain where the longest chunk is the only one, by how much of the engine's time may be thrown away
    and how much of a chunk's cost is decoding that streams (+: beside the next chunk)."""
    trace = traces.make("steady", seconds=seconds, seed=seed)
    longest = engine.frames_per_chunk[-1]
    peer_ms = {
        peer: _age_ms(figures(trace, answer(trace, replace(engine, frames_per_chunk=(longest,)))))
        for peer, answer in PEERS.items()
    }
    found: list[Json] = []
    curves: dict[str, list[tuple[float, float]]] = {}
    print(
        f"\n{longest} frames a chunk alone, steady; peers: {', '.join(f'{p} {_ms(ms)}' for p, ms in peer_ms.items())}"
    )
    print(
        f"{'streamed':>9} {'may waste':>10} {'wasted':>7} {'age p50':>8} {'p95':>7} {'times better than the peers':>28}"
    )
    for decode_share, overlaps in _DECODINGS:
        one = replace(engine, frames_per_chunk=(longest,), decode_share=decode_share, overlaps=overlaps)
        points = curves[f"{decode_share:.0%} of the cost streams{', beside the next' if overlaps else ''}"] = []
        for share in _WASTE_SHARES:
            scheduler = ChunkSchedulerConfig(fps=one.fps, replan=ReplanConfig(waste_share=share))
            (outcome,) = Simulation([trace], engine=one, scheduler=scheduler).run()
            ours = own_figures(trace, outcome)
            age_ms, wasted = _age_ms(ours), float(str(ours["wasted"]))
            better = {
                peer: None if age_ms is None or ms is None else round(ms / age_ms, 2) for peer, ms in peer_ms.items()
            }
            settings: Json = {"decode_share": decode_share, "overlaps": overlaps, "waste_share": share}
            found.append({**settings, "times_better": better, **ours})
            if age_ms is not None:
                points.append((wasted, age_ms))
            print(
                f"{decode_share:>8.0%}{'+' if overlaps else ' '} {share:>10.0%} {wasted:>7.1%} {_ms(age_ms):>8} "
                f"{_ms(_mapping(ours['control_age_ms'])['p95']):>7} {' and '.join(map(_ms, better.values())):>28}"
            )
    half_ms = {peer: ms / 2 for peer, ms in peer_ms.items() if ms is not None}
    return found, plot.Trade(title=f"{longest} frames a chunk alone", curves=curves, half_ms=half_ms)


def _age_ms(one: Json) -> float | None:
    """The median control age, None where nothing was shown."""
    p50 = _mapping(one["control_age_ms"])["p50"]
    return None if p50 is None else float(str(p50))


def _line(name: str, who: str, one: Json) -> str:
    age, camera, sources = (_mapping(one[key]) for key in ("control_age_ms", "camera_ms", "sources"))
    wasted = f"{one['wasted']:>7.1%}" if "wasted" in one else f"{'-':>7}"
    return (
        f"{name:20} {who:18} {one['delivery']:>9.2%} {one['own_frame']:>9.2%} "
        f"{_ms(age['p50']):>8} {_ms(age['p95']):>7} "
        f"{_ms(camera['p99']):>11} {sources['generated']:>6.1%} {sources['reprojected']:>6.1%} {sources['held']:>6.1%} "
        f"{wasted}"
    )


def _ms(value: object) -> str:
    return "-" if value is None else f"{value}"


def _head(engine: EngineModel, seconds: float, seed: int) -> Json:
    return {
        "simulated": True,
        "seconds": seconds,
        "seed": seed,
        "tick_hz": traces.TICK_HZ,
        "engine": {
            "fps": engine.fps,
            "frames_per_chunk": list(engine.frames_per_chunk),
            "longest_chunk_ms": engine.longest_us / 1e3,
            "fixed_share": engine.fixed_share,
            "decode_share": engine.decode_share,
            "rungs": {rung.name: rung.cost_share for rung in RUNGS},
        },
        "peers": {name: (answer.__doc__ or "").strip() for name, answer in PEERS.items()},
    }


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
