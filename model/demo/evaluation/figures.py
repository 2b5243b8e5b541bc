"""Figures of one picture against its reference: PSNR, SSIM, sharpness. Pictures are (H, W, 3) uint8 RGB."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Picture = NDArray[np.uint8]

PSNR_CAP_DB = 60.0
_WINDOW_PX, _SIGMA_PX = 11, 1.5
_C1, _C2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
_LUMA = np.array([0.299, 0.587, 0.114], dtype=np.float32)


def psnr_db(shown: Picture, reference: Picture) -> float:
    """The peak signal-to-noise ratio, at most PSNR_CAP_DB (equal pictures have none)."""
    error = float(np.mean((shown.astype(np.float32) - reference.astype(np.float32)) ** 2))
    return PSNR_CAP_DB if error <= 0 else min(PSNR_CAP_DB, 10 * float(np.log10(255.0**2 / error)))


def ssim(shown: Picture, reference: Picture) -> float:
    """The mean structural similarity of the luma (Wang et al. 2004: 11 px Gaussian window of sigma 1.5 px)."""
    x, y = _luma(shown), _luma(reference)
    mean_x, mean_y = _blurred(x), _blurred(y)
    variance_x = _blurred(x * x) - mean_x * mean_x
    variance_y = _blurred(y * y) - mean_y * mean_y
    covariance = _blurred(x * y) - mean_x * mean_y
    likeness = ((2 * mean_x * mean_y + _C1) * (2 * covariance + _C2)) / (
        (mean_x**2 + mean_y**2 + _C1) * (variance_x + variance_y + _C2)
    )
    edge = _WINDOW_PX // 2  # windows that stick out of the picture do not count
    return float(likeness[edge:-edge, edge:-edge].mean())


def gradient_energy(picture: Picture) -> float:
    """The mean squared difference between neighbouring pixels' luma, along rows and columns."""
    luma = _luma(picture)
    return float(np.square(np.diff(luma, axis=0)).mean() + np.square(np.diff(luma, axis=1)).mean())


def sharpness(shown: Picture, reference: Picture) -> float:
    """Gradient energy as a share of the reference's: below 1 is soft, above 1 is noisy. A reference of one colour
    has nothing to be sharp about, and gives 1."""
    wanted = gradient_energy(reference)
    return gradient_energy(shown) / wanted if wanted > 1e-6 else 1.0


def _luma(picture: Picture) -> NDArray[np.float32]:
    return (picture.astype(np.float32) @ _LUMA).astype(np.float32)


def _blurred(values: NDArray[np.float32]) -> NDArray[np.float32]:
    result: NDArray[np.float32] = cv2.GaussianBlur(values, (_WINDOW_PX, _WINDOW_PX), _SIGMA_PX)
    return result
