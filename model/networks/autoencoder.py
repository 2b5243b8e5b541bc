"""The tiny video autoencoder: 8x in space, 4x in time, streaming.

Its layout is TAEHV's (Ollin Boer Bohan, MIT; github.com/madebyollin/taehv), so that public checkpoints of that family
load by name (`TAEW2_1`); `DEMO` is a narrow version with a 2x2 pixel shuffle. A MemBlock sees its own previous frame's
features: given back as `memory`, decoding chunk by chunk yields the same frames as decoding all at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from model.scene.ray_features import RAY_CHANNELS


@dataclass(frozen=True, slots=True, kw_only=True)
class AutoencoderConfig:
    """Widths and depths; three levels, the first the coarsest for the decoder and the finest for the encoder.

    decoder_leak: the slope of the decoder's ReLUs below zero. Without one, training killed whole MemBlocks.
    guide_channels: how much a guided decoder is told of what each ray of a grid met; 0 for one that is not guided.
    guide_widths: of the gated layers that read it; shading_width: of the layer that follows the guide.
    pixel_mean, pixel_std: the networks see (pixel - mean) / std; public checkpoints take pixels as they are.
    """

    latent_channels: int = 16
    encoder_width: int = 64
    encoder_blocks: tuple[int, int, int] = (3, 3, 3)
    encoder_space: tuple[int, int, int] = (2, 2, 2)
    encoder_time: tuple[int, int, int] = (2, 2, 1)
    decoder_widths: tuple[int, int, int, int] = (256, 128, 64, 64)
    decoder_blocks: tuple[int, int, int] = (3, 3, 3)
    decoder_space: tuple[int, int, int] = (2, 2, 2)
    decoder_time: tuple[int, int, int] = (1, 2, 2)
    decoder_leak: float = 0.0
    patch_size: int = 1
    guide_channels: int = 0
    guide_widths: tuple[int, ...] = (48, 48)
    shading_width: int = 40
    pixel_mean: float = 0.0
    pixel_std: float = 1.0


_SHADING_LAYERS = 4  # ReLU, 1x1 convolution, ReLU, convolution: what works on features that the guide has modulated
TAEW2_1 = AutoencoderConfig()
DEMO = AutoencoderConfig(
    encoder_width=48, encoder_blocks=(0, 1, 2), encoder_space=(1, 2, 2),
    decoder_widths=(80, 40, 24, 32), decoder_blocks=(2, 1, 0), decoder_space=(2, 2, 1), decoder_leak=0.1,
    patch_size=2, guide_channels=RAY_CHANNELS, pixel_mean=0.45, pixel_std=0.25,
)  # fmt: skip


def _conv(channels_in: int, channels_out: int, *, stride: int = 1, bias: bool = True) -> nn.Conv2d:
    return nn.Conv2d(channels_in, channels_out, 3, padding=1, stride=stride, bias=bias)


def _relu(leak: float) -> nn.Module:
    return nn.LeakyReLU(leak) if leak else nn.ReLU()


class Clamp(nn.Module):
    """Keeps latents in (-3, 3)."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.tanh(x / 3) * 3


