"""A chunk's decoders on the TensorRT runner beside the other graphs; TensorRT and the device are fakes."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("onnx")
from model.errors import RunnerError
from model.runners.base import OverlappingRunner, TensorSignature
from tests.tensorrt_api.exports import write_chunk_decoder, write_export
from tests.tensorrt_api.fake_device import FakeDevice
from trt_build.cache import EngineCache
from trt_build.key import BuildEnvironment

HERE = BuildEnvironment(tensorrt="11.4.0", gpu="NVIDIA H100", compute_capability="9.0", driver="580.65.06")


@pytest.fixture
def decoding(tensorrt_world: Any, tmp_path: Path) -> tuple[Any, FakeDevice]:
    """A runner with a chunk's two decoders beside the small graphs, and its device.

    Each run adds its latents to the memory, whole numbers of which are its frames; `decoder_first` starts anew.
    """
    from model.runners.tensorrt import PlanFile, TrtRunner
    from trt_build.build import BuildOptions, build_model

    device, plans = FakeDevice(), {}
    for folder in (write_export(tmp_path / "export"), write_chunk_decoder(tmp_path / "decoder")):
        entries = build_model(folder, EngineCache(tmp_path / "engines"), HERE, BuildOptions(), out=io.StringIO())
        plans |= {entry.key.graph_name: PlanFile(path=entry.plan) for entry in entries}
    return TrtRunner(plans, device), device


def latents(value: float) -> dict[str, Any]:
    return {"latents": np.full((1, 3, 1, 2, 2), value, np.float32)}


def begin_chunk(runner: Any, *values: float) -> list[Any]:
    return [runner.start("decoder" if index else "decoder_first", latents(x)) for index, x in enumerate(values)]


def shown(pending: Any) -> float:
    return float(pending.result()["frames"].flat[0])


def test_a_chunk_decoders_memory_stays_on_the_gpu(decoding: tuple[Any, FakeDevice]) -> None:
    """Nothing of it is ever copied."""
    runner, device = decoding
    for name in ("decoder_first", "decoder"):
        assert dict(runner.graphs[name].inputs) == {"latents": TensorSignature("float32", (1, 3, 1, 2, 2))}
        assert dict(runner.graphs[name].outputs) == {"frames": TensorSignature("uint8", (1, 3, 1, 2, 2))}

    def decoded(graph: str, value: float) -> float:
        device.log.clear()
        frames = runner.run(graph, latents(value))["frames"]
        assert device.log.count("upload 48") == device.log.count("download 12") == 1
        assert frames.shape == (1, 3, 1, 2, 2)
        return float(frames.flat[0])

    for _ in range(2):
        assert decoded("decoder_first", 7.0) == 7
        assert decoded("decoder", 0.5) == 7  # 7.5
        assert decoded("decoder", 0.5) == 8
        assert decoded("decoder", 0.75) == 8  # 8.75


def test_a_chunk_is_decoded_beside_the_other_graphs_without_a_wait(decoding: tuple[Any, FakeDevice]) -> None:
    runner, device = decoding
    assert isinstance(runner, OverlappingRunner)
    main, decoders = device.queues
    begin_chunk(runner, 0.0, 0.0)
    decoders.log.clear()
    begun = begin_chunk(runner, 7.0, 0.5, 0.5, 0.75)
    assert not any(pending.ready() for pending in begun)
    given = {"x": np.ones((3, 2), np.float32), "offset": np.full((1, 2), 4, np.float32)}
    np.testing.assert_array_equal(runner.run("scale", given)["y"], np.full((3, 2), 6))
    assert decoders.log == ["upload 48", "execute", "download 12"] * 4
    assert "wait" in main.log
    assert shown(begun[1]) == 7  # 7.5; the first two are done, not the others
    assert [pending.ready() for pending in begun] == [True, True, False, False]
    assert [shown(pending) for pending in reversed(begun)] == [8, 8, 7, 7]
    assert [line for line in device.log if line.endswith("compute in")] == [
        "allocate what scale, words compute in", "allocate what decoder_first, decoder compute in",
    ]  # fmt: skip


def test_a_chunk_may_be_begun_before_the_one_before_is_fetched(decoding: tuple[Any, FakeDevice]) -> None:
    runner, _ = decoding
    first, second = begin_chunk(runner, 1.0, 2.0, 3.0), begin_chunk(runner, 10.0, 20.0)
    assert [shown(pending) for pending in second] == [10, 30]
    assert [shown(pending) for pending in first] == [1, 3, 6]


def test_outputs_may_be_fetched_on_any_thread_and_again(decoding: tuple[Any, FakeDevice]) -> None:
    runner, _ = decoding
    (pending,) = begin_chunk(runner, 5.0)
    with ThreadPoolExecutor(1) as pool:
        fetched = pool.submit(pending.result).result()["frames"]
    assert float(fetched.flat[0]) == shown(pending) == 5


def test_staging_is_used_again_also_where_nobody_fetched_what_it_held(decoding: tuple[Any, FakeDevice]) -> None:
    runner, device = decoding
    for _ in range(3):
        assert [shown(pending) for pending in begin_chunk(runner, 1.0, 1.0, 1.0)] == [1, 2, 3]
    made = device.pieces_of_staging
    fetched = []
    for value in range(20):
        fetched.append(begin_chunk(runner, float(value), 1.0))  # still held when the next chunk is begun
        assert [shown(pending) for pending in fetched[-1]] == [value, value + 1]
    assert device.pieces_of_staging == made
    for value in range(20):
        begin_chunk(runner, 9.0, 9.0, 9.0)  # dropped
        assert [shown(pending) for pending in begin_chunk(runner, float(value), 1.0)] == [value, value + 1]
    assert device.pieces_of_staging <= made + 10  # two chunks were under way at once, not one


def test_a_fault_beside_comes_out_of_who_waits_for_it(decoding: tuple[Any, FakeDevice]) -> None:
    runner, device = decoding
    (pending,) = begin_chunk(runner, 5.0)
    device.fault = "the GPU failed"
    with pytest.raises(RunnerError, match="decoder_first: the GPU failed"):
        pending.result()


def test_closing_waits_for_what_was_begun_and_its_outputs_are_refused(decoding: tuple[Any, FakeDevice]) -> None:
    runner, device = decoding
    begun = begin_chunk(runner, 5.0, 1.0)
    runner.close()
    assert device.queues[1].log[-1] == "wait"
    with pytest.raises(RunnerError, match="decoder: this GPU was closed"):
        begun[1].result()
