"""The rungs of a Helios-shaped model: what a chunk can leave out, and what that saves."""

from __future__ import annotations

from collections.abc import Sequence

from bridge.engine.interface import Rung

TINY_DECODER = "tiny-decoder"
_NUMBERS = {1: "one", 2: "two", 3: "three", 4: "four"}


def rungs_of(stage_steps: tuple[int, ...], *, tiny_decoder: bool = False) -> tuple[Rung, ...]:
    """What a model can leave out, best first: steps beyond one a stage, its own decoder where there is a tiny one, then
    the pyramid's last stage, then the next.

    The shares of stages are CPU time of the demo's chunk of one latent frame: 78, 60 and 46 ms, for 0.9 and 2.2 dB on
    its tour. The decoder's is half of a chunk of Helios-14B in FP8 on an H100, by the estimates at hand.
    """
    stages = len(stage_steps)
    one_each = (1,) * stages
    dearer = sum(stage_steps) / stages
    rungs = [Rung(name="full", steps=stage_steps)]
    if dearer > 1:
        rungs.append(Rung(name=f"{_NUMBERS.get(stages, stages)}-steps", steps=one_each, cost_share=1 / dearer))
    decoded = 0.5 if tiny_decoder else 1.0
    if tiny_decoder:
        rungs.append(Rung(name=TINY_DECODER, steps=one_each, cost_share=decoded / dearer))
    if stages > 1:
        rungs.append(Rung(name="half-latents", steps=(*one_each[:-1], 0), cost_share=0.77 * decoded / dearer))
    if stages > 2:
        rungs.append(Rung(name="quarter-latents", steps=(*one_each[:-2], 0, 0), cost_share=0.6 * decoded / dearer))
    return tuple(rungs)


def takes_tiny_decoder(rungs: Sequence[Rung], name: str) -> bool:
    """Whether a chunk on the rung `name` of these is for the tiny decoder: on that decoder's own, and all below it."""
    names = [rung.name for rung in rungs]
    return name in names[names.index(TINY_DECODER) :] if TINY_DECODER in names else False
