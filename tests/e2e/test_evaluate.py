"""`python -m model.demo.evaluate`, on the shipped model, as a base install has it: without torch."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import cv2

from model.demo.evaluate import main

WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None
from model.demo.evaluate import main
sys.exit(main(sys.argv[1:]))
"""


def test_a_short_evaluation_tells_every_figure_but_the_one_that_needs_torch(tmp_path: Path) -> None:
    path, sheet = tmp_path / "new" / "r.json", tmp_path / "s.png"
    arguments = ["--quick", "--maps", "hall", "--seconds", "3.6", "--chunk-latents", "1", "--drift-minutes", "0.02",
                 "--report", str(path), "--sheet", str(sheet)]  # fmt: skip
    told = subprocess.run(
        [sys.executable, "-c", WITHOUT_TORCH, *arguments], capture_output=True, text=True, timeout=240, check=False
    )
    assert told.returncode == 0, told.stderr
    report = json.loads(path.read_text())

    assert report["autoencoder_alone_psnr_db"] is None
    assert report["pictures"]["frames"] == report["maps"]["hall"]["frames"] == 8  # every twelfth of 88
    assert 8 < report["pictures"]["psnr_db"]["p5"] <= report["pictures"]["psnr_db"]["mean"] < 60
    assert 0 < report["pictures"]["ssim"] < 1
    weathers = [figures["frames"] for name, figures in report["conditions"].items() if name.startswith("weather")]
    assert sum(weathers) == 8
    searched = report["camera"]["frames"] + report["camera"]["frames_that_do_not_tell"]
    assert searched == 4
    assert report["actions"]["changes"] == 1
    assert report["speed"]["frames_per_chunk"] == 4
    assert report["speed"]["frames_per_s"] > 1
    assert {"first", "last", "last_afresh"} <= report["drift"].keys()
    assert report["text"]["right"] >= 0.9
    assert cv2.imread(str(sheet)).shape[1] > 6 * 320


def test_the_readers_table_alone(capsys) -> None:
    assert main(["--only", "text"]) == 0
    said = capsys.readouterr().out
    assert "fountain: asked" in said
    assert "psnr" not in said
