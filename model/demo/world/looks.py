"""What the demo world's conditions mean in numbers: sun, sky, fog, and what is switched on."""

from __future__ import annotations

from dataclasses import dataclass, fields
from types import ModuleType

import numpy as np
from numpy.typing import NDArray

from model.demo.world.conditions import SLOTS
from model.scene.camera import Array

#            sun colour          zenith             horizon            sun direction (to the sun)
_TIME_LOOKS = np.array([
    [1.00, 0.95, 0.82, 0.25, 0.48, 0.86, 0.74, 0.84, 0.93, 0.45, 0.75, 0.48],  # day
    [0.98, 0.52, 0.25, 0.28, 0.24, 0.48, 0.96, 0.56, 0.34, 0.86, 0.30, 0.40],  # dusk
    [0.34, 0.40, 0.60, 0.06, 0.10, 0.24, 0.15, 0.20, 0.36, -0.40, 0.80, 0.45],  # night (the moon)
])  # fmt: skip
#                                sun   overcast fog/m  wet   rain  snow
_WEATHER_LOOKS = np.array([
    [1.00, 0.00, 0.004, 0.0, 0.0, 0.0],  # clear
    [0.25, 0.85, 0.022, 1.0, 1.0, 0.0],  # rain
    [0.45, 0.75, 0.018, 0.0, 0.0, 1.0],  # snow
    [0.30, 0.90, 0.090, 0.2, 0.0, 0.0],  # fog
])  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """Every field is (..., 1, 1, 3) or (..., 1, 1, 1), to be broadcast over pixels; ... are frames, if any."""

    sun_colour: Array  # with the weather's dimming
    sun: Array  # unit, to the sun or the moon
    zenith: Array
    horizon: Array
    overcast: Array
    fog_per_m: Array
    wet: Array
    rain: Array
    snow: Array
    night: Array
    lamps: Array  # this and the next: 0 off or closed, 1 on or open
    door: Array
    fountain: Array

    def to(self, xp: ModuleType, like: Array) -> Look:
        """The same numbers as float32 arrays of `xp`, where `like` lies."""

        def moved(values: Array) -> Array:
            array = np.asarray(values, dtype=np.float32)
            return array if xp is np else xp.as_tensor(array, device=like.device)

        return Look(**{field.name: moved(getattr(self, field.name)) for field in fields(self)})

    def of_frames(self, frames: Array) -> Look:
        """The look of each of (n,) rays that belong to these frames: fields become (1, n, C)."""
        return Look(**{field.name: getattr(self, field.name)[frames][:, 0, 0][None] for field in fields(self)})


def look_of(weights: NDArray[np.floating]) -> Look:
    """The look of condition weights (..., STATE_SIZE), each slot summing to 1."""
    given = np.asarray(weights, dtype=np.float64)
    by_slot, start = {}, 0
    for slot, values in SLOTS.items():
        by_slot[slot] = given[..., start : start + len(values)]
        start += len(values)
    time, weather = by_slot["time"] @ _TIME_LOOKS, by_slot["weather"] @ _WEATHER_LOOKS
    sun_scale, overcast, fog_per_m, wet, rain, snow = (weather[..., i : i + 1] for i in range(6))
    zenith, horizon, sun = time[..., 3:6], time[..., 6:9], time[..., 9:12]
    grey = horizon.mean(-1, keepdims=True) * 0.5 + zenith.mean(-1, keepdims=True) * 0.4
    pixels = {
        "sun_colour": time[..., 0:3] * sun_scale,
        "sun": sun / np.linalg.norm(sun, axis=-1, keepdims=True),
        "zenith": zenith * (1 - overcast) + grey * np.array([0.96, 1.0, 1.06]) * overcast,
        "horizon": horizon * (1 - overcast) + grey * np.array([1.05, 1.08, 1.12]) * overcast,
        "overcast": overcast, "fog_per_m": fog_per_m, "wet": wet, "rain": rain, "snow": snow,
        "night": by_slot["time"][..., 2:3], "lamps": by_slot["lamps"][..., 1:2], "door": by_slot["door"][..., 1:2],
        "fountain": by_slot["fountain"][..., 1:2],
    }  # fmt: skip
    return Look(**{name: values[..., None, None, :] for name, values in pixels.items()})
