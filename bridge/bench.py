"""`helios-bridge bench transport`: what the way from a control to its frame costs, without a model.

A client in this process, the service in another, the synthetic engine in a third; every control is answered, most by
a frame bent to its camera, as in a game. Figures are for this machine, now.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from bridge.client import Client
from bridge.client_core import Camera
from bridge.clock import MonotonicClock
from bridge.config import ServeConfig
from bridge.doctor import cpu_name
from bridge.local import FREE_PORT, LocalService
from bridge.pose import quaternion_from_rotation_vector

_WARM_UP, _CONTROLS = 60, 600
_TICK_US = 4_000


def bench_transport(report: Path | None) -> int:
    """Prints and writes a row a transport and pixel format. Returns the exit status."""
    rows = list(measure_all())
    print(f"control -> frame, {_CONTROLS} controls after {_WARM_UP}, ms; cpu: {cpu_name()}")
    for row in rows:
        print(f"{row['transport']:4} {row['format']:5} {row['frame_size']:8} "
              f"p50 {row['p50']:6.2f}  p95 {row['p95']:6.2f}  p99 {row['p99']:6.2f}")  # fmt: skip
    if report is not None:
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps({"cpu": cpu_name(), "controls": _CONTROLS, "rows": rows}, indent=2) + "\n")
    return 0


def measure_all() -> Iterator[dict[str, object]]:
    """tcp and ipc (where the system has it), raw and JPEG."""
    with tempfile.TemporaryDirectory() as folder:
        binds = {"tcp": FREE_PORT}
        if sys.platform != "win32":
            binds["ipc"] = f"ipc://{folder}/bridge.sock"
        for transport, bind in binds.items():
            with LocalService(ServeConfig(bind=bind, model="synthetic", max_sessions=1)) as service:
                for pixel_format in ("rgb8", "jpeg"):
                    yield {"transport": transport, "format": pixel_format, **measure(service.address, pixel_format)}


def measure(address: str, pixel_format: str) -> dict[str, object]:
    """Round trips of controls whose camera turns and walks, one at a time."""
    clock = MonotonicClock()
    with Client(address, name="bench", pixel_formats=(pixel_format,), budget_ms=50.0) as client:
        milliseconds = []
        for tick in range(_WARM_UP + _CONTROLS):
            x, y, z, w = (float(c) for c in quaternion_from_rotation_vector(np.array([0.0, 0.002 * tick, 0.0])))
            camera = Camera(position=(0.0, 1.6, 3.0 - 0.002 * tick), rotation=(x, y, z, w))
            next_us = clock.now_us() + _TICK_US
            frame = client.step(camera)
            if tick >= _WARM_UP:
                milliseconds.append(frame.latency_ms)
            clock.sleep_until_us(next_us)
        size = f"{client.welcome.frame_width}x{client.welcome.frame_height}"
    p50, p95, p99 = (float(v) for v in np.percentile(milliseconds, [50, 95, 99]))
    return {"frame_size": size, "p50": p50, "p95": p95, "p99": p99}
