"""`helios-bridge bench budget`: the server's decisions against traces on a fake clock, beside two naive peers.

Nothing here is a measurement of this machine: the traces say what everything costs, and the same seed gives the same
figures everywhere.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from bridge.errors import ConfigError
from bridge.messages import Source
from bridge.simulation import plot, traces
from bridge.simulation.figures import Json, age_series, figures, own_figures
from bridge.simulation.loop import RUNGS, Simulation
from bridge.simulation.peers import PEERS
from bridge.simulation.traces import EngineModel

OURS = "helios-bridge"


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
    print(
        f"simulated: {engine.fps:g} fps model, {engine.longest_us / 1e3:g} ms for {engine.frames_per_chunk[-1]} frames "
        f"({engine.fixed_share:.0%} of it whatever the length), {traces.TICK_HZ:g} controls/s, "
        f"{seconds:g} s, seed {seed}"
    )
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
                notes=[f"{who}: {100 * float(str(one['delivery'])):.1f} %" for who, one in found.items()],
            )
        )
    if report is not None:
        picture = report.with_suffix(".png")
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(_head(engine, seconds, seed) | {"traces": results}, indent=2) + "\n", "utf-8")
        plot.write_png(picture, plot.draw(rows))
        print(f"wrote {report}, {picture}")
    return 0


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
            "rungs": {rung.name: rung.cost_share for rung in RUNGS},
        },
        "peers": {name: (answer.__doc__ or "").strip() for name, answer in PEERS.items()},
    }


def _mapping(value: object) -> dict[str, object]:
    assert isinstance(value, dict)
    return value
