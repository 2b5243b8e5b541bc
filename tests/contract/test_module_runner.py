"""One suite over every ModuleRunner: onnxruntime and TensorRT over exported files, torch over the modules of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import RunnerError
from model.runners.base import ModuleRunner, TensorSignature, is_frozen

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


def graphs() -> dict[str, Any]:
    from model.runners.torch import TorchGraph

    class Mix(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = torch.nn.Conv2d(3, 4, 3, padding=1)

        def forward(self, image: Any, offset: Any, *memory: Any) -> tuple[Any, ...]:
            x = self.conv(image) + offset.to(image.dtype)
            return ((x.clamp(0, 1) * 255).to(torch.uint8), *(m + x.mean() for m in memory))

    class Look(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.words = torch.nn.Embedding(9, 5)

        def forward(self, tokens: Any) -> Any:
            return self.words(tokens)

    torch.manual_seed(1)
    return {
        "mix": TorchGraph(
            module=Mix().eval(),
            inputs={
                "image": torch.randn(2, 3, 5, 6), "offset": torch.tensor([1]), "memory_0": torch.randn(1, 2),
                "memory_1": torch.randn(3),
            },
            outputs=("pixels", "next_memory_0", "next_memory_1"),
            dynamic_axes={"image": {2: "height", 3: "width"}},
        ),
        "look": TorchGraph(
            module=Look().eval(), inputs={"tokens": torch.tensor([[1, 2, 3]])}, outputs=("embeddings",), dynamic_axes={}
        ),
    }  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("onnxscript")
    from trt_build.export import export_graph

    folder = tmp_path_factory.mktemp("graphs")
    for name, graph in graphs().items():
        export_graph(graph, folder / f"{name}.onnx")
    return folder


def ort_runner(folder: Path) -> ModuleRunner:
    from model.runners.onnxruntime import OrtRunner

    return OrtRunner(folder, threads=1)


def torch_runner(folder: Path) -> ModuleRunner:
    from model.runners.torch import TorchRunner

    return TorchRunner(graphs())


def static_runner(folder: Path) -> ModuleRunner:
    from model.runners.cuda_graph import CudaGraphRunner

    return CudaGraphRunner(graphs(), background=("look",))


def cuda_runner(folder: Path) -> ModuleRunner:
    from model.runners.cuda_graph import CudaGraphRunner

    return CudaGraphRunner(graphs(), device="cuda", background=("look",))


def tensorrt_runner(folder: Path) -> ModuleRunner:
    """The real one, where there is a GPU and TensorRT."""
    pytest.importorskip("tensorrt", reason="TensorRT is not installed")
    from model.runners.cuda import CudaDevice

    return _built_and_opened(folder, CudaDevice())


def fake_tensorrt_runner(folder: Path) -> ModuleRunner:
    """Our half alone: TensorRT and the GPU are fakes that compute with onnxruntime."""
    from tests.tensorrt_api.fake_device import FakeDevice

    return _built_and_opened(folder, FakeDevice())


def _built_and_opened(folder: Path, device: Any) -> ModuleRunner:
    from model.runners.tensorrt import PlanFile, TrtRunner
    from trt_build.build import BuildOptions, build_plan
    from trt_build.manifest import Profile, ShapeRange

    image = ShapeRange(min=(2, 3, 1, 1), opt=(2, 3, 5, 6), max=(2, 3, 9, 9))
    profiles = {"mix": (Profile(name="sizes", shapes={"image": image}),), "look": ()}
    plans = {}
    for name, of_graph in profiles.items():
        path = folder / f"{name}.plan"
        path.write_bytes(memoryview(build_plan(folder / f"{name}.onnx", of_graph, BuildOptions())))
        plans[name] = PlanFile(path=path)
    return TrtRunner(plans, device)


@pytest.fixture(
    params=[
        ort_runner, torch_runner, static_runner, pytest.param(cuda_runner, marks=pytest.mark.gpu), fake_tensorrt_runner,
        pytest.param(tensorrt_runner, marks=[pytest.mark.gpu, pytest.mark.pycuda]),
    ],
    ids=["onnxruntime", "torch", "static", "static-cuda", "tensorrt-fake", "tensorrt"],
)  # fmt: skip
def runner(request: pytest.FixtureRequest, folder: Path) -> Iterator[ModuleRunner]:
    make: Callable[[Path], ModuleRunner] = request.param
    if make is fake_tensorrt_runner:
        request.getfixturevalue("tensorrt_world")
    made = make(folder)
    yield made
    made.close()


def inputs(height: int = 5, width: int = 6) -> dict[str, Any]:
    rng = np.random.default_rng(height)
    return {
        "image": rng.standard_normal((2, 3, height, width)).astype(np.float32), "offset": np.array([0]),
        "memory_0": np.ones((1, 2), np.float32), "memory_1": np.zeros(3, np.float32),
    }  # fmt: skip


def test_signatures_name_inputs_in_order_with_dtypes_and_varying_lengths(runner: ModuleRunner) -> None:
    mix = runner.graphs["mix"]
    assert dict(mix.inputs) == {
        "image": TensorSignature("float32", (2, 3, None, None)), "offset": TensorSignature("int64", (1,)),
        "memory_0": TensorSignature("float32", (1, 2)), "memory_1": TensorSignature("float32", (3,)),
    }  # fmt: skip
    assert [(name, output.dtype) for name, output in mix.outputs.items()] == [
        ("pixels", "uint8"), ("next_memory_0", "float32"), ("next_memory_1", "float32"),
    ]  # fmt: skip
    assert dict(runner.graphs["look"].outputs) == {"embeddings": TensorSignature("float32", (1, 3, 5))}


@pytest.mark.parametrize("size", [(5, 6), (1, 9)])
def test_outputs_are_the_modules_at_every_size(runner: ModuleRunner, size: tuple[int, int]) -> None:
    given = inputs(*size)
    wanted = graphs()["mix"].run({name: torch.from_numpy(array) for name, array in given.items()})
    outputs = runner.run("mix", given)
    assert list(outputs) == list(wanted)
    assert np.abs(outputs["pixels"].astype(int) - wanted["pixels"].numpy().astype(int)).max() <= 1
    np.testing.assert_allclose(outputs["next_memory_0"], wanted["next_memory_0"].numpy(), atol=1e-5)


def test_outputs_belong_to_the_caller(runner: ModuleRunner) -> None:
    first = runner.run("mix", inputs())
    kept = {name: array.copy() for name, array in first.items()}
    runner.run("mix", {**inputs(), "offset": np.array([3])})
    for name, array in kept.items():
        np.testing.assert_array_equal(first[name], array)


def test_inputs_may_be_any_view_and_are_only_read(runner: ModuleRunner) -> None:
    given = inputs()
    sheared = given["image"].transpose(0, 1, 3, 2).copy().transpose(0, 1, 3, 2)
    assert not sheared.flags.c_contiguous
    sheared.flags.writeable = False
    np.testing.assert_array_equal(
        runner.run("mix", {**given, "image": sheared})["pixels"], runner.run("mix", given)["pixels"]
    )


def test_an_input_that_changes_between_two_runs_is_read_again_frozen_or_not(runner: ModuleRunner) -> None:
    given = inputs()
    images = [given["image"], given["image"] + 1]
    wanted = [runner.run("mix", {**given, "image": image})["pixels"] for image in images]
    assert not np.array_equal(*wanted)
    frozen = [image.copy() for image in images]
    for image in frozen:
        image.flags.writeable = False
    reused, looked_at = images[0].copy(), images[0].copy()
    view = looked_at[:]
    view.flags.writeable = False

    def check(image: Any, index: int) -> None:
        np.testing.assert_array_equal(runner.run("mix", {**given, "image": image})["pixels"], wanted[index])

    for changing, of in ((reused, reused), (view, looked_at)):
        for index in (0, 1, 1, 0):  # the same array, other numbers
            of[:] = images[index]
            check(changing, index)
    for index in (0, 0, 1, 0):
        check(frozen[index], index)
    reused[:] = images[1]
    check(reused, 1)  # between two runs of the same frozen one
    check(frozen[0], 0)


def test_a_frozen_input_stays_right_while_another_changes_its_shape(runner: ModuleRunner) -> None:
    """Whatever a runner makes for each shape must not each remember what is in a place that they share."""
    offsets = [np.array([number]) for number in (0, 2)]
    for offset in offsets:
        offset.flags.writeable = False
    wanted = {
        (size, index): runner.run("mix", {**inputs(*size), "offset": np.array(offset)})["pixels"]
        for size in ((5, 6), (1, 9))
        for index, offset in enumerate(offsets)
    }
    for size, index in [((5, 6), 0), ((1, 9), 1), ((5, 6), 0), ((1, 9), 0), ((5, 6), 1), ((1, 9), 1)]:
        got = runner.run("mix", {**inputs(*size), "offset": offsets[index]})["pixels"]
        np.testing.assert_array_equal(got, wanted[size, index])


def test_frozen_is_what_nothing_it_is_a_view_of_can_be_written_through() -> None:
    owner = np.zeros(4)
    view, foreign = owner[1:], np.frombuffer(bytearray(8), np.uint8)
    assert not is_frozen(owner)
    view.flags.writeable = foreign.flags.writeable = False
    assert not is_frozen(view)
    assert not is_frozen(foreign)  # a bytearray can be written
    owner.flags.writeable = False
    assert is_frozen(owner)
    assert is_frozen(view)
    assert is_frozen(owner[::2].reshape(2, 1))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"image": np.zeros((2, 3, 5, 6), np.float64)}, r"'image' must be float32\(2, 3, any, any\), got float64"),
        ({"image": np.zeros((2, 4, 5, 6), np.float32)}, r"got float32\(2, 4, 5, 6\)"),
        ({"image": np.zeros((3, 5, 6), np.float32)}, r"got float32\(3, 5, 6\)"),
        ({"offset": np.array([1], np.int32)}, "'offset' must be int64"),
        ({"colour": np.zeros(1)}, "no input 'colour'; it takes image, offset, memory_0, memory_1"),
    ],
)
def test_a_wrong_input_is_refused_with_got_and_expected(
    runner: ModuleRunner, change: dict[str, Any], named: str
) -> None:
    with pytest.raises(RunnerError, match=named):
        runner.run("mix", {**inputs(), **change})


def test_a_missing_input_is_refused_by_name(runner: ModuleRunner) -> None:
    given = inputs()
    del given["offset"]
    with pytest.raises(RunnerError, match="input offset is missing"):
        runner.run("mix", given)


def test_an_unknown_graph_is_refused_by_name(runner: ModuleRunner) -> None:
    with pytest.raises(RunnerError, match="no graph named 'paint'; this model has look, mix"):
        runner.run("paint", {})


def test_a_bound_input_is_used_and_no_longer_taken(runner: ModuleRunner) -> None:
    given = inputs()
    wanted = runner.run("mix", {**given, "offset": np.array([2])})["pixels"]
    offset = np.array([2])
    runner.bind_constant("mix", "offset", offset)
    offset[0] = 0  # the runner keeps what was bound
    with pytest.raises(RunnerError, match="'offset' is bound"):
        runner.run("mix", given)
    del given["offset"]
    np.testing.assert_array_equal(runner.run("mix", given)["pixels"], wanted)
    with pytest.raises(RunnerError, match="'offset' must be int64"):
        runner.bind_constant("mix", "offset", np.array([1.0]))


def test_a_failure_inside_a_graph_is_a_runner_error(runner: ModuleRunner, request: pytest.FixtureRequest) -> None:
    if request.node.get_closest_marker("gpu"):
        pytest.skip("an index out of range ends a process's CUDA context, and with it all tests after this one")
    with pytest.raises(RunnerError, match=r"look: .* failed"):
        runner.run("look", {"tokens": np.array([[1, 2, 99]])})


def test_a_closed_runner_refuses_to_run(runner: ModuleRunner) -> None:
    runner.close()
    with pytest.raises(RunnerError):
        runner.run("mix", inputs())


def test_a_folder_without_graphs_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RunnerError, match=r"no \*\.onnx file"):
        ort_runner(tmp_path)


def test_a_broken_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "mix.onnx").write_bytes(b"not a graph")
    with pytest.raises(RunnerError, match=r"mix\.onnx does not load"):
        ort_runner(tmp_path)
