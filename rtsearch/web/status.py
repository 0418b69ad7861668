"""Serve health and figures: for supervisors, and in Prometheus' text format."""

from __future__ import annotations

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route

from rtsearch.live import SourceReport
from rtsearch.web.access import Role, needs
from rtsearch.web.phones import Phones
from rtsearch.web.site import Site
from rtsearch.web.streams import LiveStreams

__all__ = ["Status"]

_TEXT = "text/plain; version=0.0.4"
_BY_SOURCE = (
    ("frames_total", "frames_in", "Frames that came."),
    ("shown_total", "frames_shown", "Frames shown with objects."),
    ("dropped_total", "dropped", "Frames without detection."),
    ("objects_total", "objects", "Objects found."),
)


class Status:
    """Endpoints of health and figures.

    Args:
        site: is served.
        streams, phones: are counted.
    """

    def __init__(self, site: Site, streams: LiveStreams, phones: Phones) -> None:
        self._site = site
        self._streams = streams
        self._phones = phones

    @property
    def routes(self) -> list[Route]:
        """Routes of the endpoints."""
        return [Route("/healthz", self._health), Route("/metrics", needs(Role.VIEWER)(self._metrics))]

    async def _health(self, request: Request) -> Response:
        lost = sum(view.source.status != "ok" for view in self._site.hub.views)
        return JSONResponse({"status": "ok", "sources": len(self._site.hub.views), "lost": lost})

    async def _metrics(self, request: Request) -> Response:
        hub = self._site.hub
        summary, reports = hub.meter.summary(), hub.reports()
        lines: list[str] = []
        for name, field, text in _BY_SOURCE:
            lines += _family(name, "counter", text, _of_sources(reports, field))
        lines += _family("frames_per_second", "gauge", "Frames shown per second.", [("", summary["fps"])])
        times = [
            (f'{{stage="{stage}",quantile="{q}"}}', quantiles[key] / 1e3)  # type: ignore[literal-required]
            for stage, quantiles in sorted(summary["stage_ms"].items())
            for q, key in (("0.5", "p50"), ("0.99", "p99"))
        ]
        lines += _family(
            "stage_seconds", "gauge", "Time of each stage of late; latency: capture to shown.", times
        )
        lines += _family("crops_total", "counter", "Crops sent.", [("", summary["counts"].get("crops", 0))])
        lines += _family("viewers", "gauge", "Browsers that look.", [("", hub.viewers)])
        lines += _family(
            "mjpeg_clients", "gauge", "Clients of the composed picture.", [("", self._streams.streams)]
        )
        lines += _family("phones", "gauge", "Phones that send pictures.", [("", self._phones.connected)])
        lines += _family("phone_frames_total", "counter", "Pictures of phones.", [("", self._phones.frames)])
        lines += _family(
            "library_objects", "gauge", "Objects that are searched.", [("", len(self._site.index))]
        )
        return PlainTextResponse("\n".join(lines) + "\n", media_type=_TEXT)


def _of_sources(reports: Sequence[SourceReport], name: str) -> list[tuple[str, float]]:
    return [(f'{{source="{place}"}}', getattr(report, name)) for place, report in enumerate(reports)]


def _family(name: str, kind: str, text: str, samples: list[tuple[str, float]]) -> list[str]:
    head = [f"# HELP rtsearch_{name} {text}", f"# TYPE rtsearch_{name} {kind}"]
    return head + [f"rtsearch_{name}{labels} {value:g}" for labels, value in samples]
