"""Settings, checked once at the edge and passed in.

Values that are limits of the protocol are in protocol/fields.py; values that a user may turn live here.
"""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path

from bridge.errors import ConfigError

DEFAULT_ADDRESS = "tcp://127.0.0.1:5599"
CONNECT_WAIT_S = 60.0
"""How long a game that a person started waits for a service: it may be loading its model."""
_ADDRESS = re.compile(r"tcp://[^\s:/]+:(\*|\d{1,5})|tcp://\[[0-9a-fA-F:]+\]:(\*|\d{1,5})|(ipc)://\S+")
PRECISIONS = ("auto", "fp32", "bf16", "fp8")
RUNNERS = ("auto", "onnxruntime", "torch", "tensorrt", "rtx")
DECODERS = ("auto", "wan", "tiny")
VAE_PRECISIONS = ("auto", "fp32", "bf16")
SIDE_PX = 64
"""A Helios frame's sides are multiples of it: latents of 8 pixels, patches of 2, a pyramid that halves twice."""
CAMERAS = ("auto", "channels", "layout", "warp-history", "prompt")


def check_address(address: str, *, name: str) -> None:
    """Raises: ConfigError: `address` is not tcp://HOST:PORT or ipc://PATH."""
    match = _ADDRESS.fullmatch(address)
    port = (match[1] or match[2]) if match else None
    if match is None or (port not in (None, "*") and int(port) > 65535):
        raise ConfigError(f"{name}: got {address!r}, expected tcp://HOST:PORT, for example {DEFAULT_ADDRESS}")


def is_this_machine(address: str) -> bool:
    """True for ipc and loopback addresses: what is said there does not leave the machine."""
    if address.startswith("ipc://"):
        return True
    host = address.removeprefix("tcp://").rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _check_states(folder: Path) -> None:
    """Raises: ConfigError: it is none, cannot be made or cannot be written into."""
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not there.is_dir():
        raise ConfigError(f"states: {there} is a file, expected a folder to save states in")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigError(f"states: {there} cannot be written into, expected a folder to save states in")


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:  # NaN fails every comparison and lands here too
        raise ConfigError(f"{name}: got {value}, expected {low:g} to {high:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelForm:
    """What a model leaves open, a checkpoint of Helios above all; empty, None and "auto" are its own choice.

    decoder: "wan" or "tiny". vae_precision: of encoder and decoder. frame_size: (width, height) in pixels.
    chunk_latents: the different chunk lengths on offer, in latent frames. steps: denoising steps, one number a stage.
    amplify_first_chunk: a video's first chunk gets twice the steps. blend_chunks: over how many chunks a new prompt
    comes in. camera: how a pose reaches the pixels. adapter: a file of weights to merge into the transformer's.
    """

    decoder: str = "auto"
    vae_precision: str = "auto"
    frame_size: tuple[int, int] | None = None
    chunk_latents: tuple[int, ...] = ()
    steps: tuple[int, ...] = ()
    amplify_first_chunk: bool = True
    blend_chunks: int = 1
    camera: str = "auto"
    adapter: Path | None = None

    def __post_init__(self) -> None:
        for name, value, known in (
            ("decoder", self.decoder, DECODERS),
            ("vae_precision", self.vae_precision, VAE_PRECISIONS),
            ("camera", self.camera, CAMERAS),
        ):
            if value not in known:
                raise ConfigError(f"{name}: got {value!r}, expected one of {', '.join(known)}")
        for side in self.frame_size or ():
            _check_range("frame_size", side, 64, 4096)
            if side % SIDE_PX:
                raise ConfigError(f"frame_size: got {side}, expected multiples of {SIDE_PX} pixels, such as 640x384")
        for latents in self.chunk_latents:
            _check_range("chunk_latents", latents, 1, 9)
        if len(set(self.chunk_latents)) < len(self.chunk_latents):
            text = ",".join(map(str, self.chunk_latents))
            raise ConfigError(f"chunk_latents: got {text}, expected each length once")
        for steps in self.steps:
            _check_range("steps", steps, 1, 50)
        _check_range("blend_chunks", self.blend_chunks, 1, 100)


@dataclass(frozen=True, slots=True, kw_only=True)
class ServeConfig:
    """What `helios-bridge serve` can be told.

    bind: a ZeroMQ address; port "*" picks a free one. model: "demo", "synthetic" or a folder. precision: of the
    network's large products; all but "auto" run on torch. form: what a checkpoint leaves open. heartbeat_us: a silent
    client is asked after this time, and counts as lost after `missed_heartbeats` of them. resume_window_us:
    how long a lost client's session is kept. max_credit: the most frames under way to one client. quality: "auto", or
    the rung of the engine's quality ladder to stay on. waste: the share of the engine's time that may go into frames
    that newer controls make obsolete before they are shown. curve: folder of the service's keys; connections are
    encrypted then, and only clients named there may connect. insecure: without keys on an address that other machines
    reach. states: folder that clients may save their sessions' states in; None: they may not.
    """

    bind: str = DEFAULT_ADDRESS
    model: str = "demo"
    runner: str = "auto"
    precision: str = "auto"
    form: ModelForm = ModelForm()
    fps: float = 24.0
    max_sessions: int = 4
    seed: int = 0
    prompt: str = ""
    heartbeat_us: int = 1_000_000
    missed_heartbeats: int = 3
    resume_window_us: int = 30_000_000
    max_credit: int = 4
    jpeg_quality: int = 85
    quality: str = "auto"
    waste: float = 0.5
    curve: Path | None = None
    insecure: bool = False
    states: Path | None = None

    def __post_init__(self) -> None:
        check_address(self.bind, name="bind")
        if not self.model:
            raise ConfigError("model: got an empty text, expected 'demo' or a folder")
        if self.runner not in RUNNERS:
            raise ConfigError(f"runner: got {self.runner!r}, expected one of {', '.join(RUNNERS)}")
        if self.precision not in PRECISIONS:
            raise ConfigError(f"precision: got {self.precision!r}, expected one of {', '.join(PRECISIONS)}")
        if self.precision != "auto" and self.runner not in ("auto", "torch"):
            raise ConfigError(f"precision: got {self.precision} with runner {self.runner}, expected runner torch")
        if not (is_this_machine(self.bind) or self.curve or self.insecure):
            raise ConfigError(
                f"bind: {self.bind} can be reached from other machines, unencrypted and by anybody; make keys with "
                "helios-bridge keys new and add --curve keys, or say --insecure on a network that you trust"
            )
        if self.states is not None:
            _check_states(self.states)
        _check_range("fps", self.fps, 1, 240)
        _check_range("max_sessions", self.max_sessions, 1, 1024)
        _check_range("seed", self.seed, 0, 2**53 - 1)
        _check_range("heartbeat_us", self.heartbeat_us, 10_000, 60_000_000)
        _check_range("missed_heartbeats", self.missed_heartbeats, 1, 100)
        _check_range("resume_window_us", self.resume_window_us, 0, 3_600_000_000)
        _check_range("max_credit", self.max_credit, 1, 8)
        _check_range("jpeg_quality", self.jpeg_quality, 1, 100)
        _check_range("waste", self.waste, 0, 1)
