"""TensorRT's log: into Python's, and its last errors at hand, because TensorRT's calls only say that they failed.

Needs the tensorrt extra.
"""

from __future__ import annotations

import logging
from collections import deque

import tensorrt as trt

_logger = logging.getLogger(__name__)
_KEPT_ERRORS = 3
_LEVELS = {
    trt.ILogger.INTERNAL_ERROR: logging.ERROR,
    trt.ILogger.ERROR: logging.ERROR,
    trt.ILogger.WARNING: logging.WARNING,
    trt.ILogger.INFO: logging.INFO,
    trt.ILogger.VERBOSE: logging.DEBUG,
}


class TensorRtLog(trt.ILogger):  # type: ignore[misc]  # an untyped base where the stubs are not at hand
    """TensorRT calls it from its own threads too."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

    def log(self, severity: trt.ILogger.Severity, msg: str) -> None:
        level = _LEVELS.get(severity, logging.DEBUG)
        if level == logging.ERROR:
            self._errors.append(msg.strip())
        _logger.log(level, "%s", msg)

    def last_errors(self) -> str:
        """What TensorRT complained of since the last call; "no reason given" if it did not."""
        text = "; ".join(self._errors) or "no reason given"
        self._errors.clear()
        return text
