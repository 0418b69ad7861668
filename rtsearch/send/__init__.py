"""Send what a run sees to other programs: OSC, TUIO, MQTT, webhooks, JSON lines, virtual cameras, pipes, NDI.

    main thread -> Outlets.put_scene    -> Outlet (thread, newest scene only)   -> OSC, TUIO, MQTT, webhook, -
                   Outlets.put_picture  -> Outlet (thread, newest picture only) -> v4l2, pipe, NDI

No outlet holds a frame back: what comes too fast or cannot be sent is dropped and counted.
"""

from __future__ import annotations

from rtsearch.send.address import SCHEMES, Address, parse_address
from rtsearch.send.outlet import Outlet, OutletReport
from rtsearch.send.outlets import Outlets, require_outlet
from rtsearch.send.scene import SentScene

__all__ = [
    "SCHEMES",
    "Address",
    "Outlet",
    "OutletReport",
    "Outlets",
    "SentScene",
    "parse_address",
    "require_outlet",
]
