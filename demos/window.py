"""The game's window: the frame on show, what is drawn over it, and pictures and recordings of both."""

from __future__ import annotations

import warnings
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pygame
from numpy.typing import NDArray

import bridge
from bridge.clock import Clock
from demos.controls import HELP, Controls, View
from demos.hud import SOFT, WHITE, Hud, Lettering, new_panel, shortened
from demos.minimap import Minimap
from demos.recording import VideoFile, write_png
from demos.reference_view import ReferenceView
from demos.session import BridgeSession
from demos.world import VERTICAL_FOV_DEG, ReferenceRenderer, World

_LEAST_WIDTH_PX = 960
_MAP_PX = 168
_EDGE_PX = 12
_HELP_US = 10_000_000
_NOTE_US = 2_500_000
_APPLIED, _ON_ITS_WAY, _RED = (96, 208, 142), (244, 198, 98), (236, 84, 74)
_GREY = (128, 128, 128)
_MOST_CHARS = 64  # of a line of text


class Window:
    """Shows frames of one size, enlarged by a whole factor. Needs `pygame.display.init()`.

    Raises: pygame.error: no window can be opened.
    """

    def __init__(self, world: World, welcome: bridge.Welcome, clock: Clock, out_dir: Path) -> None:
        width, height = welcome.frame_width, welcome.frame_height
        scale = max(1, round(_LEAST_WIDTH_PX / width))
        self.controls = Controls()
        self._welcome = welcome
        self._clock = clock
        self._out_dir = out_dir
        self._size_px = (width * scale, height * scale)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SDL says when it has no GPU; this is shown all the same
            self._screen = pygame.display.set_mode(self._size_px, pygame.SCALED | pygame.RESIZABLE)
        pygame.display.set_caption("helios-bridge")
        pygame.font.init()
        pygame.key.stop_text_input()
        self._text = Lettering(21)
        self._small = Lettering(18)
        self._hud = Hud()
        aspect = np.tan(np.radians(VERTICAL_FOV_DEG / 2)) * width / height
        self._map = Minimap(world.level, _MAP_PX, float(np.degrees(np.arctan(aspect))))
        self._reference = ReferenceView(ReferenceRenderer(world.level.blockout), clock)
        self._disk = ThreadPoolExecutor(max_workers=1, thread_name_prefix="disk")
        self._saving: deque[tuple[Path, Future[None]]] = deque()
        self._video: VideoFile | None = None
        self._video_began_us = 0
        self._opened_us = clock.now_us()
        self._note, self._note_until_us = "", 0

    @property
    def is_open(self) -> bool:
        return not self.controls.quit

    def show(self, session: BridgeSession, world: World) -> None:
        """Paints the newest frame and everything over it."""
        now_us = self._clock.now_us()
        self._paint_view(session, world)
        if self.controls.figures:
            self._hud.draw(self._screen, session, self._welcome, now_us)
        if self.controls.minimap:
            self._map.draw(self._screen, (self._size_px[0] - _MAP_PX - _EDGE_PX, _EDGE_PX), world.view)
        self._paint_words(session, world, now_us)
        if self.controls.wants_picture:
            self.controls.wants_picture = False
            self._save_picture()
        self._say_what_was_saved(now_us)
        if self.controls.wants_record_toggle:
            self.controls.wants_record_toggle = False
            try:
                self.toggle_recording(self._free_name("recording", "mp4"))
            except bridge.ConfigError as exc:
                self._say(str(exc), now_us)
        self._record(now_us)
        pygame.display.flip()

    def toggle_recording(self, path: Path) -> None:
        """Starts a recording of the window, or ends the one that runs.

        Raises: ConfigError: the file cannot be written.
        """
        now_us = self._clock.now_us()
        if self._video is None:
            width, height = self._size_px
            self._video, self._video_began_us = VideoFile(path, (height, width)), now_us
        else:
            self._video.close(wait=False)
            self._say(f"saved {self._video.path}", now_us)
            self._video = None

    def close(self) -> None:
        """Finishes a recording that runs, and closes the window."""
        if self._video is not None:
            self._video.close()
        self._reference.close()
        self._disk.shutdown(wait=True)
        pygame.quit()

    # -- the picture -----------------------------------------------------------------------------------------------

    def _paint_view(self, session: BridgeSession, world: World) -> None:
        frame, view = session.newest, self.controls.view
        if frame is None:
            self._screen.fill(_GREY)
            return
        if view is not View.REFERENCE:
            self._enlarge(frame.pixels)
        if view is View.NEURAL:
            return
        header = frame.header
        shown = bridge.Camera(
            position=header.position, rotation=header.rotation, vertical_fov_deg=header.vertical_fov_deg
        )
        # Beside the neural picture it must show the same moment; alone it is the game as the game knows it.
        if view is View.SPLIT:
            camera, conditions = shown, session.applied.conditions
        else:
            camera, conditions = world.view.camera, world.conditions
        self._reference.ask(camera, conditions, world.time_s, (header.height, header.width))
        picture = self._reference.picture
        if picture is not None and view is View.REFERENCE:
            self._enlarge(picture)
        elif picture is not None:
            middle = self._size_px[0] // 2
            neural = self._screen.subsurface((0, 0, middle, self._size_px[1])).copy()
            self._enlarge(picture)
            self._screen.blit(neural, (0, 0))
            pygame.draw.line(self._screen, WHITE, (middle, 0), (middle, self._size_px[1]), 2)
            self._pill("neural", (middle - 8, _EDGE_PX), right=True)
            self._pill("reference", (middle + 10, _EDGE_PX))

    def _enlarge(self, pixels: NDArray[np.uint8]) -> None:
        height, width = pixels.shape[:2]
        picture = pygame.image.frombuffer(
            pixels.data, (width, height), "RGB"
        ).convert()  # 32 bits scale nine times faster
        pygame.transform.smoothscale(picture, self._size_px, self._screen)

    # -- words -----------------------------------------------------------------------------------------------------

    def _paint_words(self, session: BridgeSession, world: World, now_us: int) -> None:
        width, height = self._size_px
        bottom = height - 42
        if session.newest is None or session.newest.header.chunk < 0:
            self._centred("the network paints its first frames", height // 2)
        if self.controls.typing is not None:
            caret = "|" if now_us // 500_000 % 2 == 0 else " "
            self._centred(f"say:  {self.controls.typing[-_MOST_CHARS:]}{caret}     (Enter sends, Esc cancels)", bottom)
            return
        if now_us < self._note_until_us:
            self._centred(self._note, bottom)
        elif now_us - self._opened_us < _HELP_US:
            self._centred(HELP, bottom, font=self._small)
        if world.action:
            is_applied = session.applied.action == world.action
            self._pill(
                f"“{shortened(world.action, _MOST_CHARS)}”",
                (_EDGE_PX, bottom - 34),
                dot=_APPLIED if is_applied else _ON_ITS_WAY,
            )
        if self._video is not None:
            self._pill("recording", (width - 112, bottom - 34), dot=_RED)

    def _say(self, note: str, now_us: int) -> None:
        self._note, self._note_until_us = note, now_us + _NOTE_US

    def _centred(self, text: str, y: int, *, font: Lettering | None = None) -> None:
        width = (font or self._text).width_px(text) + 24
        self._pill(text, ((self._size_px[0] - width) // 2, y), font=font)

    def _pill(
        self,
        text: str,
        at: tuple[int, int],
        *,
        dot: tuple[int, int, int] | None = None,
        font: Lettering | None = None,
        right: bool = False,
    ) -> None:
        """A line of text on a panel, `at` its upper left (or right) corner."""
        picture = (font or self._text).render(text, WHITE if font is None else SOFT)
        indent = 12 if dot is None else 26
        panel = new_panel((picture.get_width() + indent + 12, 28))
        if dot is not None:
            pygame.draw.circle(panel, dot, (14, 14), 5)
        panel.blit(picture, (indent, (28 - picture.get_height()) // 2 + 1))
        self._screen.blit(panel, (at[0] - (panel.get_width() if right else 0), at[1]))

    # -- files -----------------------------------------------------------------------------------------------------

    def _save_picture(self) -> None:
        path = self._free_name("screenshot", "png")
        self._saving.append((path, self._disk.submit(write_png, path, self._contents())))

    def _say_what_was_saved(self, now_us: int) -> None:
        while self._saving and self._saving[0][1].done():
            path, job = self._saving.popleft()
            error = job.exception()
            self._say(f"saved {path}" if error is None else str(error), now_us)

    def _record(self, now_us: int) -> None:
        at_s = (now_us - self._video_began_us) / 1e6
        if self._video is None or not self._video.wants(at_s):
            return
        self._video.add(self._contents(), at_s)

    def _contents(self) -> NDArray[np.uint8]:
        """A copy of what is on the screen: (H, W, 3) uint8 RGB."""
        width, height = self._size_px
        return np.frombuffer(pygame.image.tobytes(self._screen, "RGB"), np.uint8).reshape(height, width, 3)

    def _free_name(self, stem: str, suffix: str) -> Path:
        under_way = [path for path, _ in self._saving]
        number = 1
        while (path := self._out_dir / f"{stem}-{number:03d}.{suffix}").exists() or path in under_way:
            number += 1
        return path
