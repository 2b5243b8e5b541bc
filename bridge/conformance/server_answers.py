"""What a server must answer in a session, and with what: one function a script."""

from __future__ import annotations

import math
from typing import Final

from bridge.conformance.outcome import Declined, Failed, require
from bridge.conformance.server_stage import TICK_US, Connect
from bridge.errors import ErrorCode
from bridge.protocol.messages import (
    Axes,
    Bye,
    MessageType,
    Part,
    PartMove,
    PixelFormat,
    Reset,
    Save,
    Saved,
    SceneUpdate,
    Shape,
    Source,
)
from bridge.transport.frame_ring import open_ring

_STATE: Final = "conform-kit"  # what a server that keeps states is left with


def answers(connect: Connect) -> str:
    """Every CONTROL is answered by a FRAME with its seq and t_us, in order; deadline_met agrees with server_us."""
    stage = connect()
    budget_us = 50_000
    stage.open_session(budget_us=budget_us)
    for _ in range(60):
        frame = stage.step()
        kept = frame.server_us <= budget_us
        # server_us is taken a moment before it is sent, by the same clock; a millisecond covers that.
        require(
            frame.deadline_met == kept or abs(frame.server_us - budget_us) < 1000,
            f"deadline_met {frame.deadline_met} with server_us {frame.server_us} and a budget of {budget_us}",
        )
        require(
            (frame.chunk >= 0) or frame.source is Source.HELD,
            f"source {frame.source.value} of chunk -1, expected held before the first chunk",
        )
    stage.listen(TICK_US)
    return f"60 of 60, {sum(frame.deadline_met for frame in stage.frames)} in budget"


def credit(connect: Connect) -> str:
    """No more than `credit` FRAMEs unread; the CONTROL that gives credit back is answered itself, the rest dropped."""
    stage = connect()
    granted = stage.open_session(credit=2).credit
    for _ in range(20):
        stage.control(frame_received_seq=-1)
        stage.listen(2_000)
    stage.listen(5 * TICK_US)
    got = len(stage.frames)
    require(got == granted, f"{got} FRAMEs for 20 CONTROLs that named none, expected {granted} (the credit granted)")
    newest = stage.step()
    require(newest.seq == stage.seq, f"FRAME {newest.seq} after credit came back, expected {stage.seq}")
    stats = stage.stats()
    seen = (stats.controls, stats.answered, stats.dropped)
    require(seen == (21, granted + 1, 20 - granted), f"STATS controls, answered, dropped {seen}")
    return f"{granted} granted, {stats.dropped} dropped"


def axes(connect: Connect) -> str:
    """The camera comes back in the client's own axes and units, whichever they are."""
    for name in Axes:
        stage = connect()
        units = 100.0 if name is Axes.UNREAL else 1.0
        stage.open_session(axes=name, units_per_metre=units)
        half = math.sqrt(0.5)
        rotation = (0.0, 0.0, half, half) if name is Axes.UNREAL else (0.0, half, 0.0, half)
        position = (1.0 * units, 2.0 * units, 3.0 * units)
        frame = stage.step(position=position, rotation=rotation)
        if frame.source is not Source.HELD or frame.chunk == -1:
            _require_close(frame.rotation, rotation, f"{name.value}: rotation")
            if frame.chunk == -1:
                _require_close(frame.position, position, f"{name.value}: position")
        stage.send(Bye())
    return ", ".join(name.value for name in Axes)


def scene(connect: Connect) -> str:
    """A blockout is taken; changing the default map, moving unknown parts and broken meshes are refused."""
    stage = connect()
    stage.open_session()
    box = Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, -5.0))
    stage.send(SceneUpdate(add=(box,)))
    stage.wait_for_error(ErrorCode.UNKNOWN_PART, "a first SCENE without replace", fatal=False)
    stage.send(SceneUpdate(replace=True, add=(box,), prompt="a test"))
    stage.send(SceneUpdate(move=(PartMove(id=1, position=(1.0, 0.0, -5.0)),)))
    stage.step()
    stage.send(SceneUpdate(move=(PartMove(id=7, position=(0.0, 0.0, 0.0)),)))
    stage.wait_for_error(ErrorCode.UNKNOWN_PART, "moving a part that was never added", fatal=False)
    triangle = {"id": 2, "shape": "mesh", "position": [0.0, 0.0, 0.0], "vertices": bytes(36), "triangles": bytes(12)}
    stage.send_fields(MessageType.SCENE, {"add": [triangle]})
    stage.wait_for_error(ErrorCode.BAD_MESH, "a mesh without area", fatal=False)
    stage.step()
    return ""


def reset(connect: Connect) -> str:
    """RESET is taken and controls are answered on."""
    stage = connect()
    stage.open_session()
    stage.step()
    stage.send(Reset(seed=7))
    for _ in range(3):
        stage.step()
    return ""


