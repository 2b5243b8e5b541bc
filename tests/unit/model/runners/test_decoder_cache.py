"""A chunk decoder's memory seen from outside: not at all."""

from __future__ import annotations

import numpy as np
import pytest

from model.errors import RunnerError
from model.runners.base import GraphSignature, TensorSignature
from model.runners.decoder_cache import HostMemory, KeptMemory, kept_tensors, seen_from_outside

MEMORY = TensorSignature("float32", (1, 8, 2, 4, 4))
LATENTS = TensorSignature("float32", (1, 16, 1, 4, 4))
FRAMES = TensorSignature("uint8", (4, 32, 32, 3))


def graphs(**given: TensorSignature) -> dict[str, GraphSignature]:
    after = {"next_memory_0": MEMORY, **given}
    return {
        "decoder_first": GraphSignature({"latents": LATENTS}, {"frames": FRAMES, **after}),
        "decoder": GraphSignature({"latents": LATENTS, "memory_0": MEMORY}, {"frames": FRAMES, **after}),
        "text_encoder": GraphSignature({"memory_0": MEMORY}, {"embeddings": MEMORY}),
    }


def test_only_a_model_with_a_first_decoder_keeps_memory() -> None:
    assert kept_tensors(graphs()) == {"decoder": {"memory_0": MEMORY}}
    streaming = graphs()
    del streaming["decoder_first"]  # the demo model's memory belongs to a session
    assert kept_tensors(streaming) == {}
    assert seen_from_outside("decoder", streaming["decoder"], {}) == streaming["decoder"]


def test_decoders_that_do_not_agree_are_refused() -> None:
    with pytest.raises(RunnerError, match=r"memory_0 is .* not given back as such; export"):
        kept_tensors(graphs(next_memory_0=TensorSignature("float32", (1, 9, 2, 4, 4))))


def test_callers_meet_latents_and_frames() -> None:
    seen = seen_from_outside("decoder", graphs()["decoder"], kept_tensors(graphs()))
    assert seen == GraphSignature({"latents": LATENTS}, {"frames": FRAMES})
    assert (
        seen_from_outside("text_encoder", graphs()["text_encoder"], kept_tensors(graphs()))
        == (graphs()["text_encoder"])
    )


def test_a_run_reads_what_the_one_before_wrote() -> None:
    kept = KeptMemory({"decoder": {"memory_0": (100, 200)}, "encoder": {"memory_0": (300, 400)}})
    names = {"memory_0": MEMORY, "next_memory_0": MEMORY, "latents": LATENTS}
    wrote = kept.addresses_of("decoder_first", names)["next_memory_0"]
    kept.advance("decoder_first")
    for _ in range(3):
        addresses = kept.addresses_of("decoder", names)
        assert addresses["memory_0"] == wrote
        assert addresses["next_memory_0"] != wrote
        wrote = addresses["next_memory_0"]
        for other in ("text_encoder", "encoder_first", "encoder", "encoder"):  # another graph between changes nothing
            kept.advance(other)
        kept.advance("decoder")
    assert kept.addresses_of("text_encoder", names) == {}
    assert set(kept.addresses_of("encoder_first", names).values()) == {300, 400}


def test_a_host_keeps_what_a_run_gave_for_the_next_of_its_pair() -> None:
    encoder = {"encoder_first": graphs()["decoder_first"], "encoder": graphs()["decoder"]}
    memory = HostMemory(kept_tensors(graphs() | encoder))
    with pytest.raises(RunnerError, match="decoder continues what decoder_first began"):
        memory.taken_by("decoder")
    first, other, newest = (np.full(1, value, np.float32) for value in (1, 2, 3))
    assert memory.taken_by("decoder_first") == memory.taken_by("text_encoder") == {}
    assert memory.keep("decoder_first", {"frames": newest, "next_memory_0": first}) == {"frames": newest}
    memory.keep("encoder_first", {"frames": newest, "next_memory_0": other})
    assert memory.taken_by("decoder") == {"memory_0": first}
    memory.keep("decoder", {"frames": newest, "next_memory_0": newest})
    assert memory.taken_by("decoder") == {"memory_0": newest}
    assert memory.taken_by("encoder") == {"memory_0": other}
    assert memory.keep("text_encoder", {"next_memory_0": first}) == {"next_memory_0": first}
