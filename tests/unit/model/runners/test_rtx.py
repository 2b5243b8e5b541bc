"""TensorRT-RTX behind onnxruntime: what the provider is told, and what is said where it cannot run.

The provider here is a stand-in whose "card" is onnxruntime's CPU; only onnxruntime is real.
"""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnxruntime
import pytest

pytest.importorskip("onnx")
from model.errors import RunnerError
from tests.tensorrt_api.exports import write_export

NAME = "NvTensorRTRTXExecutionProvider"


@pytest.fixture
def rtx(monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module over the stand-in; `registered`, `cards` and `told` are what the test may look at and change."""
    stand_in = SimpleNamespace(
        __version__="0.5.0", get_ep_name=lambda: NAME, get_library_path=lambda: "/rtx.so",
        registered=[], cards=[SimpleNamespace(ep_name=NAME), SimpleNamespace(ep_name=NAME)], told=[], error=None,
    )  # fmt: skip

    def register(name: str, path: str) -> None:
        if stand_in.error:
            raise stand_in.error
        stand_in.registered.append((name, path))

    def add(self: Any, devices: Any, settings: dict[str, str]) -> None:
        stand_in.told.append((len(devices), settings))

    others = [SimpleNamespace(ep_name="CPUExecutionProvider")]
    monkeypatch.setitem(sys.modules, "onnxruntime_ep_nv_tensorrt_rtx", stand_in)
    monkeypatch.setattr(onnxruntime, "register_execution_provider_library", register)
    monkeypatch.setattr(
        onnxruntime, "get_ep_devices", lambda: [*others, *(stand_in.cards if stand_in.registered else [])]
    )
    monkeypatch.setattr(onnxruntime.SessionOptions, "add_provider_for_devices", add)
    sys.modules.pop("model.runners.rtx", None)
    yield SimpleNamespace(module=importlib.import_module("model.runners.rtx"), provider=stand_in)
    sys.modules.pop("model.runners.rtx", None)


def test_every_graph_goes_to_one_card_with_its_engines_kept(rtx: Any, tmp_path: Path) -> None:
    folder = write_export(tmp_path / "export")
    runner = rtx.module.rtx_runner(folder, threads=1, cache=tmp_path / "cache")
    (first, settings), second = rtx.provider.told
    assert (first, second) == (1, (1, settings))
    assert Path(settings["nv_runtime_cache_path"]).is_dir()
    given = {"x": np.ones((3, 2), np.float32), "offset": np.zeros((1, 2), np.float32)}
    np.testing.assert_array_equal(runner.run("scale", given)["y"], given["x"] * 2)


def test_engines_of_another_export_or_provider_lie_elsewhere(rtx: Any, tmp_path: Path) -> None:
    places = set()
    for weight, version in ((2.0, "0.5.0"), (3.0, "0.5.0"), (3.0, "0.6.0"), (3.0, "0.6.0")):
        rtx.provider.__version__ = version
        folder = write_export(tmp_path / str(weight), weight=weight)
        rtx.module.rtx_runner(folder, threads=1, cache=tmp_path / "cache")
        places.add(rtx.provider.told[-1][1]["nv_runtime_cache_path"])
    assert len(places) == 3
    assert len(rtx.provider.registered) == 1  # registering twice is an error in onnxruntime


def test_a_machine_without_such_a_card_says_which_it_needs(rtx: Any, tmp_path: Path) -> None:
    rtx.provider.cards = []
    with pytest.raises(RunnerError, match=r"finds no card here; .*RTX 30, 40, 50.*--runner tensorrt"):
        rtx.module.rtx_runner(tmp_path, threads=1, cache=tmp_path)


def test_a_machine_without_a_driver_says_so(rtx: Any, tmp_path: Path) -> None:
    rtx.provider.error = onnxruntime.capi.onnxruntime_pybind11_state.Fail("libcuda.so.1: cannot open")
    with pytest.raises(RunnerError, match=r"does not start \(libcuda\.so\.1: cannot open\); it needs an NVIDIA driver"):
        rtx.module.rtx_runner(tmp_path, threads=1, cache=tmp_path)
