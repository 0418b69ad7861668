"""Serve the pages, their scripts and styles, font and colours of the settings, and the QR code for phones."""

from __future__ import annotations

import io
import ipaddress
import socket
from importlib import resources
from urllib.parse import urlencode

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import FileResponse, Response
from starlette.routing import BaseRoute, Route

from rtsearch.errors import MissingDependencyError
from rtsearch.render.theme import Theme, mixed, theme_of
from rtsearch.web.access import Role, needs
from rtsearch.web.problems import RequestError
from rtsearch.web.site import Site

__all__ = ["Pages", "lan_address", "qr_svg", "theme_css"]

_KINDS = {
    "css": "text/css",
    "html": "text/html",
    "js": "text/javascript",
    "json": "application/json",
    "svg": "image/svg+xml",
}
_PAGES = {"/": "live", "/kiosk": "live", "/library": "library", "/phone": "phone"}
_FRESH = {"cache-control": "no-cache"}


class Pages:
    """Endpoints of the pages.

    Args:
        site: is served.
    """

    def __init__(self, site: Site) -> None:
        self._site = site
        # All files are held from the start: a name that is asked for is looked up here and opens no file.
        folder = resources.files("rtsearch.web") / "static"
        self._files = {item.name: item.read_bytes() for item in folder.iterdir() if item.is_file()}

    @property
    def routes(self) -> list[BaseRoute]:
        """Routes of the endpoints."""
        pages: list[BaseRoute] = [Route(path, self._page) for path in _PAGES]
        return [
            *pages,
            Route("/static/{name}", self._file),
            Route("/openapi.json", self._openapi),
            Route("/font", self._font),
            Route("/theme.css", self._theme),
            Route("/qr.svg", needs(Role.OPERATOR)(self._qr)),
        ]

    def _answer(self, name: str, status: int = 200) -> Response:
        kind = _KINDS[name.rpartition(".")[2]]
        return Response(self._files[name], status, media_type=kind, headers=_FRESH)

    async def _page(self, request: Request) -> Response:
        page = _PAGES[request.url.path]
        least = Role.PHONE if page == "phone" else Role.VIEWER
        role: Role = request.scope["role"]
        if role < least:
            return self._answer("locked.html", 401)
        told = f'<body data-role="{role.name.lower()}" data-upload-mb="{self._site.settings.web.upload_mb}">'
        html = self._files[f"{page}.html"].replace(b"<body>", told.encode())
        return Response(html, media_type=_KINDS["html"], headers=_FRESH)

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        if name not in self._files:
            raise RequestError(404, "there is no such file")
        return self._answer(name)

    async def _openapi(self, request: Request) -> Response:
        return self._answer("openapi.json")

    async def _font(self, request: Request) -> Response:
        font = self._site.settings.show.font
        if not font:
            raise RequestError(404, "show.font names no font")
        return FileResponse(font, media_type="font/ttf", headers=_FRESH)

    async def _theme(self, request: Request) -> Response:
        style = theme_css(theme_of(self._site.controls.now.show.theme))
        return Response(style, media_type=_KINDS["css"], headers=_FRESH)

    async def _qr(self, request: Request) -> Response:
        url = str(request.base_url.replace(path="/phone"))
        host = request.url.hostname or ""
        address = lan_address() if _is_loopback(host) and not self._site.access.loopback else None
        if address is not None:
            url = url.replace(host, address, 1)
        token = self._site.access.phone_token
        code = await run_in_threadpool(qr_svg, f"{url}?{urlencode({'token': token})}" if token else url)
        return Response(code, media_type="image/svg+xml", headers={"cache-control": "no-store"})


def theme_css(theme: Theme) -> str:
    """Return colours as variables of CSS."""
    ground, ink = theme.ground, theme.ink
    colours = {
        "ground": ground,
        "ink": ink,
        "accent": theme.accent,
        "raised": mixed(ground, ink, 0.045),
        "line": mixed(ground, ink, 0.13),
        "faint": mixed(ground, ink, 0.43),
        "soft": mixed(ground, ink, 0.68),
    }
    named = "".join(f"--{name}: #{r:02x}{g:02x}{b:02x}; " for name, (b, g, r) in colours.items())
    parts = " ".join(map(str, ground[::-1]))
    scheme = "dark" if sum(ground) < sum(ink) else "light"
    return f":root {{ {named}--ground-parts: {parts}; color-scheme: {scheme}; }}\n"


def qr_svg(text: str) -> bytes:
    """Return a QR code as SVG.

    Raises:
        MissingDependencyError: segno is not installed.
    """
    try:
        import segno
    except ImportError:
        raise MissingDependencyError("QR codes need segno: pip install 'rtsearch[web]'") from None
    picture = io.BytesIO()
    segno.make(text, error="m", micro=False).save(
        picture, kind="svg", scale=8, border=2, dark="#0E0F0F", light="#E8E6E1"
    )
    return picture.getvalue()


def lan_address() -> str | None:
    """Return the address of this machine in its network, or None where it has none; nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # an address of documentation: only the route is looked up
            return str(probe.getsockname()[0])
        except OSError:
            return None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
