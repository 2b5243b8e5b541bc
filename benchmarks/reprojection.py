"""How right late reprojection is: bent pictures of the demo world against its reference renderer, and what one costs.

    python -m benchmarks.reprojection --report out/reprojection.json

The source picture is the reference itself, so that what is measured is the warp and nothing of the network: each row
is one error of prediction, at places along the tour; columns are what is done about it. "before" also has the picture
that was on show a tick ago.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

import bridge
from bridge.geometry import Pose, multiply, quaternion_from_rotation_vector, rotated
from bridge.machine import cpu_name
from bridge.presentation.reprojection import NO_PART, MovedPart, Warper
from demos.tour import LOOP_S, tour
from demos.world import ReferenceRenderer, World
from model.cli_args import commit, output_file
from model.demo.evaluation.figures import psnr_db
from model.demo.world.conditions import Conditions
from model.scene.blockout import Blockout, Part, Shape
from model.scene.camera import Camera
from model.scene.ray_features import RAY_STEP_PX, coarse_surfaces
from model.scene.raycast import cast

_PLACES = 12
_MOVED_M = 0.3
_FOV_DEG = 60.0
_SIZES = ((192, 320), (384, 640))
Picture = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Miss:
    """A prediction that was off: turned by so much to the left, moved by so much to the right and forward."""

    name: str
    yaw_deg: float = 0.0
    right_m: float = 0.0
    forward_m: float = 0.0


MISSES = (
    Miss(name="turn 2 deg", yaw_deg=2.0),
    Miss(name="turn 6 deg", yaw_deg=6.0),
    Miss(name="turn 15 deg", yaw_deg=15.0),
    Miss(name="aside 5 cm", right_m=0.05),
    Miss(name="aside 20 cm", right_m=0.2),
    Miss(name="aside 50 cm", right_m=0.5),
    Miss(name="forward 50 cm", forward_m=0.5),
    Miss(name="turn 6 deg, aside 20 cm", yaw_deg=6.0, right_m=0.2),
)


def moved(pose: Pose, miss: Miss, share: float = 1.0) -> Pose:
    """`share` of the way from `pose` to where the player really is."""
    turn = quaternion_from_rotation_vector(np.array([0.0, np.radians(miss.yaw_deg * share), 0.0]))
    step = rotated(pose.rotation, np.array([miss.right_m, 0.0, -miss.forward_m]) * share)
    return Pose(position=pose.position + step, rotation=multiply(turn, pose.rotation), vertical_fov_deg=_FOV_DEG)


class Stage:
    """The demo world at one picture size."""

    def __init__(self, size: tuple[int, int]) -> None:
        self.size = size
        self.blockout = World.load().level.blockout
        self._renderer = ReferenceRenderer(self.blockout)

    def picture(self, pose: Pose, renderer: ReferenceRenderer | None = None) -> Picture:
        x, y, z = pose.position.tolist()
        qx, qy, qz, qw = pose.rotation.tolist()
        camera = bridge.Camera(position=(x, y, z), rotation=(qx, qy, qz, qw), vertical_fov_deg=_FOV_DEG)
        return (renderer or self._renderer).frame(camera, Conditions(), 0.0, self.size)

    def surface(self, pose: Pose, blockout: Blockout) -> tuple[NDArray[np.float32], NDArray[np.uint32]]:
        """Depth and part ids as the engine gives them."""
        height, width = self.size
        camera = Camera(
            position=pose.position, rotation=pose.rotation, vertical_fov_deg=_FOV_DEG, height=height, width=width
        )
        hits = cast(np, blockout.pack(), camera, step_px=RAY_STEP_PX)
        depth, part = coarse_surfaces(hits)
        in_order = sorted(blockout.parts.values(), key=lambda one: (one.shape is Shape.MESH, one.id))
        ids = np.array([*(one.id for one in in_order), NO_PART], np.uint32)
        return depth, ids[part]


def places() -> list[Pose]:
    """Where the tour passes, evenly in time."""
    found = []
    for at_s in np.linspace(0.0, LOOP_S, _PLACES, endpoint=False).tolist():
        camera = tour(at_s).view.camera
        found.append(
            Pose(position=np.array(camera.position), rotation=np.array(camera.rotation), vertical_fov_deg=_FOV_DEG)
        )
    return found


def measure_misses(stage: Stage) -> dict[str, dict[str, list[float]]]:
    """PSNR in dB, by miss and by what is done about it."""
    height, width = stage.size
    found: dict[str, dict[str, list[float]]] = {}
    for miss in MISSES:
        row: dict[str, list[float]] = {"held": [], "rotation": [], "depth": [], "depth + before": []}
        for source in places():
            target = moved(source, miss)
            frame, truth = stage.picture(source), stage.picture(target)
            depth, _ = stage.surface(source, stage.blockout)
            warper = Warper(width, height)
            row["held"].append(psnr_db(frame, truth))
            row["rotation"].append(psnr_db(warper.warp(frame, source=source, target=target), truth))
            warper.forget()
            row["depth"].append(psnr_db(warper.warp(frame, source=source, target=target, depth=depth), truth))
            tick_ago = moved(source, miss, 0.9)
            warper.keep(stage.picture(tick_ago), tick_ago)
            bent = warper.warp(frame, source=source, target=target, depth=depth)
            row["depth + before"].append(psnr_db(bent, truth))
        found[miss.name] = row
    return found


def measure_moved_part(stage: Stage) -> dict[str, list[float]]:
    """PSNR in dB where a part, the nearest in view, has moved by 30 cm since the frame was made."""
    height, width = stage.size
    row: dict[str, list[float]] = {"held": [], "depth + before": []}
    for pose in places():
        depth, ids = stage.surface(pose, stage.blockout)
        part = _movable(stage.blockout, depth, ids)
        if part is None:
            continue
        now = _shifted(stage.blockout, part, _MOVED_M)
        frame, truth = stage.picture(pose), stage.picture(pose, ReferenceRenderer(now))
        warper = Warper(width, height)
        warper.keep(stage.picture(pose, ReferenceRenderer(_shifted(stage.blockout, part, 0.9 * _MOVED_M))), pose)
        motion = MovedPart(part=part.id, rotation=np.array([0.0, 0.0, 0.0, 1.0]), offset=np.array([_MOVED_M, 0.0, 0.0]))
        bent = warper.warp(frame, source=pose, target=pose, depth=depth, parts=ids, moved=[motion])
        row["held"].append(psnr_db(frame, truth))
        row["depth + before"].append(psnr_db(bent, truth))
    return row


def measure_cost(stage: Stage, warps: int) -> list[float]:
    """Milliseconds a warp, with depth and the picture before, while the camera turns and walks away from the frame."""
    height, width = stage.size
    source = places()[0]
    frame = stage.picture(source)
    depth, _ = stage.surface(source, stage.blockout)
    warper, taken = Warper(width, height), []
    for tick in range(warps + 20):
        share = (tick % 12 + 1) / 12
        target = moved(source, MISSES[-1], share)
        began_s = time.perf_counter()
        warper.warp(frame, source=source, target=target, depth=depth)
        taken.append((time.perf_counter() - began_s) * 1e3)
    return taken[20:]


def _movable(blockout: Blockout, depth: NDArray[np.float32], ids: NDArray[np.uint32]) -> Part | None:
    """The nearest part that fills between one and twenty per cent of the picture."""
    sizes = [(float(np.median(depth[ids == one])), one) for one in np.unique(ids).tolist()
             if one != NO_PART and 0.01 < np.mean(ids == one) < 0.2]  # fmt: skip
    return blockout.parts[min(sizes)[1]] if sizes else None


def _shifted(blockout: Blockout, part: Part, by_m: float) -> Blockout:
    x, y, z = part.position
    return blockout.add([replace(part, position=(x + by_m, y, z))])


def _summary(values: Sequence[float]) -> dict[str, float]:
    return {"mean": round(float(np.mean(values)), 2), "least": round(min(values), 2)}


def main() -> None:
    """Prints and writes the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--report", type=output_file, metavar="FILE.json")
    parser.add_argument("--warps", type=int, default=600, help="for the cost of one")
    options = parser.parse_args()
    quality = Stage(_SIZES[0])
    report: dict[str, object] = {"cpu": cpu_name(), "commit": commit(), "size": list(quality.size), "places": _PLACES}
    rows = measure_misses(quality) | {f"a part moved {100 * _MOVED_M:.0f} cm": measure_moved_part(quality)}
    shown = f"{quality.size[1]}x{quality.size[0]}"
    print(f"PSNR against the reference renderer, dB, mean (least) of {_PLACES} places, {shown}")
    for name, row in rows.items():
        cells = (f"{what} {np.mean(values):5.1f} ({min(values):4.1f})" for what, values in row.items())
        print(f"{name:26} " + "  ".join(cells))
    report["psnr_db"] = {name: {what: _summary(v) for what, v in row.items()} for name, row in rows.items()}
    costs = {}
    for size in _SIZES:
        p50, p95, p99 = np.percentile(measure_cost(Stage(size), options.warps), [50, 95, 99]).tolist()
        costs[f"{size[1]}x{size[0]}"] = {"p50": round(p50, 3), "p95": round(p95, 3), "p99": round(p99, 3)}
        print(f"{size[1]}x{size[0]}: a warp takes p50 {p50:.2f}, p95 {p95:.2f}, p99 {p99:.2f} ms (n = {options.warps})")
    report["warp_ms"] = costs
    if options.report is not None:
        options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
