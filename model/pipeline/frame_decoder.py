"""Decodes a chunk's latents to frames, one latent frame at a time.

**Causal decoding.** The video autoencoder compresses time: one latent frame stands for several frames (the first of a
video for one). Its decoder's temporal convolutions look back, never ahead, so latent frame n can be decoded before n +
1 is known, given the activations that its convolutions need of the frames before: the decoder's memory. Decoding in
pieces with the memory passed along gives the same frames as decoding all at once, and the first frames of a chunk
leave before its last are made.

**Where the memory is.** A graph takes it as inputs `memory_*` and gives it back as outputs `next_memory_*`. After a
chunk it belongs to the session's state, so that the next chunk continues without a seam. A model with a graph for the
first latent frame (`decoder_first`) keeps its memory on the runner within a chunk instead; then two chunks must not be
at the decoder in turns, and the older one is given to the runner as a whole before the next begins.

**Cuts.** A chunk may be cut after n latent frames and made anew from there. `memory_after(n)` is the memory at that
point: the outputs of each run are kept until the chunk is forgotten.

**Overlap.** A runner that overlaps (CUDA streams) gets the next latent frame as soon as it can begin, and decodes
while the next chunk is denoised. Any other runner decodes when the frames are asked for. What guides the decoder (rays
and edges, cast on another thread) is waited for only when it is needed.

Numpy only.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.deferred import Deferred
from model.errors import RunnerError
from model.runners.base import Arrays, ModuleRunner, OverlappingRunner, Pending, signature_of, started
from model.scene.edge_antialiasing import Edges, resolve
from model.spec import Decode, Graph, ModelSpec

_MEMORY, _NEXT = "memory_", "next_"

Frames = NDArray[np.uint8]


class Decoder:
    """A model's decoder on one runner."""

    def __init__(self, spec: ModelSpec, runner: ModuleRunner, *, tiny: bool = False) -> None:
        """tiny: the one beside the model's own.

        Raises: RunnerError: there is no decoder, or it does not give its memory back.
        """
        self._spec, self._runner = spec, runner
        self._first, self._next = Graph.DECODER_FIRST, Graph.DECODER
        if tiny:
            self._first, self._next = Graph.TINY_DECODER_FIRST, Graph.TINY_DECODER
        self._memory = _memory_inputs(runner, self._next)
        self.keeps_memory = self._first in runner.graphs
        """The memory within a chunk is the runner's; two chunks must not be at the decoder in turns."""
        self._whole = spec.decode is Decode.PER_CHUNK and not self.keeps_memory
        self._mean = np.array(spec.latents_mean, dtype=np.float32)[:, None, None, None]
        self._inv_std = np.array(spec.latents_inv_std, dtype=np.float32)[:, None, None, None]
        self._newest: weakref.ref[Decoding] | None = None

    def fresh_memory(self) -> dict[str, NDArray[np.generic]]:
        """What a decoder remembers that has seen nothing."""
        return {name: np.zeros(shape, dtype) for name, (shape, dtype) in self._memory.items()}

    def begin(
        self,
        latents: NDArray[np.float32],
        guide: Sequence[Deferred[Arrays]],
        memory: Arrays,
        edges: Sequence[Deferred[Edges]] = (),
    ) -> Decoding:
        """Hands over a chunk's latents (1, 16, T, h, w), normalised, what guides the decoder in each latent frame (none
        where nothing does), and the edges of its frames where they are to be painted anew. Raises: RunnerError."""
        newest = self._newest() if self._newest is not None else None
        if self.keeps_memory and newest is not None:
            newest.start_all()
        raw = latents / self._inv_std + self._mean
        decoding = Decoding(self._spec, self._runner, self._pieces(raw, guide), memory, edges)
        self._newest = weakref.ref(decoding)
        return decoding

    def _pieces(self, raw: NDArray[np.float32], guide: Sequence[Deferred[Arrays]]) -> list[_Piece]:
        latents, stride = raw.shape[2], self._spec.temporal_stride
        if self._whole:
            return [_Piece(self._next, raw, guide, self._spec.frames_in(latents))]
        pieces = []
        for index in range(latents):
            here = slice(index, index + 1)
            first = self.keeps_memory and index == 0
            graph, frames = (self._first, 1) if first else (self._next, stride)
            pieces.append(_Piece(graph, raw[:, :, here], guide[here], frames))
        return pieces


@dataclass(frozen=True, slots=True)
class _Piece:
    """What goes through a graph at once, and how many frames come of it. latents: (1, 16, T, h, w), as the graph takes
    them."""

    graph: Graph
    latents: NDArray[np.float32]
    guide: Sequence[Deferred[Arrays]]
    frames: int

    def inputs(self) -> Arrays:
        """The graph's, but for its memory; waits for the guide."""
        guides = [one.get() for one in self.guide]
        if len(guides) == 1:
            return {"latents": self.latents, **guides[0]}
        names = guides[0] if guides else ()
        return {"latents": self.latents, **{name: np.concatenate([one[name] for one in guides], 2) for name in names}}


