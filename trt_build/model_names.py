"""What `--model` names, told without torch and before anything is loaded."""

from __future__ import annotations

from pathlib import Path

from trt_build.errors import BuildError

DEMO = "demo"


def model_folder(model: str) -> Path | None:
    """Where a model's weights lie, None for the shipped one. Raises: BuildError: there is no such folder."""
    if model == DEMO:
        return None
    folder = Path(model)
    if not folder.is_dir():
        raise BuildError(
            f"no model at {folder}; give `demo`, the folder of a training run or of a Helios checkpoint "
            "(`hf download ID --local-dir FOLDER` fetches one)"
        )
    return folder
