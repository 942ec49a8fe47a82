"""`upkeep mcp`: the Model Context Protocol on stdio or HTTP.

What belongs here: the command. What does not: the tools (`mcp_server.py`), and listening (`web/serving.py`). On stdio,
standard output belongs to the protocol.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

HOST = "127.0.0.1"
PATH = "/mcp"
LARGEST_BODY = 64 * 1024


def mcp(
    http: Annotated[bool, typer.Option("--http", help="Streamable HTTP on loopback instead of stdio.")] = False,
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Of HTTP; the path is /mcp. 0: any that is free.")
    ] = 8765,
) -> None:
    """Serve get_repo_dispatch, list_repos and get_sync_health to agents. They only read.

    Over HTTP it listens on loopback and takes the tokens of the REST API (`upkeep token create NAME`), as other users
    of this machine reach it, too. Requests for another host or from another origin are refused.

    Examples: `claude mcp add upkeep -- upkeep mcp` · `upkeep mcp --http --port 8765`
    """
    from cli.hub import open_hub
    from cli.mcp_server import server

    if not http:
        with open_hub() as (_, database):
            server(database).run("stdio")
        return
    from upkeep import tokens
    from upkeep.redaction import Redactor
    from web.guards import Frame, Tokens
    from web.hub import Hub
    from web.serving import listen, serve, url_of

    with listen(HOST, port) as sock, open_hub() as (settings, database):
        redact = Redactor(settings.secrets())
        with database.session() as session:
            none_yet = not tokens.every(session)
        # Nothing is kept between requests, so a client outlives a restart of ours. For this host the SDK checks `Host`
        # and `Origin` by itself.
        app = server(database).streamable_http_app(
            streamable_http_path=PATH,
            host=HOST,
            stateless_http=True,
            json_response=True,
            max_request_body_size=LARGEST_BODY,
        )

        def ready() -> None:
            print(f"MCP is up.    {url_of(sock)}{PATH}")
            if none_yet:
                print("  no tokens yet; `upkeep token create NAME` makes one")
            print("Ctrl-C stops it.", flush=True)

        closed = Tokens(_without_streams(app), hub=Hub(settings, database), open=(), only_reads=True)
        serve(Frame(closed, redact=redact), sock, redact=redact, ready=ready)
    print("stopped", flush=True)


def _without_streams(app: ASGIApp) -> ASGIApp:
    """Refuse GET, by which a client would hold a stream of what the server sends unasked: we never send any. (The
    protocol lets a server answer 405 to that; the SDK holds the connection for ever.)"""

    async def posts(scope: Scope, receive: Receive, send: Send) -> None:
        from web.problems import Refused

        if scope["type"] == "http" and scope["method"] == "GET":
            message = "nothing is sent here unasked"
            raise Refused(405, message, code="web.method", remedy="POST a request.", headers={"Allow": "POST"})
        await app(scope, receive, send)

    return posts
