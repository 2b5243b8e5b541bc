"""What can go wrong in `trt_build/`.

ModelError
└── BuildError        a step from weights to engines failed, or was asked for what it cannot do
    ├── ExtraMissing    a package that this step needs is not installed or does not load; names the remedy
    ├── ExportError     an exported graph does not compute what its module does
    └── BuildCancelled  the user stopped a build; nothing of it is kept but the timings
"""

from __future__ import annotations

import importlib

from model.cli_args import install
from model.errors import ModelError


class BuildError(ModelError):
    """Anything that trt_build/ refuses or fails at."""


class ExtraMissing(BuildError):
    """A package is not installed, or does not load; the message names what brings it."""


class ExportError(BuildError):
    """An exported graph does not compute what its module does."""


class BuildCancelled(BuildError):
    """The user stopped a build."""


def need(purpose: str, *modules: str, extra: str) -> None:
    """Checks that modules import, before the code that uses them is loaded.

    Raises: ExtraMissing: one does not; the message reads "<purpose> needs <extra> (<why>); pip install ...", or
    names the driver where the package is there and only its library is not.
    """
    for module in modules:
        try:
            importlib.import_module(module)
        except ImportError as exc:
            if extra == "tensorrt" and not isinstance(exc, ModuleNotFoundError):
                raise ExtraMissing(
                    f"{purpose} needs an NVIDIA driver: {module} does not load ({exc}); see whether `nvidia-smi` works"
                ) from exc
            raise ExtraMissing(f"{purpose} needs the {extra} extra ({exc}); {install(extra)}") from exc