class Decoding:
    """One chunk under way through the decoder. Not for use from two threads at once."""

    def __init__(
        self,
        spec: ModelSpec,
        runner: ModuleRunner,
        pieces: list[_Piece],
        memory: Arrays,
        edges: Sequence[Deferred[Edges]],
    ) -> None:
        self._spec, self._runner, self._pieces = spec, runner, pieces
        self._edges = edges
        self._made: dict[int, Frames] = {}
        self.memory_names = tuple(memory)
        self._before: Arrays = memory
        self._pending: list[Pending] = []
        self._ahead = isinstance(runner, OverlappingRunner)
        if self._ahead:
            self._start_next()
            if not memory:
                self.start_all()

    def ready(self) -> bool:
        """Whether every frame is made."""
        return len(self._pending) == len(self._pieces) and all(pending.ready() for pending in self._pending)

    def __iter__(self) -> Iterator[Frames]:
        """The frames (N, H, W, 3) of each latent frame in turn. Raises: RunnerError."""
        for index in range(len(self._pieces)):
            yield self._frames(index)

    def start_all(self) -> None:
        """Returns when the runner has been given everything. Raises: RunnerError."""
        while len(self._pending) < len(self._pieces):
            self._start_next()

    def memory(self) -> Mapping[str, NDArray[np.generic]]:
        """What the next chunk continues; waits for the last latent frame. Raises: RunnerError."""
        return self.memory_after(len(self._pieces))

    def memory_after(self, latents: int) -> Mapping[str, NDArray[np.generic]]:
        """What a chunk that ended after `latents` latent frames would leave. Raises: RunnerError."""
        while len(self._pending) < min(latents, len(self._pieces)):
            self._start_next()
        return self._memory_after(latents - 1)

    def _start_next(self) -> None:
        index = len(self._pending)
        piece = self._pieces[index]
        memory = self._memory_after(index - 1) if index else self._before
        self._pending.append(started(self._runner, piece.graph, {**piece.inputs(), **memory}))
        self._before = {}  # it may be another chunk's, and hold all that were before it

    def _memory_after(self, index: int) -> Mapping[str, NDArray[np.generic]]:
        if not self.memory_names:
            return {}
        outputs = self._pending[index].result()
        return {name: outputs[_NEXT + name] for name in self.memory_names}

    def _frames(self, index: int) -> Frames:
        """Of one latent frame; edges are painted once, however often somebody asks."""
        if index not in self._made:
            self._made[index] = self._make(index)
        return self._made[index]

    def _make(self, index: int) -> Frames:
        while len(self._pending) <= index:
            self._start_next()
        piece = self._pieces[index]
        first = sum(before.frames for before in self._pieces[:index])
        edges = [one.get() for one in self._edges[first : first + piece.frames]]  # before waiting
        frames = self._pending[index].result()["frames"]
        if self._ahead and len(self._pending) == index + 1 < len(self._pieces):
            self._start_next()
        wanted = (piece.frames, self._spec.frame_height, self._spec.frame_width, 3)
        if frames.dtype != np.uint8 or frames.shape != wanted:
            raise RunnerError(f"{piece.graph} must give uint8 frames of {wanted}, got {frames.dtype} {frames.shape}")
        pictures: Frames = frames.view(np.uint8)
        if edges and not pictures.flags.writeable:
            pictures = pictures.copy()
        for picture, own in zip(pictures, edges, strict=False):
            resolve(picture, own)
        return pictures


class NextMemory(Mapping[str, NDArray[np.generic]]):
    """The decoder's memory after a chunk, waited for when somebody asks."""

    def __init__(self, decoding: Decoding) -> None:
        self._decoding = decoding

    def __getitem__(self, name: str) -> NDArray[np.generic]:
        if name not in self._decoding.memory_names:
            raise KeyError(name)
        return self._decoding.memory()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._decoding.memory_names)

    def __len__(self) -> int:
        return len(self._decoding.memory_names)


def _memory_inputs(runner: ModuleRunner, decoder: Graph) -> dict[str, tuple[tuple[int, ...], str]]:
    """Shape and dtype of each `memory_*` input of the decoder. Raises: RunnerError: a length varies, or is not given
    back as `next_memory_*`."""
    signature = signature_of(runner.graphs, decoder)
    if "frames" not in signature.outputs:
        raise RunnerError(f"{decoder} gives {', '.join(signature.outputs)}, expected frames; export the model again")
    memory = {}
    for name, tensor in signature.inputs.items():
        if not name.startswith(_MEMORY):
            continue
        if _NEXT + name not in signature.outputs or None in tensor.shape:
            raise RunnerError(f"decoder: {name} {tensor} must have fixed lengths and come back as {_NEXT + name}")
        memory[name] = (tuple(n for n in tensor.shape if n is not None), tensor.dtype)
    return memory
