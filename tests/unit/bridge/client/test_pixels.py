"""Where a client takes a frame's pixels from: the message, raw or JPEG, or the ring in shared memory."""

from collections.abc import Iterator

import msgspec
import numpy as np
import pytest

from bridge.client.protocol_core import ClientCore
from bridge.errors import RemoteProtocolError
from bridge.protocol.messages import PixelFormat
from bridge.transport.frame_ring import FrameRingWriter, RingShape, open_ring
from tests.client_talk import CAMERA, answer, opened, send, take
from tests.valid_messages import HELLO, WELCOME, frame_header


def test_pixels_cannot_be_written() -> None:
    core = opened()
    send(core, 0)
    answer(core, 0, 1)
    frame = core.take_newest(0)
    assert frame is not None
    with pytest.raises(ValueError, match="read-only"):
        frame.pixels[0, 0, 0] = 1


def test_jpeg_pixels_are_decoded_as_rgb() -> None:
    cv2 = pytest.importorskip("cv2")
    bgr = np.full((16, 16, 3), (200, 30, 10), dtype=np.uint8)
    core = opened()
    send(core, 0)
    header = frame_header(0, width=16, height=16, pixel_format=PixelFormat.JPEG)
    take(core, header, 0, cv2.imencode(".jpg", bgr)[1].tobytes())
    frame = core.take_newest(0)
    assert frame is not None
    assert np.abs(frame.pixels.astype(int) - (10, 30, 200)).max() < 6
    send(core, 0)
    broken = msgspec.structs.replace(header, seq=1)
    with pytest.raises(RemoteProtocolError, match="not a JPEG"):
        take(core, broken, 0, b"\xff\xd8broken")


@pytest.fixture
def ring() -> Iterator[FrameRingWriter]:
    writer = FrameRingWriter(RingShape(slots=2, width=2, height=1))
    yield writer
    writer.close()


def opened_with(ring: FrameRingWriter) -> ClientCore:
    core = ClientCore(HELLO, open_ring)
    take(core, msgspec.structs.replace(WELCOME, ring=ring.name))
    return core


def in_ring(core: ClientCore, seq: int, written: tuple[int, int]) -> None:
    answer(core, seq, 0, ring_slot=written[0], ring_sequence=written[1])


def test_pixels_come_from_the_ring_where_it_is_open(ring: FrameRingWriter) -> None:
    core = opened_with(ring)
    assert core.control(CAMERA, "", (), 0, teleport=False).shared_frames is True
    seq = send(core, 0)
    in_ring(core, seq, ring.write(b"abcdef"))
    frame = core.take_newest(0)
    assert frame is not None
    assert frame.pixels.tobytes() == b"abcdef"


def test_a_frame_gone_from_the_ring_is_named_but_not_shown_and_the_next_come_inline(ring: FrameRingWriter) -> None:
    core = opened_with(ring)
    seq = send(core, 0)
    gone = ring.write(b"abcdef")
    for _ in range(2):
        ring.write(b"uvwxyz")
    in_ring(core, seq, gone)
    assert core.take_newest(0) is None
    after = core.control(CAMERA, "", (), 1, teleport=False)
    assert (after.frame_received_seq, after.shared_frames) == (seq, False)
    assert core.counts.answered == 1


def test_a_frame_in_a_ring_that_is_not_open_is_ignored() -> None:
    core = opened()
    seq = send(core, 0)
    in_ring(core, seq, (0, 2))
    assert core.take_newest(0) is None
    assert core.control(CAMERA, "", (), 1, teleport=False).frame_received_seq == -1


def test_a_ring_that_cannot_be_opened_is_not_claimed() -> None:
    core = ClientCore(HELLO, open_ring)
    take(core, msgspec.structs.replace(WELCOME, ring="hlb_0000000000000000"))
    assert core.control(CAMERA, "", (), 0, teleport=False).shared_frames is False
