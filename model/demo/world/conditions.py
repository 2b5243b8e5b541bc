"""What the demo world can be asked for: slots, each with one value in force. The last three are things in the world.

The text encoder keeps a probability for every value (the text state); the renderer mixes looks by the same weights.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SLOTS: dict[str, tuple[str, ...]] = {
    "time": ("day", "dusk", "night"),
    "weather": ("clear", "rain", "snow", "fog"),
    "lamps": ("off", "on"),
    "door": ("closed", "open"),
    "fountain": ("off", "on"),
}
STATE_SIZE = sum(len(values) for values in SLOTS.values())


def column_of(slot: str, value: str) -> int:
    """Where in a vector of conditions a value's weight stands."""
    names = [(one, other) for one, values in SLOTS.items() for other in values]
    return names.index((slot, value))


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """One value a slot, by name."""

    time: str = "day"
    weather: str = "clear"
    lamps: str = "off"
    door: str = "closed"
    fountain: str = "off"

    def vector(self) -> NDArray[np.float32]:
        """(STATE_SIZE,) float32: the slots' one-hot vectors one after the other."""
        return np.concatenate(
            [[float(getattr(self, slot) == value) for value in values] for slot, values in SLOTS.items()]
        ).astype(np.float32)

    @staticmethod
    def from_vector(weights: NDArray[np.floating]) -> Conditions:
        """The strongest value of each slot."""
        chosen, start = {}, 0
        for slot, values in SLOTS.items():
            chosen[slot] = values[int(np.argmax(weights[start : start + len(values)]))]
            start += len(values)
        return Conditions(**chosen)

    def replace(self, slot: str, value: str) -> Conditions:
        return Conditions(**{**{name: getattr(self, name) for name in SLOTS}, slot: value})
