"""Find out what a URL leads to: a live stream, a video file on a server, JPEG pictures or one.

http -> ask: JPEG parts -> JpegCapture            every other protocol -> FFmpeg: StreamCapture
             a picture  -> SnapshotCapture
             else       -> FFmpeg: has it a length? -> VideoFile
                                   or none          -> StreamCapture
"""

from __future__ import annotations

from fractions import Fraction

from rtsearch._util.masking import masked, unencoded
from rtsearch.config import LiveSettings
from rtsearch.errors import SourceError
from rtsearch.sources.base import Source
from rtsearch.sources.beside import Beside
from rtsearch.sources.capture import NOTHING_CAME, Capture, Limits, LostError
from rtsearch.sources.converter import Converter
from rtsearch.sources.live_capture import LiveCapture
from rtsearch.sources.network import RemoteDecoder, StreamCapture
from rtsearch.sources.video import VideoFile
from rtsearch.sources.web import Answer, JpegCapture, SnapshotCapture, ask

__all__ = ["aspect_of", "open_url"]


def open_url(url: str, live: LiveSettings, *, loop: bool, patient: bool) -> Source:
    """Open what a URL leads to.

    Args:
        url: of a protocol that FFmpeg speaks.
        live: time limits, and the shape of pictures.
        loop: begin a video file again at its end.
        patient: do not wait for it, but try until it is there.

    Raises:
        SourceError: it cannot be opened.
    """
    name, odd = masked(url), unencoded(url)
    if odd:
        raise SourceError(
            f"{name}: its user name or password has characters that must be percent-encoded: {odd}"
        )
    limits = Limits(live.open_timeout_s, live.picture_timeout_s)
    web = _Web(url, live) if url.lower().startswith("http") else None
    hint = "is it being sent, and is the address right?"
    if web is not None and not patient:
        beside = Beside(f"source {name}")
        try:
            decoder = beside.call(lambda: web.look(limits.open_s))
        except LostError as error:
            beside.stop()
            late = str(error) == NOTHING_CAME
            problem = f"gives no answer within {limits.open_s:g} s" if late else f"cannot be opened: {error}"
            raise SourceError(f"{name} {problem}; {hint}") from None
        except BaseException:  # Ctrl-C
            beside.stop()
            raise
        if decoder is not None:
            return _File(url, decoder, limits, beside, loop=loop)
        beside.stop()
    connect = web or (lambda open_s: StreamCapture(RemoteDecoder(url, open_s), Converter(aspect_of(live))))
    return LiveCapture(name, connect, limits=limits, hint=hint, patient=patient)


def aspect_of(live: LiveSettings) -> Fraction | None:
    """Return the width by height that ``live.aspect`` gives to pictures."""
    width, _, height = live.aspect.partition(":")
    return Fraction(int(width), int(height)) if height else None


class _File(VideoFile):
    """A video file on a server, opened already."""

    def __init__(
        self, url: str, decoder: RemoteDecoder, limits: Limits, beside: Beside, *, loop: bool
    ) -> None:
        first = [decoder]
        super().__init__(
            url,
            loop=loop,
            open_decoder=lambda: first.pop() if first else RemoteDecoder(url, limits.open_s),
            beside=beside,
        )


class _Web:
    """Connects to a web address. What was opened to look at it is used for the first connection."""

    def __init__(self, url: str, live: LiveSettings) -> None:
        self._url = url
        self._live = live
        self._aspect = aspect_of(live)
        self._first: Answer | RemoteDecoder | None = None

    def look(self, open_s: float) -> RemoteDecoder | None:
        """Return the decoder of a video file; None where the address leads to something live."""
        opened = self._open(open_s)
        if isinstance(opened, RemoteDecoder) and opened.finished:
            return opened
        self._first = opened
        return None

    def __call__(self, open_s: float) -> Capture:
        opened, self._first = self._first or self._open(open_s), None
        if isinstance(opened, RemoteDecoder):
            return StreamCapture(opened, Converter(self._aspect))
        if opened.kind == "parts":
            return JpegCapture(opened, self._aspect)
        return SnapshotCapture(self._url, self._live.snapshot_s, opened, self._aspect)

    def _open(self, open_s: float) -> Answer | RemoteDecoder:
        answer = ask(self._url, open_s)
        if answer.kind != "video":
            return answer
        answer.close()
        return RemoteDecoder(self._url, open_s)
