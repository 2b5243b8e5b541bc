"""What a static runner does beyond the contract: one graph a shape, prompts kept, work under way while others run."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from model.errors import RunnerError
from model.runners.base import started

torch = pytest.importorskip("torch")
pytestmark = pytest.mark.torch


class Counting(torch.nn.Module):  # type: ignore[misc]  # torch is Any to a skipped import
    """Doubles the sample and adds what the prompt was made to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, sample: Any, prompt_sum: Any) -> Any:
        self.calls += 1
        return sample * 2 + prompt_sum


class Prompt(torch.nn.Module):  # type: ignore[misc]
    def __init__(self) -> None:
        super().__init__()
        self.calls = 0

    def forward(self, prompt: Any) -> Any:
        self.calls += 1
        return prompt.sum(dim=1)


class Made:
    """A static runner over one graph, and its modules."""

    def __init__(self, device: str) -> None:
        from model.runners.cuda_graph import CudaGraphRunner
        from model.runners.torch import Kept, TorchGraph

        self.module, self.prompt = Counting(), Prompt()
        graph = TorchGraph(
            module=self.module, inputs={"sample": torch.zeros(1, 3), "prompt": torch.zeros(1, 4)}, outputs=("sum",),
            dynamic_axes={"sample": {1: "width"}}, kept=Kept(inputs=("prompt",), module=self.prompt),
        )  # fmt: skip
        self.runner = CudaGraphRunner({"sum": graph}, device=device)
        self.module.calls = self.prompt.calls = 0

    def run(self, sample: list[float], prompt: list[float]) -> list[float]:
        given = {"sample": np.array([sample], np.float32), "prompt": np.array([prompt], np.float32)}
        values: list[float] = self.runner.run("sum", given)["sum"][0].tolist()
        return values


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def made(request: pytest.FixtureRequest) -> Iterator[Made]:
    made = Made(request.param)
    yield made
    made.runner.close()


def test_what_depends_on_the_prompt_is_made_once_for_each_prompt(made: Made) -> None:
    assert made.run([1, 2, 3], [1, 1, 1, 1]) == [6, 8, 10]
    assert made.run([1, 2, 4], [1, 1, 1, 1]) == [6, 8, 12]
    assert made.prompt.calls == 1
    assert made.run([1, 2, 3], [0, 0, 0, 1]) == [3, 5, 7]
    assert made.run([1, 2, 3], [1, 1, 1, 1]) == [6, 8, 10]  # the first prompt again, from what was kept
    assert made.prompt.calls == 2


def test_prompts_that_were_not_used_for_long_are_made_again(made: Made) -> None:
    for value in range(6):
        made.run([0], [value, 0, 0, 0])
    assert made.prompt.calls == 6
    assert made.run([0], [5, 0, 0, 0]) == [5]
    assert made.prompt.calls == 6
    assert made.run([0], [0, 0, 0, 0]) == [0]
    assert made.prompt.calls == 7


def test_a_prompt_changed_in_place_is_noticed(made: Made) -> None:
    given = {"sample": np.zeros((1, 1), np.float32), "prompt": np.ones((1, 4), np.float32)}
    assert made.runner.run("sum", given)["sum"].tolist() == [[4]]
    given["prompt"][:] = 2
    assert made.runner.run("sum", given)["sum"].tolist() == [[8]]


def frozen(*values: float) -> Any:
    array = np.array([values], np.float32)
    array.flags.writeable = False
    return array


def change(array: Any, value: float) -> None:
    """What whoever froze it promised not to do: it shows whether somebody reads it again."""
    array.flags.writeable = True
    array[:] = value
    array.flags.writeable = False


def test_a_frozen_input_is_read_once_and_a_frozen_prompt_compared_once(made: Made) -> None:
    sample, prompt = frozen(1, 2), frozen(1, 1, 1, 1)

    def run(**changes: Any) -> list[float]:
        values: list[float] = made.runner.run("sum", {"sample": sample, "prompt": prompt, **changes})["sum"][0].tolist()
        return values

    for _ in range(2):
        assert run() == [6, 8]
    change(sample, 7)
    change(prompt, 0)
    assert run() == [6, 8]
    assert run(sample=frozen(1, 2, 3)) == [6, 8, 10]  # another width, whose buffer is another
    assert run() == [6, 8]
    assert run(sample=np.array([[3, 3]], np.float32)) == [10, 10]
    assert run() == [18, 18]  # the buffer was another's in between
    assert made.prompt.calls == 1
    assert run(prompt=np.array([[2, 0, 0, 0]], np.float32)) == [16, 16]
    assert run() == [14, 14]


