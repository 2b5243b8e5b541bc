"""`python -m model.demo.evaluate`: how good a demo model is, on tours of maps that nobody trained on.

    python -m model.demo.evaluate --report report.json --sheet sheet.png    # some ten minutes on two cores
    python -m model.demo.evaluate --quick                                   # about one
    python -m model.demo.evaluate --only text                               # the reader's table, at once

Runs on the base install, but for one figure: the autoencoder alone needs torch, because its encoder is not shipped as a
graph. Without torch that figure is null.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from model.cli_args import output_file
from model.demo.evaluation import report as gather
from model.demo.evaluation.heldout import heldout_phrases, reader_of, text_figures
from model.demo.evaluation.painting import Painter
from model.demo.evaluation.report import Json
from model.demo.evaluation.runs import EvaluationConfig, Seen, drift, look_at_actions, look_at_map, sheet
from model.demo.training.charts import write_png
from model.runners.base import ModuleRunner
from model.scene.maps import map_names
from model.spec import read_spec

SHIPPED = Path(__file__).parent / "weights"
_RUNNERS = {
    "onnxruntime": "model.runners.onnxruntime:create",
    "torch": "model.demo.checkpoint:create_torch_runner",
}


def main(arguments: list[str] | None = None) -> int:
    """Evaluates, prints, writes what was asked for. Returns the exit status."""
    options = _parser().parse_args(arguments)
    folder = Path(options.model)
    spec, runner = read_spec(folder), _runner(options.runner)(folder, threads=options.threads)
    report: Json = {
        "model": spec.name, "runner": options.runner, "threads": options.threads, "machine": gather.machine(),
        "text": gather.text_report(text_figures(reader_of(spec, runner), heldout_phrases())),
    }  # fmt: skip
    _say({"text": report["text"]})
    if options.only != "text":
        config = _config(options)
        painter, seen = Painter(spec, runner, chunk_latents=config.chunk_latents), Seen()
        for name in config.maps:
            _say({name: look_at_map(painter, config, name, seen, folder)})
            if config.asked_seconds > 0:
                look_at_actions(painter, config, name, seen)
        report |= tours_report(seen, config, painter.chunk_frames)
        _say({name: report[name] for name in ("conditions", "pictures", "autoencoder_alone_psnr_db", "camera",
                                              "actions", "speed")})  # fmt: skip
        if config.drift_minutes > 0:
            report["drift"] = drift(painter, config)
            _say({"drift": report["drift"]})
        if options.sheet:
            write_png(options.sheet, sheet(seen))
    if options.report:
        options.report.write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    runner.close()
    return 0


def tours_report(seen: Seen, config: EvaluationConfig, chunk_frames: int) -> Json:
    """All figures of the maps' tours. A machine's speed is told without the chunks that only warm it up."""
    warm = seen.chunk_s[1:] or seen.chunk_s
    return {
        "tours": {
            "maps": len(config.maps),
            "seconds_each": config.seconds,
            "asked_seconds_each": config.asked_seconds,
            "seed": config.seed,
        },
        "pictures": gather.picture_figures(seen.frames),
        "maps": gather.by_map(seen.frames),
        "conditions": gather.by_condition(seen.frames),
        "autoencoder_alone_psnr_db": gather.mean(seen.autoencoder_db),
        "camera": gather.camera_figures(seen.frames),
        "actions": gather.action_figures(seen.changes),
        "speed": {
            "frames_per_chunk": chunk_frames,
            "chunk_s": {"p50": gather.share(warm, 0.5), "p95": gather.share(warm, 0.95)},
            "frames_per_s": gather.rounded(chunk_frames * len(warm) / sum(warm)),
        },
    }


def _config(options: argparse.Namespace) -> EvaluationConfig:
    maps = tuple(options.maps or map_names())
    given = {"chunk_latents": options.chunk_latents, "seed": options.seed, "maps": maps}
    if options.quick:
        return EvaluationConfig(**given, seconds=options.seconds or 5.0, asked_seconds=0.0, every=12, pose_every=24,
                                clips=1, drift_minutes=options.drift_minutes or 0.0)  # fmt: skip
    drift_minutes = 5.0 if options.drift_minutes is None else options.drift_minutes
    return EvaluationConfig(**given, seconds=options.seconds or 24.0, drift_minutes=drift_minutes)


def _runner(name: str) -> Callable[..., ModuleRunner]:
    module, attribute = _RUNNERS[name].split(":")
    made: Callable[..., ModuleRunner] = getattr(importlib.import_module(module), attribute)
    return made


def _say(figures: Json) -> None:
    hidden = {"misread"}
    shown = {key: {k: v for k, v in value.items() if k not in hidden} if isinstance(value, dict) else value
             for key, value in figures.items()}  # fmt: skip
    print("\n".join(gather.lines(shown)), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m model.demo.evaluate", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("--report", type=output_file, metavar="FILE.json", help="all figures, as JSON")
    parser.add_argument("--sheet", type=output_file, metavar="FILE.png", help="painted frames over their references")
    parser.add_argument("--quick", action="store_true", help="five seconds a map, no drift, few texts")
    parser.add_argument("--only", choices=["text"], help="nothing but the held-out phrasings")
    parser.add_argument("--model", default=str(SHIPPED), metavar="DIR", help="spec.json and graphs (default: shipped)")
    parser.add_argument("--runner", default="onnxruntime", choices=sorted(_RUNNERS))
    parser.add_argument("--threads", type=int, default=1, help="of the network; the decoder has one more")
    parser.add_argument("--maps", nargs="+", choices=map_names(), metavar="MAP", help="default: all")
    parser.add_argument("--seconds", type=float, help="of each map's tour (default 24)")
    parser.add_argument("--drift-minutes", type=float, help="of the tour that drift is told by (default 5; 0: none)")
    parser.add_argument("--chunk-latents", type=int, default=3, help="latent frames a chunk")
    parser.add_argument("--seed", type=int, default=0)
    return parser


if __name__ == "__main__":
    sys.exit(main())
