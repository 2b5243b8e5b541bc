"""A full-size load rehearsed on the meta device: Helios-14B by its published configuration."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pytest

from model.precision import Precision

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helios_folder import write_full_size_configs

    return write_full_size_configs(tmp_path_factory.mktemp("full"))


def planned(path: Path, **options: Any) -> Any:
    from model.helios.layout import GenerationConfig
    from model.helios.memory_plan import plan

    session = options.pop("session", GenerationConfig())
    return plan(path, session, **options)


def test_the_14_billion_are_counted_without_allocating_them(full_size: Path) -> None:
    plan = planned(full_size)
    assert plan.parameters["transformer"] == pytest.approx(14.4e9, rel=0.02)
    assert plan.parameters["text_encoder"] == pytest.approx(5.68e9, rel=0.02)
    assert plan.parameters["vae"] == pytest.approx(127e6, rel=0.02)
    assert plan.weights["transformer"] == pytest.approx(2 * 14.4e9, rel=0.03)
    assert plan.prompts == 4 * 2 * 40 * 512 * 5120 * 2
    assert plan.history == 16 * 48 * 80 * 4 * (19 + 1 + 9)
    assert "has no weights" in plan.problems
    assert "tokenizer" in plan.problems


def test_fp8_halves_the_blocks_and_nothing_else(full_size: Path) -> None:
    bf16, fp8 = planned(full_size), planned(full_size, precision=Precision.FP8)
    width, ffn, layers = 5120, 13824, 40
    products = layers * (4 * width * width + 2 * width * width + 2 * width * ffn)  # own q, k, v, out; text q, out; ffn
    scales = layers * 4 * (4 * width + 2 * width + width + ffn)
    assert bf16.weights["transformer"] - fp8.weights["transformer"] == products - scales
    assert bf16.weights["text_encoder"] == fp8.weights["text_encoder"]


def test_the_decoders_memory_is_that_of_its_buffers(helios_folder: Path) -> None:
    from model.helios.components import Dtype
    from model.helios.graphs import load_graphs
    from model.helios.layout import GenerationConfig

    session = GenerationConfig(frame_height=64, frame_width=128, chunk_latents=2)
    _, graphs = load_graphs(helios_folder, session, dtype=Dtype.FP32, vae_dtype=Dtype.FP32)
    module: Any = graphs["decoder"].module
    assert planned(helios_folder, session=session, vae_dtype=Dtype.FP32).decoder_memory == module.memory.nbytes > 0


def test_what_is_loaded_weighs_what_was_planned(helios_folder: Path) -> None:
    from model.helios.components import load, rehearse
    from model.helios.layout import GenerationConfig, read_folder

    plan = planned(helios_folder, session=GenerationConfig(frame_height=64, frame_width=128))
    assert plan.problems == ""
    for name, part in rehearse(read_folder(helios_folder), dtypes={}).items():
        loaded = load(part, device="cpu")
        storages = {tensor.data_ptr(): tensor.nbytes for tensor in loaded.state_dict().values()}
        assert sum(storages.values()) == plan.weights[name]


def test_the_plan_reads_as_lines(full_size: Path, helios_folder: Path) -> None:
    from model.helios.layout import GenerationConfig
    from model.helios.memory_plan import rows

    told = dict(rows(planned(full_size)))
    assert told["memory transformer"].startswith("28.68 GB: 14.312 B parameters")
    assert "no files" in told["memory transformer"]
    assert told["can be loaded"].startswith("NO: ")
    small = GenerationConfig(frame_height=64, frame_width=128)
    assert dict(rows(planned(helios_folder, session=small)))["can be loaded"].startswith("yes")


def test_a_missing_tiny_decoder_is_a_problem(helios_folder: Path) -> None:
    from model.helios.graphs import DecoderKind
    from model.helios.layout import GenerationConfig

    small = GenerationConfig(frame_height=64, frame_width=128)
    assert "taew2_1" in planned(helios_folder, session=small, decoder=DecoderKind.TINY).problems


@pytest.fixture
def with_tiny(helios_folder: Path, tmp_path: Path) -> Path:
    """A copy with the tiny decoder's weights, in half precision."""
    from safetensors.torch import save_file

    from model.networks.autoencoder import TAEW2_1, TinyAutoencoder

    folder = tmp_path / "helios"
    shutil.copytree(helios_folder, folder)
    tensors = TinyAutoencoder(TAEW2_1).state_dict()
    save_file({name: tensor.half() for name, tensor in tensors.items()}, folder / "taew2_1.safetensors")
    return folder


def nbytes_in(file: Path) -> int:
    """All that follows a safetensors file's header, which says its own length first."""
    with file.open("rb") as opened:
        return file.stat().st_size - 8 - int.from_bytes(opened.read(8), "little")


