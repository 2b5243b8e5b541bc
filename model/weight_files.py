"""Weights in a folder of safetensors files, one tensor at a time. Needs the torch extra."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import safetensors
from torch import Tensor

from model.errors import CheckpointError


class WeightFiles(Mapping[str, Tensor]):
    """Every tensor of every `*.safetensors` file of a folder by name, read anew at each access.

    Raises: CheckpointError: there is no such file, one is damaged, or two have a tensor of one name.
    """

    def __init__(self, folder: Path) -> None:
        self._files: dict[str, Path] = {}
        for file in sorted(folder.glob("*.safetensors")):
            try:
                with safetensors.safe_open(file, framework="pt") as opened:
                    names = list(opened.keys())
            except (OSError, safetensors.SafetensorError) as exc:
                raise CheckpointError(f"cannot read weights from {file}: {exc}") from exc
            if twice := self._files.keys() & set(names):
                raise CheckpointError(f"{min(twice)} is in {self._files[min(twice)].name} and in {file.name}")
            self._files |= dict.fromkeys(names, file)
        if not self._files:
            raise CheckpointError(f"{folder} has no *.safetensors file")

    def __getitem__(self, name: str) -> Tensor:
        with safetensors.safe_open(self._files[name], framework="pt") as opened:
            tensor: Tensor = opened.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._files)

    def __len__(self) -> int:
        return len(self._files)

    def shape(self, name: str) -> tuple[int, ...]:
        with safetensors.safe_open(self._files[name], framework="pt") as opened:
            return tuple(opened.get_slice(name).get_shape())
