"""What a Helios-shaped model can leave out to go faster."""

from __future__ import annotations

from bridge.backends.quality_levels import rungs_of, takes_tiny_decoder


def test_a_distilled_model_leaves_out_stages_from_the_last() -> None:
    rungs = rungs_of((1, 1, 1))
    assert [(rung.name, rung.steps) for rung in rungs] == [
        ("full", (1, 1, 1)), ("half-latents", (1, 1, 0)), ("quarter-latents", (1, 0, 0)),
    ]  # fmt: skip


def test_a_model_of_many_steps_gives_those_up_first() -> None:
    rungs = rungs_of((2, 2, 2))
    assert [rung.name for rung in rungs] == ["full", "three-steps", "half-latents", "quarter-latents"]
    assert rungs[1].steps == (1, 1, 1)


def test_every_rung_is_cheaper_than_the_one_before() -> None:
    for steps in ((1, 1, 1), (4, 4, 8), (1, 1), (3,)):
        for tiny_decoder in (False, True):
            shares = [rung.cost_share for rung in rungs_of(steps, tiny_decoder=tiny_decoder)]
            assert shares == sorted(set(shares), reverse=True)
            assert shares[0] == 1.0


def test_a_tiny_decoder_comes_before_a_coarser_picture() -> None:
    rungs = rungs_of((2, 2, 2), tiny_decoder=True)
    assert [rung.name for rung in rungs] == ["full", "three-steps", "tiny-decoder", "half-latents", "quarter-latents"]
    assert rungs[2].steps == (1, 1, 1)


def test_the_tiny_decoder_stays_on_every_rung_below_its_own() -> None:
    rungs = rungs_of((2, 2, 2), tiny_decoder=True)
    assert [takes_tiny_decoder(rungs, rung.name) for rung in rungs] == [False, False, True, True, True]
    assert not takes_tiny_decoder(rungs_of((2, 2, 2)), "half-latents")
    assert not takes_tiny_decoder(rungs, "warm-up")
