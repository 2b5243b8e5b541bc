"""The package's name and version, as shown to people and sent on the wire."""

from __future__ import annotations

import importlib.metadata
from typing import Final

NAME: Final = "helios-bridge"


def installed_version() -> str | None:
    """None where it runs from a checkout that was never installed."""
    try:
        return importlib.metadata.version(NAME)
    except importlib.metadata.PackageNotFoundError:
        return None


def name_and_version() -> str:
    """For logs and WELCOME: "helios-bridge 0.1.0"."""
    version = installed_version()
    return NAME if version is None else f"{NAME} {version}"
