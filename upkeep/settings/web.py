"""The `web` section: where the REST API listens, and for whom."""

from __future__ import annotations

from pydantic import Field

from upkeep.settings.base import Section


class WebSettings(Section):
    """The REST API. `hosts`: names by which requests may come through a proxy. `public`: `host` is meant to be reached
    from other machines."""

    host: str = "127.0.0.1"
    port: int = Field(default=8700, ge=1, le=65535)
    hosts: tuple[str, ...] = ()
    public: bool = False
