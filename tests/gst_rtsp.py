"""GStreamer's RTSP server, as a program of the system's Python, which has its bindings; not of these tests'.

    /usr/bin/python3 gst_rtsp.py CLIP.mp4 PORT      serves the clip's H.264 as it is, and says so in a line

/any takes every transport, /tcp and /udp only that one; user ``me`` is asked for the password ``pass``.
"""

import sys

import gi  # type: ignore[import-not-found]

for _name in ("Gst", "GstRtsp", "GstRtspServer"):
    gi.require_version(_name, "1.0")
from gi.repository import GLib, Gst, GstRtsp, GstRtspServer  # type: ignore[import-not-found]  # noqa: E402

LOWER = GstRtsp.RTSPLowerTrans
PLACES = {"/any": LOWER.TCP | LOWER.UDP, "/tcp": LOWER.TCP, "/udp": LOWER.UDP}
PERMISSION = "owner, media.factory.access=(boolean)true, media.factory.construct=(boolean)true"


def main() -> None:
    clip, port = sys.argv[1:]
    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    for place, transports in PLACES.items():
        factory = GstRtspServer.RTSPMediaFactory()
        factory.set_launch(
            f'( filesrc location="{clip}" ! qtdemux ! rtph264pay name=pay0 config-interval=-1 )'
        )
        factory.set_protocols(transports)
        factory.add_role_from_structure(Gst.Structure.from_string(PERMISSION)[0])
        server.get_mount_points().add_factory(place, factory)
    owner = GstRtspServer.RTSPToken()
    owner.set_string("media.factory.role", "owner")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic("me", "pass"), owner)
    server.set_auth(auth)
    server.attach(None)
    sys.stdout.write("serving\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


if __name__ == "__main__":
    main()
