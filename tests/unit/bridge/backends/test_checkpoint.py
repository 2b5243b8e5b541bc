"""What `doctor` says of a checkpoint before anything is loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.config import ModelForm

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.mark.parametrize(("precision", "gpu", "said"), [
    ("auto", False, "steps 1,1,1, bf16 as on a GPU (there is none here: a CPU would take fp32)"),
    ("auto", True, "steps 1,1,1, bf16"),
    ("fp32", False, "steps 1,1,1, fp32"),
])  # fmt: skip
def test_a_plan_says_that_it_is_a_gpus(
    helios_folder: Path, monkeypatch: pytest.MonkeyPatch, precision: str, gpu: bool, said: str
) -> None:
    from bridge.backends.checkpoint import examine

    monkeypatch.setattr("torch.cuda.is_available", lambda: gpu)
    monkeypatch.setattr("torch.cuda.mem_get_info", lambda: (80 * 10**9, 80 * 10**9))
    form = ModelForm(frame_size=(128, 64))
    (name, about), *_ = examine(str(helios_folder), form, precision, fetched_later=False).rows
    assert name == "checkpoint"
    assert about.endswith(said)
