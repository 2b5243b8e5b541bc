"""The TensorRT runner over a fake TensorRT and a device in host memory: buffers, order of work, profiles, failures."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from model.errors import RunnerError
from model.runners.base import TensorSignature
from tests.tensorrt_api.exports import write_chunk_decoder, write_export
from tests.tensorrt_api.fake_device import IDENTITY, FakeDevice
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment

HERE = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")


@pytest.fixture
def open_runner(tensorrt_world: Any, tmp_path: Path) -> Callable[..., Any]:
    """Builds two small graphs and opens them. Keyword arguments are build options, `device` and `change_plan`."""
    folder, cache = write_export(tmp_path / "export"), EngineCache(tmp_path / "engines")

    def run(
        device: FakeDevice | None = None, change_plan: Callable[[Path], object] | None = None, **options: Any
    ) -> Any:
        from trt_build.build import BuildOptions, build_model
        from trt_build.serving import opened

        entries = {
            entry.key.graph_name: entry
            for entry in build_model(folder, cache, HERE, BuildOptions(**options), out=io.StringIO())
        }
        if change_plan is not None:
            change_plan(entries["scale"].plan)
        return opened(folder, entries, device or FakeDevice())

    return run


def scaled(rows: int, offset: float = 1.0) -> dict[str, Any]:
    return {
        "x": np.arange(rows * 2, dtype=np.float32).reshape(rows, 2), "offset": np.full((1, 2), offset, np.float32)
    }  # fmt: skip


def test_it_computes_what_the_graph_says_at_every_size_of_every_profile(open_runner: Callable[..., Any]) -> None:
    runner = open_runner()
    for rows in (1, 4, 5, 9, 3, 6, 2):
        given = scaled(rows)
        np.testing.assert_array_equal(runner.run("scale", given)["y"], given["x"] * 2 + 1)
    np.testing.assert_array_equal(runner.run("words", {"tokens": np.array([0, 4, 1])})["embeddings"][1], [8, 9])
    assert runner.graphs["scale"].inputs["x"] == TensorSignature("float32", (None, 2))


def test_buffers_are_made_when_it_is_opened_and_never_again(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    made = [line for line in device.log if line.startswith("allocate")]
    assert made == [
        "allocate what scale, words compute in", "allocate scale's x", "allocate scale's offset", "allocate scale's y",
        "allocate words's tokens", "allocate words's embeddings",
    ]  # fmt: skip
    for rows in (1, 9, 4):
        runner.run("scale", scaled(rows))
    assert [line for line in device.log if line.startswith("allocate")] == made


def test_a_run_waits_once_at_its_end_also_when_the_profile_changes(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    runner.run("scale", scaled(2))
    device.log.clear()
    runner.run("scale", scaled(7))
    assert device.log == ["profile 1", "upload 56", "upload 8", "execute", "download 56", "wait"]
    device.log.clear()
    runner.run("scale", scaled(8))
    assert device.log == ["upload 64", "upload 8", "execute", "download 64", "wait"]


def test_a_constant_is_uploaded_once_and_outlives_profile_changes(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    runner.bind_constant("scale", "offset", np.full((1, 2), 5, np.float32))
    for rows in (2, 7, 3):
        device.log.clear()
        x = scaled(rows)["x"]
        np.testing.assert_array_equal(runner.run("scale", {"x": x})["y"], x * 2 + 5)
        assert [line for line in device.log if line.startswith("upload")] == [f"upload {x.nbytes}"]


def test_a_frozen_input_is_uploaded_once_until_another_comes(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    given = scaled(2, offset=5.0)
    given["offset"].flags.writeable = False
    for rows in (2, 7, 3):  # of both profiles
        device.log.clear()
        x = scaled(rows)["x"]
        np.testing.assert_array_equal(runner.run("scale", {**given, "x": x})["y"], x * 2 + 5)
        uploads = [line for line in device.log if line.startswith("upload")]
        assert uploads == [f"upload {x.nbytes}", *["upload 8"] * (rows == 2)]
    np.testing.assert_array_equal(runner.run("scale", scaled(2))["y"], scaled(2)["x"] * 2 + 1)
    np.testing.assert_array_equal(runner.run("scale", given)["y"], given["x"] * 2 + 5)


def test_a_run_without_room_for_its_outputs_has_not_run(
    open_runner: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    make = device.staging

    def refuse(nbytes: int, *, what: str) -> Any:
        if what == "scale's y":
            raise RunnerError(f"no page-locked memory for {what}")
        return make(nbytes, what=what)

    with monkeypatch.context() as patch:
        patch.setattr(device, "staging", refuse)
        with pytest.raises(RunnerError, match="no page-locked memory for scale's y"):
            runner.start("scale", scaled(2))
    assert "execute" not in device.log
    np.testing.assert_array_equal(runner.run("scale", scaled(2))["y"], scaled(2)["x"] * 2 + 1)


def test_a_size_that_no_profile_has_is_refused_with_what_there_is(open_runner: Callable[..., Any]) -> None:
    runner = open_runner()
    with pytest.raises(RunnerError, match=r"built for x \(1, 2\)\.\.\(4, 2\); x \(5, 2\)\.\.\(9, 2\); got .*\(10, 2\)"):
        runner.run("scale", scaled(10))
    with pytest.raises(RunnerError, match="no profile of the plan admits x"):
        runner.bind_constant("scale", "x", np.zeros((99, 2), np.float32))
    given = scaled(4)
    np.testing.assert_array_equal(runner.run("scale", given)["y"], given["x"] * 2 + 1)


def test_a_stripped_plan_takes_its_weights_from_the_export(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device, strip=True)
    assert device.log.count("refit") == 2
    given = scaled(3)
    np.testing.assert_array_equal(runner.run("scale", given)["y"], given["x"] * 2 + 1)


def test_weights_stream_with_the_budget_that_tensorrt_proposes(open_runner: Callable[..., Any]) -> None:
    runner = open_runner(weight_streaming=True)
    engine = runner._graphs["scale"].plan.engine
    assert engine.weight_streaming_budget_v2 == engine.get_weight_streaming_automatic_budget()
    assert (
        open_runner(weight_streaming=False, rebuild=True)._graphs["scale"].plan.engine.weight_streaming_budget_v2 == 0
    )


@pytest.mark.parametrize(
    ("step", "options", "said"),
    [
        ("runtime", {}, "loading: TensorRT failed: .*nullptr"),
        ("context", {}, "makes no execution context"),
        ("host tensor", {}, "'x' is read on the host"),
        ("output size", {}, "refuses to say how large y gets"),
        ("set profile", {}, "refuses profile 0"),
        ("set shape", {}, "refuses the shape of x"),
        ("refit file", {"strip": True}, "takes no weights from .*scale.onnx .weights of another model"),
        ("missing weights", {"strip": True}, r"lacks weights of the plan \(blocks\.0\.weight\)"),
        ("refit", {"strip": True}, "could not set the weights"),
    ],
)
def test_a_plan_that_does_not_open_says_why_and_frees_the_gpu(
    open_runner: Callable[..., Any], tensorrt_world: Any, step: str, options: dict[str, Any], said: str
) -> None:
    device = FakeDevice()
    with pytest.raises(RunnerError, match=said):
        open_runner(device, lambda _: setattr(tensorrt_world, "fail", step), **options)
    assert device.closed


@pytest.mark.parametrize(
    ("step", "said"),
    [
        ("set address", "refuses the address of x"),
        ("infer", "shape inference failed"),
        ("execute", "scale: TensorRT failed: no reason given; restart the engine"),
    ],
)
def test_a_run_that_fails_says_why(open_runner: Callable[..., Any], tensorrt_world: Any, step: str, said: str) -> None:
    runner = open_runner()
    tensorrt_world.fail = step
    with pytest.raises(RunnerError, match=said):
        runner.run("scale", scaled(2))


def test_a_gpu_fault_comes_out_of_the_run_that_waited(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    device.fault = "an illegal address; restart the engine"
    with pytest.raises(RunnerError, match="illegal address"):
        runner.run("scale", scaled(2))


def test_a_plan_of_another_gpu_is_to_be_rebuilt(open_runner: Callable[..., Any], tensorrt_world: Any) -> None:
    with pytest.raises(
        RunnerError, match=r"NVIDIA H100 \(compute capability 9\.0\) refuses .*mismatch.*trt_build build"
    ):
        open_runner(change_plan=lambda _: setattr(tensorrt_world, "gpu", "L4"))


@pytest.mark.parametrize(
    ("change", "said"),
    [(lambda path: path.unlink(), "cannot be read"), (lambda path: path.write_bytes(b""), "is empty")],
    ids=["gone", "empty"],
)
def test_a_plan_file_that_is_gone_or_empty_is_told(
    open_runner: Callable[..., Any], change: Callable[[Path], object], said: str
) -> None:
    with pytest.raises(RunnerError, match=f"scale: the plan .*{said}"):
        open_runner(change_plan=change)


def test_out_of_memory_says_how_much_is_missing(open_runner: Callable[..., Any]) -> None:
    small = FakeDevice(replace(IDENTITY, total_bytes=100))
    with pytest.raises(
        RunnerError, match=r"out of GPU memory: scale's plan needs .* are missing; .*--weight-streaming"
    ):
        open_runner(small)
    smaller = FakeDevice(replace(IDENTITY, total_bytes=4000))
    with pytest.raises(RunnerError, match=r"out of GPU memory: what scale, words compute in needs 0\.0 MB"):
        open_runner(smaller)
    assert smaller.closed


def test_a_closed_runner_refuses_and_closes_again_without_harm(open_runner: Callable[..., Any]) -> None:
    device = FakeDevice()
    runner = open_runner(device)
    runner.close()
    runner.close()
    assert device.closed
    with pytest.raises(RunnerError, match="no graph named 'scale'"):
        runner.run("scale", scaled(2))


def test_a_comparison_sees_the_decoders_memory(tensorrt_world: Any, tmp_path: Path) -> None:
    """`verify` gives it and asks for it, as it does of the graph on every other runtime."""
    from trt_build.build import BuildOptions, build_model
    from trt_build.serving import open_if_built

    folder, cache = write_chunk_decoder(tmp_path / "export"), EngineCache(tmp_path / "engines")
    build_model(folder, cache, HERE, BuildOptions(), out=io.StringIO())
    runner = open_if_built(folder, HERE, cache, FakeDevice())
    assert runner is not None
    latents, memory = (np.full((1, 3, 1, 2, 2), value, np.float32) for value in (5.5, -2.0))
    given = runner.run("decoder", {"latents": latents, "memory_0": memory})
    assert {name: float(array.flat[0]) for name, array in given.items()} == {"frames": 3.0, "next_memory_0": 3.5}
    assert list(runner.run("decoder_first", {"latents": latents})) == ["frames", "next_memory_0"]
