"""A card that shows frames, and a window of a frame's exact size that looks at it, to read back what is on show."""

from __future__ import annotations

import numpy as np
from direct.showbase.ShowBase import ShowBase
from numpy.typing import NDArray
from panda3d.core import Camera as CameraNode
from panda3d.core import CardMaker, GraphicsOutput, NodePath, OrthographicLens, SamplerState, Texture

Pixels = NDArray[np.uint8]
"""(H, W, 3) RGB, row 0 at the top."""


class FrameCard:
    """A texture on a square of side 2 around the origin. Texels are shown as they are: nearest, no mipmaps, no sRGB."""

    def __init__(self, width: int, height: int) -> None:
        self._texture = Texture("frame")
        self._texture.setup2dTexture(width, height, Texture.TUnsignedByte, Texture.FRgb)
        self._texture.setMinfilter(SamplerState.FTNearest)
        self._texture.setMagfilter(SamplerState.FTNearest)
        self._texture.setWrapU(SamplerState.WMClamp)
        self._texture.setWrapV(SamplerState.WMClamp)
        maker = CardMaker("frame")
        maker.setFrame(-1, 1, -1, 1)
        self.path = NodePath(maker.generate())
        self.path.setTexture(self._texture)
        self.path.setLightOff()

    def show(self, pixels: Pixels) -> None:
        """Panda3D's textures begin at the bottom."""
        self._texture.setRamImageAs(np.ascontiguousarray(pixels[::-1]).tobytes(), "RGB")


class ExactView:
    """A buffer that draws a card one pixel a texel."""

    def __init__(self, base: ShowBase, card: FrameCard, width: int, height: int) -> None:
        self._base = base
        self._size = (height, width)
        self._seen = Texture("seen")
        self._buffer = base.win.makeTextureBuffer("exact", width, height, self._seen, True)
        self._buffer.setClearColor((1, 0, 1, 1))
        lens = OrthographicLens()
        lens.setFilmSize(2, 2)
        lens.setNearFar(-10, 10)
        stage = NodePath("stage")
        camera = stage.attachNewNode(CameraNode("exact", lens))
        card.path.copyTo(stage)
        self._buffer.makeDisplayRegion().setCamera(camera)
        base.graphicsEngine.renderFrame()  # opens the buffer; it draws from the next frame on

    def read(self) -> Pixels:
        """What was on show when the last frame was rendered."""
        return pixels_of(self._seen, self._size)


def screenshot(base: ShowBase, window: GraphicsOutput) -> Pixels:
    """Renders once more and reads the window."""
    base.graphicsEngine.renderFrame()
    base.graphicsEngine.renderFrame()
    shot = window.getScreenshot()
    return pixels_of(shot, (shot.getYSize(), shot.getXSize()))


def pixels_of(texture: Texture, size: tuple[int, int]) -> Pixels:
    """A texture in memory as RGB from the top."""
    data = np.frombuffer(bytes(texture.getRamImageAs("RGB")), np.uint8)
    pixels: Pixels = data.reshape(*size, 3)[::-1]
    return pixels