class Gated(nn.Module):
    """A 1x1 layer whose output is a product of two (ReGLU, arXiv 2002.05202): textures are products of waves, and light
    is one of what gives it and what takes it."""

    def __init__(self, channels_in: int, channels_out: int) -> None:
        super().__init__()
        self.value, self.gate = (nn.Conv2d(channels_in, channels_out, 1) for _ in range(2))

    def forward(self, x: Tensor, told: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """told: two of (N, channels_out, 1, 1), what is the same for a whole picture."""
        value, gate = self.value(x), self.gate(x)
        if told is not None:
            value, gate = value + told[0], gate + told[1]
        product: Tensor = value * functional.relu(gate)
        return product


class GuideReader(nn.Module):
    """Reads every ray by itself, in the light of the whole picture: a scale and an offset for each of the decoder's
    last features."""

    def __init__(self, channels: int, widths: tuple[int, ...], features: int, coarse: int) -> None:
        super().__init__()
        layers: list[nn.Module] = [Gated(before, after) for before, after in pairwise((channels, *widths))]
        self.read = nn.Sequential(*layers, nn.Conv2d(widths[-1], 2 * features, 1))
        self.light = nn.Sequential(nn.Linear(coarse, coarse), nn.ReLU(), nn.Linear(coarse, 2 * widths[-1]))

    def forward(self, rays: Tensor, coarse: Tensor) -> tuple[Tensor, Tensor]:
        """rays: (N, channels, h, w). coarse: (M, coarse, ., .), M divides N: pictures as their latents tell them, from
        which light and weather are read. Returns scale and offset, each (N, features, h, w)."""
        *first, last, to_modulation = self.read
        for layer in first:
            rays = layer(rays)
        told = self.light(coarse.mean((2, 3))).repeat_interleave(rays.shape[0] // coarse.shape[0], 0)
        scale, offset = to_modulation(last(rays, told[..., None, None].chunk(2, 1))).chunk(2, 1)
        return scale, offset


class MemBlock(nn.Module):
    """A residual block over a frame's features and its predecessor's."""

    def __init__(self, width: int, leak: float = 0.0) -> None:
        super().__init__()
        self.width = width
        self.conv = nn.Sequential(
            _conv(2 * width, width), _relu(leak), _conv(width, width), _relu(leak), _conv(width, width)
        )
        self.act = _relu(leak)

    def forward(self, x: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """x: (N, T, C, H, W), memory: (N, 1, C, H, W) of the frame before x. Returns the output and the new memory."""
        past = torch.cat([memory, x[:, :-1]], 1)
        n, t = x.shape[:2]
        flat = torch.cat([x, past], 2).flatten(0, 1)
        return self.act(self.conv(flat).unflatten(0, (n, t)) + x), x[:, -1:]


class TPool(nn.Module):
    """Joins `stride` frames into one."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width * stride, width, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c, h, w = x.shape
        joined = x.reshape(n * (t // self.stride), self.stride * c, h, w)
        return torch.unflatten(self.conv(joined), 0, (n, t // self.stride))


class TGrow(nn.Module):
    """Splits one frame into `stride`."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.conv = nn.Conv2d(width, width * stride, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        n, t, c, h, w = x.shape
        return torch.reshape(self.conv(x.flatten(0, 1)), (n, t * self.stride, c, h, w))


def _initialise(module: nn.Module) -> None:
    """He initialisation (arXiv 1502.01852): without norms, PyTorch's default shrinks the signal layer by layer.

    A MemBlock starts near the identity.
    """
    if isinstance(module, nn.Conv2d):
        # the convolutions without a bias are those that no ReLU follows
        nn.init.kaiming_normal_(module.weight, nonlinearity="linear" if module.bias is None else "relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    elif isinstance(module, MemBlock):
        last = module.conv[4]
        assert isinstance(last, nn.Conv2d)
        nn.init.normal_(last.weight, std=0.1 / (9 * module.width) ** 0.5)


def _cheapest_order(layers: Iterable[nn.Module]) -> list[nn.Module]:
    """TGrow before the Upsample that precedes it: a 1x1 convolution does the same on fewer pixels."""
    order = list(layers)
    for place, (first, second) in enumerate(pairwise(list(order))):
        if isinstance(first, nn.Upsample) and isinstance(second, TGrow):
            order[place : place + 2] = [second, first]
    return order


def _run(layers: Iterable[nn.Module], x: Tensor, memory: list[Tensor] | None) -> tuple[Tensor, list[Tensor]]:
    """Runs layers over (N, T, C, H, W); `memory` None starts with nothing seen."""
    left = list(memory) if memory is not None else None
    after: list[Tensor] = []
    for layer in _cheapest_order(layers):
        if isinstance(layer, MemBlock):
            past = left.pop(0) if left is not None else torch.zeros_like(x[:, :1])
            x, newest = layer(x, past)
            after.append(newest)
        elif isinstance(layer, TPool | TGrow):
            x = layer(x)
        else:
            n, t = x.shape[:2]
            x = layer(x.flatten(0, 1)).unflatten(0, (n, t))
    return x, after


class TinyAutoencoder(nn.Module):
    """Video <-> latents. Frames are (N, T, 3, H, W) in [0, 1]; latents (N, T/4, 16, H/8, W/8), not normalised."""

    def __init__(self, config: AutoencoderConfig = DEMO) -> None:
        super().__init__()
        self.config = config
        width, patch = config.encoder_width, config.patch_size
        encoder: list[nn.Module] = [_conv(3 * patch**2, width), nn.ReLU()]
        for blocks, space, time in zip(config.encoder_blocks, config.encoder_space, config.encoder_time, strict=True):
            encoder += [TPool(width, time), _conv(width, width, stride=space, bias=False)]
            encoder += [MemBlock(width) for _ in range(blocks)]
        encoder.append(_conv(width, config.latent_channels))
        self.encoder = nn.Sequential(*encoder)
        widths, leak = config.decoder_widths, config.decoder_leak
        decoder: list[nn.Module] = [Clamp(), _conv(config.latent_channels, widths[0]), _relu(leak)]
        for level, (blocks, space, time) in enumerate(
            zip(config.decoder_blocks, config.decoder_space, config.decoder_time, strict=True)
        ):
            decoder += [MemBlock(widths[level], leak) for _ in range(blocks)]
            decoder += [nn.Upsample(scale_factor=float(space)), TGrow(widths[level], time)]
            decoder += [_conv(widths[level], widths[level + 1], bias=False)]
        self.guide = None
        last = widths[3]
        if config.guide_channels:
            self.guide = GuideReader(config.guide_channels, config.guide_widths, widths[3], widths[0])
            last = config.shading_width
            decoder += [_relu(leak), nn.Conv2d(widths[3], last, 1)]
        decoder += [_relu(leak), _conv(last, 3 * patch**2)]
        self.decoder = nn.Sequential(*decoder)

        self.apply(_initialise)
        to_latents, to_pixels = self.encoder[-1], self.decoder[-1]
        assert isinstance(to_latents, nn.Conv2d)
        assert isinstance(to_pixels, nn.Conv2d)
        nn.init.normal_(to_latents.weight, std=4 / (9 * width) ** 0.5)  # latents of about unit size
        nn.init.normal_(to_pixels.weight, std=0.5 / (9 * last) ** 0.5)
        if self.guide is not None:
            to_modulation = self.guide.read[-1]
            assert isinstance(to_modulation, nn.Conv2d)
            nn.init.normal_(to_modulation.weight, std=0.3 / config.guide_widths[-1] ** 0.5)
            to_light = self.guide.light[-1]
            assert isinstance(to_light, nn.Linear)
            nn.init.zeros_(to_light.weight)
            nn.init.zeros_(to_light.bias)

    def encode(self, frames: Tensor, memory: list[Tensor] | None = None) -> tuple[Tensor, list[Tensor]]:
        """Raises: ValueError: T is no multiple of 4, H or W no multiple of 8."""
        if frames.shape[1] % 4 or frames.shape[3] % 8 or frames.shape[4] % 8:
            raise ValueError(f"frames must be (N, 4n, 3, 8n, 8n), got {tuple(frames.shape)}")
        frames = (frames - self.config.pixel_mean) / self.config.pixel_std
        if self.config.patch_size > 1:
            frames = functional.pixel_unshuffle(frames, self.config.patch_size)
        return _run(self.encoder, frames, memory)

    def decode(
        self, latents: Tensor, memory: list[Tensor] | None = None, guide: Tensor | None = None
    ) -> tuple[Tensor, list[Tensor]]:
        """Returns frames (N, 4 T, 3, H, W), not clipped, and the memory that continues them.

        guide: (N, 4 T, guide_channels, H/2, W/2), what the rays of each frame met (`model.scene.ray_features`).

        Raises: ValueError: a guided decoder got no guide, or one that is not guided got one.
        """
        if (guide is None) != (self.guide is None):
            wanted, got = ("none" if given is None else "one" for given in (self.guide, guide))
            raise ValueError(f"guide: this decoder takes {wanted}, got {got}")
        if self.guide is None or guide is None:
            frames, after = _run(self.decoder, latents, memory)
        else:
            layers = list(self.decoder)
            finer = next(place for place, layer in enumerate(layers) if isinstance(layer, nn.Upsample))
            seen = self.config.decoder_blocks[0]
            coarse, after = _run(layers[:finer], latents, memory and memory[:seen])
            features, after_finer = _run(layers[finer:-_SHADING_LAYERS], coarse, memory and memory[seen:])
            scale, offset = self.guide(guide.flatten(0, 1), coarse.flatten(0, 1))
            modulated = features.flatten(0, 1) * (1 + scale) + offset
            frames, _ = _run(layers[-_SHADING_LAYERS:], modulated.unflatten(0, features.shape[:2]), None)
            after += after_finer
        if self.config.patch_size > 1:
            frames = functional.pixel_shuffle(frames, self.config.patch_size)
        return frames * self.config.pixel_std + self.config.pixel_mean, after

    def decoder_memory_shapes(self, latent_height: int, latent_width: int) -> list[tuple[int, ...]]:
        """(1, 1, C, h, w) of each decoder MemBlock in order, for one stream."""
        shapes: list[tuple[int, ...]] = []
        scale = 1
        for layer in self.decoder:
            if isinstance(layer, MemBlock):
                shapes.append((1, 1, layer.width, latent_height * scale, latent_width * scale))
            elif isinstance(layer, nn.Upsample):
                scale *= int(layer.scale_factor or 1)  # type: ignore[arg-type]
        return shapes
