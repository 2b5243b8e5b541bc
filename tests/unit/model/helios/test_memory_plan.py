"""A full-size load rehearsed on the meta device: Helios-14B by its published configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("torch")
pytestmark = pytest.mark.torch


@pytest.fixture(scope="module")
def full_size(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from tests.helios_folder import write_full_size_configs

    return write_full_size_configs(tmp_path_factory.mktemp("full"))


def planned(path: Path, **options: Any) -> Any:
    from model.helios.layout import Session
    from model.helios.memory_plan import plan

    session = options.pop("session", Session())
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
    from model.precision import Precision

    bf16, fp8 = planned(full_size), planned(full_size, precision=Precision.FP8)
    width, ffn, layers = 5120, 13824, 40
    products = layers * (4 * width * width + 2 * width * width + 2 * width * ffn)  # own q, k, v, out; text q, out; ffn
    scales = layers * 4 * (4 * width + 2 * width + width + ffn)
    assert bf16.weights["transformer"] - fp8.weights["transformer"] == products - scales
    assert bf16.weights["text_encoder"] == fp8.weights["text_encoder"]


def test_the_decoders_memory_is_that_of_its_buffers(helios_folder: Path) -> None:
    from model.helios.graphs import load_graphs
    from model.helios.layout import Session
    from model.helios.parts import Dtype

    session = Session(frame_height=64, frame_width=128, chunk_latents=2)
    _, graphs = load_graphs(helios_folder, session, dtype=Dtype.FP32, vae_dtype=Dtype.FP32)
    module: Any = graphs["decoder"].module
    assert planned(helios_folder, session=session, vae_dtype=Dtype.FP32).decoder_memory == module.memory.nbytes > 0


def test_what_is_loaded_weighs_what_was_planned(helios_folder: Path) -> None:
    from model.helios.layout import Session, read_folder
    from model.helios.parts import load, rehearse

    plan = planned(helios_folder, session=Session(frame_height=64, frame_width=128))
    assert plan.problems == ""
    for name, part in rehearse(read_folder(helios_folder), dtypes={}).items():
        loaded = load(part, device="cpu")
        storages = {tensor.data_ptr(): tensor.nbytes for tensor in loaded.state_dict().values()}
        assert sum(storages.values()) == plan.weights[name]


def test_the_plan_reads_as_lines(full_size: Path, helios_folder: Path) -> None:
    from model.helios.layout import Session
    from model.helios.memory_plan import rows

    told = dict(rows(planned(full_size)))
    assert told["memory transformer"].startswith("28.68 GB: 14.312 B parameters")
    assert "no files" in told["memory transformer"]
    assert told["can be loaded"].startswith("NO: ")
    small = Session(frame_height=64, frame_width=128)
    assert dict(rows(planned(helios_folder, session=small)))["can be loaded"].startswith("yes")


def test_a_missing_tiny_decoder_is_a_problem(helios_folder: Path) -> None:
    from model.helios.graphs import DecoderKind
    from model.helios.layout import Session

    small = Session(frame_height=64, frame_width=128)
    assert "taew2_1" in planned(helios_folder, session=small, decoder=DecoderKind.TINY).problems
