"""Whether the way to the provider leads over a proxy, told once by the environment of whoever runs Upkeep.

What belongs here: HTTPS_PROXY, HTTP_PROXY, ALL_PROXY and NO_PROXY, in either case, as curl(1) reads them. What does
not: netrc(5), which the HTTP client would read as well, for every request: its `default` entry is a login for
everybody, the provider included.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from urllib.request import getproxies, proxy_bypass

from aiohttp import encode_basic_auth
from yarl import URL


@dataclass(frozen=True)
class Proxy:
    """`url` None: there is none. `headers` go to the proxy: beside the request's own where it reads them, before the
    tunnel (`tunnel_headers`) where the request is none of its business."""

    url: URL | None = None
    headers: dict[str, str] = field(default_factory=dict, repr=False)
    tunnel_headers: dict[str, str] = field(default_factory=dict, repr=False)


def proxy_for(upstream: str) -> Proxy:
    """The proxy for a base URL."""
    target = URL(upstream)
    proxies = getproxies()
    found = proxies.get(target.scheme) or proxies.get("all")
    if not found or proxy_bypass(f"{target.host}:{target.port}"):
        return Proxy()
    url = URL(found if "://" in found else f"http://{found}")
    login = {"Proxy-Authorization": encode_basic_auth(url.user, url.password or "")} if url.user else {}
    bare = url.with_user(None)
    return Proxy(bare, {}, login) if target.scheme == "https" else Proxy(bare, login)
