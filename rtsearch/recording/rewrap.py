"""Put the fragments of a finished video together: players seek faster in it, and it tells its pictures."""

from __future__ import annotations

from pathlib import Path

from rtsearch._util.signals import hurry
from rtsearch.errors import RecordError
from rtsearch.recording.ffmpeg import file_url

__all__ = ["rewrap"]


def rewrap(video: Path, interval_s: float, out: Path) -> None:
    """Write a copy of a video in fragments as one of a single piece.

    Args:
        video: H.264 without sound.
        interval_s: how long its last picture stays, which fragments do not say.
        out: the .mp4 to write.

    Raises:
        RecordError: it cannot be written, or the user is in a hurry.
    """
    import av  # a second where it is imported first

    try:
        with av.open(file_url(video)) as parts, av.open(file_url(out), "w", format="mp4") as whole:
            stream = parts.streams.video[0]
            copied = whole.add_stream_from_template(stream)
            copied.time_base = stream.time_base
            assert stream.time_base is not None
            for packet in parts.demux(stream):
                if hurry.is_set():
                    raise RecordError("there was no time for it")
                if packet.dts is None:  # the end
                    break
                packet.stream = copied
                # It counts for the last picture only: the others stay until the next one's time.
                packet.duration = round(interval_s / stream.time_base)
                whole.mux_one(packet)
    except (OSError, ValueError) as error:
        raise RecordError(f"{out} cannot be written: {error}") from None