def save(connect: Connect) -> str:
    """SAVE and RESET with pictures or restore do what WELCOME's capabilities list, and are unsupported otherwise."""
    stage = connect()
    offered = stage.open_session().capabilities
    if "save" in offered:
        stage.send(SceneUpdate(replace=True, add=(Part(id=1, shape=Shape.BOX, position=(0.0, 0.0, -5.0)),)))
        stage.play_until_painted()
    if "pictures" not in offered:
        black = Reset(pictures=(bytes(12),), picture_width=2, picture_height=2)
        stage.send(black)
        stage.wait_for_error(ErrorCode.UNSUPPORTED, "RESET with a picture", fatal=False)
    stage.send(Save(name=_STATE))
    if "save" not in offered:
        stage.wait_for_error(ErrorCode.UNSUPPORTED, "SAVE", fatal=False)
        stage.send(Reset(restore=_STATE))
        stage.wait_for_error(ErrorCode.UNSUPPORTED, "RESET with restore", fatal=False)
        stage.step()
        raise Declined("this server keeps no states")
    saved = stage.wait_for(Saved, "SAVED")
    require(saved.name == _STATE, f"SAVED with the name {saved.name!r}, SAVE had {_STATE!r}")
    stage.send(Reset(restore=_STATE))
    stage.step()
    stage.send(Save(name="../conform"))
    stage.wait_for_error(ErrorCode.INVALID_FIELD, "SAVE under a name with a path in it", fatal=False)
    other = connect()
    other.open_session()
    other.step()
    other.send(Reset(restore=_STATE))
    other.send(SceneUpdate(move=(PartMove(id=1, position=(1.0, 0.0, -5.0)),)))  # it is part of what was restored
    other.send(Save(name=_STATE))
    other.wait_for(Saved, "SAVED, of a restored blockout whose part was moved")
    return f"{saved.size_bytes} bytes, restored"


def stats(connect: Connect) -> str:
    """STATS adds up: controls = answered + dropped + refused + waiting; answered = generated + reprojected + held."""
    stage = connect()
    stage.open_session()
    for _ in range(20):
        stage.step()
    stage.send_fields(MessageType.CONTROL, {})
    stage.wait_for_error(ErrorCode.INVALID_FIELD, "an empty CONTROL", fatal=False)
    seen = stage.stats()
    total = seen.answered + seen.dropped + seen.refused + seen.waiting
    require(seen.controls == total == 21, f"controls {seen.controls}, their parts {total}, expected 21")
    by_source = seen.generated + seen.reprojected + seen.held
    require(seen.answered == by_source == 20, f"answered {seen.answered}, by source {by_source}, expected 20")
    require(seen.sessions >= 1, "sessions 0 in a session")
    return f"{seen.generated} generated, {seen.reprojected} reprojected, {seen.held} held"


def jpeg(connect: Connect) -> str:
    """Chooses jpeg when the client lists it first, and sends JPEG then."""
    stage = connect()
    welcome = stage.open_session(pixel_formats=("jpeg", "rgb8"))
    if welcome.pixel_format is not PixelFormat.JPEG:
        raise Declined("this server has rgb8 alone")
    frame = stage.step()
    require(frame.pixel_format is PixelFormat.JPEG, f"pixel_format {frame.pixel_format.value}, WELCOME said jpeg")
    return f"{len(stage.newest_pixels)} bytes for {3 * frame.width * frame.height}"


def shared_memory(connect: Connect) -> str:
    """Pixels lie in the ring when CONTROL says shared_frames, and in the message when it does not."""
    stage = connect()
    welcome = stage.open_session(shared_memory=True)
    if not welcome.ring:
        raise Declined("this server offers no ring")
    ring = open_ring(welcome.ring, welcome.frame_width, welcome.frame_height)
    if ring is None:
        raise Declined(f"the ring {welcome.ring} cannot be opened here: another machine?")
    try:
        for _ in range(2 * ring.shape.slots):
            frame = stage.step(shared_frames=True)
            require(frame.ring_slot >= 0, "pixels in the message though CONTROL said shared_frames")
            pixels = ring.read(frame.ring_slot, frame.ring_sequence)
            require(pixels is not None, f"slot {frame.ring_slot} does not hold sequence {frame.ring_sequence}")
        inline = stage.step(shared_frames=False)
        require(inline.ring_slot == -1, "pixels in the ring though CONTROL did not say shared_frames")
    finally:
        ring.close()
    return f"{2 * ring.shape.slots} frames in {ring.shape.slots} slots"


def _require_close(got: tuple[float, ...], sent: tuple[float, ...], name: str) -> None:
    worst = max(abs(a - b) for a, b in zip(got, sent, strict=True))
    if worst > 1e-3:
        raise Failed(f"{name}: got {got} back, sent {sent}")
