"""Write pictures to a virtual camera: a video output device of Linux, made by the module v4l2loopback.

Structures and numbers: linux/videodev2.h.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
from pathlib import Path

from rtsearch.errors import SendError
from rtsearch.send.planes import Planes, even_wh
from rtsearch.types import U8Array

__all__ = ["CameraPeer", "output_format", "require_device"]

_QUERY = 0x80685600  # VIDIOC_QUERYCAP, reads struct v4l2_capability
_SET_FORMAT = 0xC0D05605  # VIDIOC_S_FMT, reads and writes struct v4l2_format
_CAPABILITY_BYTES, _CAPABILITIES_AT, _DEVICE_CAPABILITIES_AT = 104, 84, 88
_FORMAT_BYTES, _PIX_AT = 208, 8
_HAS_DEVICE_CAPABILITIES = 0x80000000  # V4L2_CAP_DEVICE_CAPS
_VIDEO_OUTPUT = 2  # V4L2_CAP_VIDEO_OUTPUT and V4L2_BUF_TYPE_VIDEO_OUTPUT
_PROGRESSIVE = 1  # V4L2_FIELD_NONE
_SRGB = 8  # V4L2_COLORSPACE_SRGB
# OpenCV makes YU12 of a picture of 1280x720 px in 0.3 ms, YUYV in 2.1.
_YU12 = struct.unpack("<I", b"YU12")[0]
_PIX = struct.Struct("=8I")  # width, height, pixelformat, field, bytesperline, sizeimage, colorspace, priv


def output_format(width: int, height: int) -> bytes:
    """Return a ``struct v4l2_format`` for written YU12 pictures of an even size, px."""
    pix = _PIX.pack(width, height, _YU12, _PROGRESSIVE, width, width * height * 3 // 2, _SRGB, 0)
    head = struct.pack("=II", _VIDEO_OUTPUT, 0)
    return (head + pix).ljust(_FORMAT_BYTES, b"\0")


def require_device(path: Path) -> None:
    """Raise an error where a path cannot be a video device.

    Raises:
        SendError: something else is there.
    """
    if path.exists() and not stat.S_ISCHR(path.stat().st_mode):
        raise SendError(f"--send v4l2:{path}: it is no device; give one such as /dev/video10")


class CameraPeer:
    """Virtual camera that gets pictures; programs see them as YU12 (I420), which all of them read.

    Args:
        path: of the device.
    """

    longest_wait_s = 10.0
    known_after = 1

    def __init__(self, path: Path) -> None:
        self._path = path
        self._descriptor: int | None = None
        self._wh: tuple[int, int] | None = None
        self._planes = Planes()

    def open(self) -> None:
        """Open the device.

        Raises:
            OSError: it is not there, is in use, or is not made for writing.
        """
        import fcntl

        try:
            self._descriptor = os.open(self._path, os.O_RDWR)
        except FileNotFoundError:
            raise SendError("there is no such device; load the module v4l2loopback") from None
        facts = bytearray(_CAPABILITY_BYTES)
        try:
            fcntl.ioctl(self._descriptor, _QUERY, facts)
        except OSError as error:
            if error.errno == errno.ENOTTY:
                raise SendError("it is no video device") from None
            raise
        can, of_device = struct.unpack_from("=2I", facts, _CAPABILITIES_AT)
        if not (of_device if can & _HAS_DEVICE_CAPABILITIES else can) & _VIDEO_OUTPUT:
            raise SendError("it is no output but a camera; load the module v4l2loopback")

    def send(self, picture: U8Array, /) -> None:
        """Write a picture, (H, W, 3) uint8 BGR; an odd column or line at its end is left out.

        Raises:
            OSError: the device does not take it.
        """
        assert self._descriptor is not None
        wh = even_wh(picture)
        if self._wh != wh:
            self._set_format(*wh)
        planes = self._planes.of(picture)
        if os.write(self._descriptor, planes.data) != planes.nbytes:
            raise SendError("the device took a part of a picture only")

    def finish(self) -> None:
        """Do nothing: the device keeps the last picture, or shows its own."""

    def close(self) -> None:
        """Close the device."""
        descriptor, self._descriptor, self._wh = self._descriptor, None, None
        if descriptor is not None:
            os.close(descriptor)

    def _set_format(self, width: int, height: int) -> None:
        import fcntl

        assert self._descriptor is not None
        given = bytearray(output_format(width, height))
        fcntl.ioctl(self._descriptor, _SET_FORMAT, given)
        got_width, got_height, pixels = struct.unpack_from("=3I", given, _PIX_AT)
        if (got_width, got_height, pixels) != (width, height, _YU12):
            raise SendError(
                f"the device takes no YU12 pictures of {width}x{height} px (but {got_width}x{got_height}); "
                "set show.window_wh"
            )
        self._wh = width, height
