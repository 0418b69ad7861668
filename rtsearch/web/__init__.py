"""The page: the live picture, its search and its controls in any browser, and the API behind it.

site       shared state: library, network, settings in force; meaning: another index meanwhile;
           access: tokens, roles, Host and Origin
hub        newest scenes to all viewers; wire: their messages; turns: one backend for several callers
pages      HTML, CSS, scripts; streams: scenes, MJPEG; lookup: the library;
           vectors: its search for other machines; control: settings and commands;
           phones: cameras of visitors; status: health, figures; problems: errors and limits
app        all of these as one application; server: its thread
"""

from rtsearch.web.access import LEAST_TOKEN, Access
from rtsearch.web.server import Address, PageServer, bind, is_loopback
from rtsearch.web.site import SearchSite, Site
from rtsearch.web.turns import SharedBackend

__all__ = [
    "LEAST_TOKEN",
    "Access",
    "Address",
    "PageServer",
    "SearchSite",
    "SharedBackend",
    "Site",
    "bind",
    "is_loopback",
]
