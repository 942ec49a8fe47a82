"""`upkeep web`: the hub over HTTP.

What belongs here: arguments and what is printed. What does not: the service (`web/`).
"""

from __future__ import annotations

from typing import Annotated

import typer


def web(
    host: Annotated[
        str | None, typer.Option("--host", help="Address to listen on. Default: web.host of upkeep.yaml, 127.0.0.1.")
    ] = None,
    port: Annotated[
        int | None,
        typer.Option("--port", min=0, max=65535, help="Default: web.port of upkeep.yaml, else 8700; 0: any free one."),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Listen on an address that other machines reach, in plain HTTP.")
    ] = False,
) -> None:
    """Serve the REST API until Ctrl-C. `upkeep up` does that too.

    Every request needs a token (`upkeep token create`), but for /state/health and /openapi.json.

    Example: `upkeep web --port 8700`, then `curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:8700/repos/`
    """
    from cli.hub import open_hub
    from upkeep import tokens
    from upkeep.config import load
    from upkeep.redaction import Redactor
    from web.app import create_app
    from web.hub import Hub
    from web.serving import host_names, listen, serve, url_of

    chosen = load().web
    address = host or chosen.host
    sock = listen(address, chosen.port if port is None else port, public=public or chosen.public)
    with sock, open_hub() as (settings, database):
        with database.session() as session:
            none_yet = not tokens.every(session)
        names = host_names(address, sock, settings.web.hosts)

        def ready() -> None:
            print(f"Upkeep's API is up.    {url_of(sock)}")
            if none_yet:
                print("  no tokens yet; `upkeep token create NAME` makes one")
            if not names:
                print("  any host name is let in; `web: hosts:` of upkeep.yaml names the right ones")
            print("Ctrl-C stops it.", flush=True)

        app = create_app(Hub(settings, database), hosts=names)
        serve(app, sock, redact=Redactor(settings.secrets()), ready=ready)
    print("stopped", flush=True)
