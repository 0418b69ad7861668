"""Library of a server, as its clients know it: its manifest, and the state of its index."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from rtsearch.config import Settings
from rtsearch.errors import ConfigError, ServiceError
from rtsearch.library.manifest import Manifest
from rtsearch.library.reader import Library
from rtsearch.library.search_index import SearchIndex
from rtsearch.search.arrays import MOST_DIM
from rtsearch.service.connection import Connection
from rtsearch.service.protocol import FORMAT

__all__ = ["About", "RemoteLibrary", "about_of"]

_MOST_ABOUT_BYTES = 64 << 20  # a manifest takes 500 bytes per fragment
_OPEN_S = 30.0  # a server measures its library when it is first asked


class About(BaseModel):
    """State of the library as its server tells it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    format: int
    state: str = Field(pattern=r"^[0-9a-f]{1,64}-[0-9a-f]{1,64}$")
    objects: int = Field(ge=1, lt=2**31)
    dim: int = Field(ge=1, le=MOST_DIM)
    alike_within: float | None = None
    labels: dict[int, int] = {}
    settings: dict[str, Any] = {}
    manifest: dict[str, Any]


class RemoteLibrary(Library):
    """Library whose tables and crops lie with a server.

    Args:
        connection: to the server.
        about: its state.
        open_index: opens its index.
        photo_root: where the photos are on this machine, if they are.
    """

    def __init__(
        self,
        connection: Connection,
        about: About,
        open_index: Callable[[RemoteLibrary], SearchIndex],
        photo_root: Path | None = None,
    ) -> None:
        try:
            manifest = Manifest.model_validate(about.manifest)
        except ValidationError as error:
            raise ServiceError(
                f"{connection.address} describes no library: {error.errors()[0]['msg']}"
            ) from None
        super().__init__(Path(str(connection.address)), manifest, photo_root)
        self.elsewhere = self
        self.connection = connection
        self.about = about
        self._open_index = open_index
        self._moved = photo_root

    @property
    def state(self) -> str:
        """Names the state of the library and of its index."""
        return self.about.state

    @property
    def shape(self) -> bytes:
        """Settings that shape the index of the server, as JSON."""
        return json.dumps(self.about.settings).encode()

    def index(self, settings: Settings) -> SearchIndex:
        """Return the index, which is as the server has it.

        Raises:
            ConfigError: the settings ask for another one.
            ServiceError: the server is away, or answers nonsense.
        """
        given = Settings.model_validate(self.about.settings)
        if (settings.describe.meaning, settings.project) != (given.describe.meaning, given.project):
            raise ConfigError(
                f"describe.meaning and project.*: {self.folder} is searched as its server says "
                f"(describe.meaning={given.describe.meaning:g}); change them there"
            )
        return self._open_index(self)

    def newest(self) -> RemoteLibrary:
        """Return the library as its server has it now; itself where that is the same.

        Raises:
            ServiceError: the server is away, or answers nonsense.
        """
        about = about_of(self.connection)
        if about.state == self.state:
            return self
        return RemoteLibrary(self.connection, about, self._open_index, self._moved)

    def is_photo(self, file: Path) -> bool:
        """Return False: photos are not written to through a server."""
        return False

    def refuse(self) -> NoReturn:
        """Refuse what needs the library's tables.

        Raises:
            ServiceError: in any case.
        """
        raise ServiceError(f"{self.folder} gives no tables; this needs the folder of the library itself")

    def close(self) -> None:
        """End the connections."""
        self.connection.close()


def about_of(connection: Connection) -> About:
    """Ask a server for the state of its library.

    Raises:
        ServiceError: it is away, is no server of a library, or of another version.
    """
    body = connection.get("/api/index", _MOST_ABOUT_BYTES, _OPEN_S)
    try:
        about = About.model_validate_json(body)
        Settings.model_validate(about.settings)
    except ValidationError as error:
        problem = error.errors()[0]
        place = ".".join(map(str, problem["loc"]))[:100]
        raise ServiceError(
            f"{connection.address} is no rtsearch serve: {place}: {problem['msg'][:200]}"
        ) from None
    if about.format != FORMAT:
        raise ServiceError(
            f"{connection.address} speaks format {about.format}, this is {FORMAT}: use the same version of "
            "rtsearch"
        )
    return about
