"""A Helios folder's graphs in their fast form behind the static runner, against the plain form behind the plain one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from model.errors import RunnerError
from model.precision import Precision

torch = pytest.importorskip("torch")
pytest.importorskip("diffusers")
pytest.importorskip("transformers")
pytestmark = [pytest.mark.torch, pytest.mark.filterwarnings("ignore:__array_wrap__ must accept:DeprecationWarning")]


@pytest.fixture(scope="module")
def both(helios_folder: Path) -> tuple[Any, Any, Any]:
    """The spec, the plain runner and the fast one, in float32."""
    from model.fast.graph import fast_denoiser_graph, fast_runner
    from model.helios.components import Dtype
    from model.helios.graphs import load_graphs
    from model.helios.layout import GenerationConfig
    from model.runners.torch import TorchRunner

    small = GenerationConfig(frame_height=64, frame_width=64)
    kinds = {"dtype": Dtype.FP32, "vae_dtype": Dtype.FP32}
    spec, plain = load_graphs(helios_folder, small, **kinds)
    _, fast = load_graphs(
        helios_folder, small, denoiser=lambda model, spec: fast_denoiser_graph(model, spec, Precision.FP32), **kinds
    )
    return spec, TorchRunner(plain), fast_runner(spec, fast, device="cpu", precision=Precision.FP32)


def test_the_denoiser_predicts_the_same_flow(both: tuple[Any, Any, Any]) -> None:
    from model.networks.denoiser import example_inputs

    spec, plain, fast = both
    torch.manual_seed(1)
    for _ in range(2):  # the second time replays what the first captured
        inputs = {name: tensor.numpy() for name, tensor in example_inputs(spec).items()}
        wanted = plain.run("denoiser", inputs)["sample"]
        np.testing.assert_allclose(fast.run("denoiser", inputs)["sample"], wanted, atol=2e-5, rtol=1e-4)
        assert np.abs(wanted).max() > 0.1


def test_latent_frames_are_decoded_in_turn_over_memory_that_stays_on_the_device(both: tuple[Any, Any, Any]) -> None:
    spec, plain, fast = both
    shape = (1, 16, 1, spec.latent_height, spec.latent_width)
    rng = np.random.default_rng(0)
    for chunk in range(2):
        latents = [rng.standard_normal(shape).astype(np.float32) for _ in range(3)]
        wanted = [plain.run("decoder" if i else "decoder_first", {"latents": x}) for i, x in enumerate(latents)]
        begun = [fast.start("decoder" if i else "decoder_first", {"latents": x}) for i, x in enumerate(latents)]
        for number, (pending, plainly) in enumerate(zip(begun, wanted, strict=True)):
            got = pending.result()["frames"]
            assert got.shape[0] == (4 if number else 1)
            np.testing.assert_array_equal(got, plainly["frames"], err_msg=f"chunk {chunk}, latent frame {number}")


def test_a_denoiser_that_is_not_helios_is_refused(both: tuple[Any, Any, Any]) -> None:
    from model.fast.graph import fast_runner
    from model.runners.torch import TorchGraph

    graph = TorchGraph(module=torch.nn.ReLU(), inputs={"x": torch.zeros(1)}, outputs=("y",), dynamic_axes={})
    with pytest.raises(RunnerError, match="of Helios's denoiser only, got ReLU"):
        fast_runner(both[0], {"denoiser": graph}, device="cpu", precision=Precision.FP32)
