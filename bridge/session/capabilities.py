"""What a server offers: the fields of WELCOME that are the same for every session."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from bridge.config import ServeConfig
from bridge.engine.interface import EngineInfo
from bridge.errors import ErrorCode, RemoteProtocolError
from bridge.protocol.messages import VERSION_MAJOR, VERSION_MINOR, Hello, PixelFormat, Welcome
from bridge.version import name_and_version

CAPABILITIES: Final = ("reproject", "scene", "stats", "resume")
MAY_OFFER: Final = ("pictures", "save")  # with an engine that begins with pictures, with a folder for states


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerCapabilities:
    """What this server can do; it becomes WELCOME."""

    server: str
    model: str
    runner: str
    camera_method: str
    default_map: str
    frame_width: int
    frame_height: int
    fps: float
    frames_per_chunk: tuple[int, ...]
    capabilities: tuple[str, ...] = ()
    pixel_formats: tuple[PixelFormat, ...] = (PixelFormat.RGB8, PixelFormat.JPEG)

    def check(self, capability: str, what: str, remedy: str) -> None:
        """Raises: RemoteProtocolError: this server cannot do `what`, which needs `capability`."""
        if capability not in self.capabilities:
            text = f"{what}: this server lacks the capability {capability!r}; {remedy}"
            raise RemoteProtocolError(ErrorCode.UNSUPPORTED, text)

    def welcome(
        self,
        hello: Hello,
        *,
        session_id: str,
        resume_token: str,
        credit: int,
        pixel_format: PixelFormat,
        heartbeat_us: int = 1_000_000,
        resumed: bool = False,
        last_seq: int = -1,
        ring: str = "",
    ) -> Welcome:
        """The answer to `hello`. What the two sides agreed on is the session's to say."""
        return Welcome(
            version_major=VERSION_MAJOR,
            version_minor=VERSION_MINOR,
            server=self.server,
            session_id=session_id,
            resume_token=resume_token,
            resumed=resumed,
            last_seq=last_seq,
            capabilities=self.capabilities,
            axes=hello.axes,
            model=self.model,
            runner=self.runner,
            camera_method=self.camera_method,
            default_map=self.default_map,
            frame_width=self.frame_width,
            frame_height=self.frame_height,
            fps=self.fps,
            frames_per_chunk=self.frames_per_chunk,
            heartbeat_us=heartbeat_us,
            credit=credit,
            pixel_format=pixel_format,
            ring=ring,
        )


def capabilities_of(info: EngineInfo, config: ServeConfig) -> ServerCapabilities:
    """What this service offers over an engine."""
    may = zip(MAY_OFFER, (info.takes_pictures, config.states is not None), strict=True)
    return ServerCapabilities(
        server=name_and_version(),
        model=info.model,
        runner=info.runner,
        camera_method=info.camera_method,
        default_map=info.default_map,
        frame_width=info.frame_width,
        frame_height=info.frame_height,
        fps=config.fps,
        frames_per_chunk=info.frames_per_chunk,
        capabilities=CAPABILITIES + tuple(name for name, has in may if has),
    )