@pytest.mark.parametrize("asked", ["tiny", "wan"])
def test_the_tiny_decoder_is_counted_where_it_is_loaded(with_tiny: Path, helios_folder: Path, asked: str) -> None:
    """With `wan` it stands beside Wan's, as a rung of the quality ladder."""
    from model.helios.components import Dtype
    from model.helios.graphs import DecoderKind, load_graphs
    from model.helios.layout import GenerationConfig
    from model.helios.loading import tiny_beside

    small, kind = GenerationConfig(frame_height=64, frame_width=128), DecoderKind(asked)
    plan = planned(with_tiny, session=small, decoder=kind, vae_dtype=Dtype.BF16)
    spec, graphs = load_graphs(with_tiny, small, dtype=Dtype.FP32, decoder=kind)
    if kind is DecoderKind.WAN:
        graphs |= tiny_beside(with_tiny, spec, device="cpu", dtype=Dtype.BF16)
    module: Any = graphs["decoder" if kind is DecoderKind.TINY else "tiny_decoder"].module
    in_file = nbytes_in(with_tiny / "taew2_1.safetensors")
    assert plan.stored["tiny decoder"] == plan.weights["tiny decoder"] == in_file > 2e7
    assert sum(tensor.nbytes for tensor in module.step.step.autoencoder.state_dict().values()) == in_file
    memories: set[Any] = {graph.memory for graph in graphs.values() if graph.memory is not None}
    assert plan.decoder_memory == sum(memory.nbytes for memory in memories)
    without = planned(helios_folder, session=small, vae_dtype=Dtype.BF16)
    assert "tiny decoder" not in without.weights
    assert plan.total - without.total == in_file + plan.decoder_memory - without.decoder_memory


def test_a_tiny_decoder_that_does_not_fit_is_a_problem_beside_wans_too(with_tiny: Path) -> None:
    import torch
    from safetensors.torch import save_file

    from model.helios.layout import GenerationConfig

    save_file({"decoder.nothing": torch.zeros(1)}, with_tiny / "taew2_1.safetensors")
    assert "taew2_1" in planned(with_tiny, session=GenerationConfig(frame_height=64, frame_width=128)).problems


def lora(path: Path, *, rank: int = 4, width: int = 5120) -> Path:
    import torch
    from safetensors.torch import save_file

    query = "transformer.blocks.39.attn1.to_q"
    save_file({f"{query}.lora_A.weight": torch.zeros(rank, width), f"{query}.lora_B.weight": torch.zeros(5120, rank),
               f"{query}.alpha": torch.tensor(8.0)}, path)  # fmt: skip
    return path


def test_an_adapter_is_held_to_the_full_size_without_allocating_it(full_size: Path, tmp_path: Path) -> None:
    from model.helios.memory_plan import rows

    plan = planned(full_size, adapter=lora(tmp_path / "lora.safetensors"))
    told = dict(rows(plan))
    assert told["adapter"] == "LoRA of rank 4 for 1 of the weights, no camera channels; fits the transformer"
    assert plan.weights["adapter"] == 0
    assert "memory adapter" not in told  # it is merged
    assert "lora.safetensors" not in plan.problems
    narrow = planned(full_size, adapter=lora(tmp_path / "narrow.safetensors", width=2048))
    assert dict(rows(narrow))["adapter"].endswith("does NOT fit")
    assert "would be (5120, 2048), the transformer has (5120, 5120)" in dict(rows(narrow))["can be loaded"]


def test_what_is_no_adapter_is_a_problem(helios_folder: Path, tmp_path: Path) -> None:
    from model.helios.layout import GenerationConfig

    broken = tmp_path / "broken.safetensors"
    broken.write_bytes(b"not a header")
    for path in (broken, tmp_path / "missing.safetensors"):
        plan = planned(helios_folder, session=GenerationConfig(frame_height=64, frame_width=128), adapter=path)
        assert plan.adapter.startswith("NO")
        assert f"cannot read the adapter {path}" in plan.problems
        assert plan.weights["adapter"] == 0


def test_what_camera_channels_add_is_counted(helios_folder: Path, tmp_path: Path) -> None:
    from safetensors.torch import save_file

    from model.helios.components import Dtype
    from model.helios.graphs import load_graphs
    from model.helios.layout import GenerationConfig
    from model.networks.conditioner import CONDITIONING_CHANNELS, Conditioner

    path, small = tmp_path / "camera.safetensors", GenerationConfig(frame_height=64, frame_width=128)
    save_file({f"conditioner.{name}": tensor for name, tensor in Conditioner().state_dict().items()}, path)
    plan = planned(helios_folder, session=small, adapter=path, precision=Precision.FP32, vae_dtype=Dtype.FP32)
    assert plan.problems == ""
    assert plan.adapter == f"{CONDITIONING_CHANNELS} camera channels; fits the transformer"
    _, graphs = load_graphs(helios_folder, small, dtype=Dtype.FP32, vae_dtype=Dtype.FP32, adapter=path)
    loaded = [graphs["denoiser"].module.model, graphs["conditioner"].module]
    nbytes = sum(tensor.nbytes for module in loaded for tensor in module.state_dict().values())
    assert nbytes == plan.weights["transformer"] + plan.weights["adapter"]
