"""The number formats that a model's large products can run in. No runtime is imported here."""

from __future__ import annotations

import enum


class Precision(enum.StrEnum):
    """What the large products compute in. Graphs take and give float32 in all of them.

    FP32 is for comparisons; BF16 is what Helios was trained in; FP8 (E4M3) covers the products of the denoiser's
    blocks, everything else of an fp8 model is bf16.
    """

    FP32 = "fp32"
    BF16 = "bf16"
    FP8 = "fp8"