def test_a_frozen_prompt_whose_making_failed_is_made_when_it_comes_again(
    made: Made, monkeypatch: pytest.MonkeyPatch
) -> None:
    made.run([1], [1, 1, 1, 1])
    given = {"sample": frozen(1), "prompt": frozen(2, 2, 2, 2)}

    def fail(*_: Any, **__: Any) -> Any:
        raise RuntimeError("out of memory")

    with monkeypatch.context() as patch:
        patch.setattr(torch.Tensor, "copy_", fail)
        with pytest.raises(RunnerError, match="out of memory"):
            made.runner.run("sum", given)
    assert made.runner.run("sum", given)["sum"].item() == 10


def test_every_width_has_its_own_graph_and_returns_to_it(made: Made) -> None:
    for _ in range(2):
        assert made.run([1], [0, 0, 0, 0]) == [2]
        assert made.run([1, 5], [0, 0, 0, 0]) == [2, 10]


def test_work_that_was_started_is_not_changed_by_what_comes_after(made: Made) -> None:
    given = {"sample": np.ones((1, 3), np.float32), "prompt": np.zeros((1, 4), np.float32)}
    first = started(made.runner, "sum", given)
    given["sample"][:] = 10
    second = started(made.runner, "sum", given)
    assert second.result()["sum"].tolist() == [[20, 20, 20]]
    assert first.result()["sum"].tolist() == [[2, 2, 2]]
    assert first.ready()


def test_starting_on_a_runner_that_cannot_overlap_is_running() -> None:
    from model.runners.torch import TorchGraph, TorchRunner

    graph = TorchGraph(module=torch.nn.ReLU(), inputs={"x": torch.zeros(2)}, outputs=("y",), dynamic_axes={})
    pending = started(TorchRunner({"relu": graph}), "relu", {"x": np.array([-1, 1], np.float32)})
    assert pending.ready()
    assert pending.result()["y"].tolist() == [0, 1]


def test_wrong_inputs_are_refused_when_work_is_started(made: Made) -> None:
    with pytest.raises(RunnerError, match="input prompt is missing"):
        made.runner.start("sum", {"sample": np.zeros((1, 3), np.float32)})


def test_on_a_cpu_nothing_is_captured() -> None:
    made = Made("cpu")
    made.run([1], [0, 0, 0, 0])
    assert made.runner.captured == {"sum": 0}


class Sum(torch.nn.Module):  # type: ignore[misc]
    """Adds up what it was ever given."""

    def __init__(self) -> None:
        super().__init__()
        self.memory = torch.nn.Module()
        self.memory.register_buffer("total", torch.zeros(1))

    def forward(self, x: Any) -> Any:
        self.memory.total += x
        return self.memory.total.clone()


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_a_modules_memory_counts_only_what_it_was_asked_to_run(device: str) -> None:
    from model.runners.cuda_graph import CudaGraphRunner
    from model.runners.torch import TorchGraph

    module = Sum()
    graph = TorchGraph(
        module=module, inputs={"x": torch.zeros(1)}, outputs=("total",), dynamic_axes={}, memory=module.memory
    )
    runner = CudaGraphRunner({"sum": graph}, device=device)
    totals = [runner.run("sum", {"x": np.array([value], np.float32)})["total"].tolist() for value in (1, 2, 3)]
    assert totals == [[1], [3], [6]]


@pytest.mark.gpu
def test_on_a_gpu_every_shape_is_captured_and_replayed() -> None:
    made = Made("cuda")
    made.run([1], [0, 0, 0, 0])
    calls = made.module.calls
    made.run([2], [0, 0, 0, 0])
    assert made.module.calls == calls  # a replay calls no Python
    made.run([2, 3], [0, 0, 0, 0])
    assert made.runner.captured == {"sum": 2}
