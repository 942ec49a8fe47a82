"""The first program inside a sandbox: sets the limits, opens the way to the gateway, then runs the command.

What belongs here: the standard library only, because the file runs by itself (`python -I -S relay.py LIMITS SOCKET PORT
COMMAND…`) where nothing of Upkeep is mounted. What does not: anything that has to be trusted. The command runs as the
same user and may kill or alter this process; it gains nothing by it, for the gateway trusts nobody on its socket.

Without a socket ("-") it becomes the command itself. With one it stays its parent: bytes pass between loopback and the
socket as they come, both ways, nothing is looked at, and it ends with the command's status.
"""

from __future__ import annotations

import os
import resource
import socket
import sys
import threading

CHUNK = 1 << 16
NOT_FOUND = 127


def bound(limits: str) -> None:
    """Set `NAME=NUMBER,…` of setrlimit(2), never above what is allowed already."""
    for item in filter(None, limits.split(",")):
        name, _, value = item.partition("=")
        which = getattr(resource, f"RLIMIT_{name}")
        _, hard = resource.getrlimit(which)
        wanted = int(value) if hard == resource.RLIM_INFINITY else min(int(value), hard)
        resource.setrlimit(which, (wanted, wanted))


def pump(source: socket.socket, sink: socket.socket) -> None:
    """Pass bytes on until the end of `source`, then tell `sink` that there are no more."""
    try:
        while data := source.recv(CHUNK):
            sink.sendall(data)
        sink.shutdown(socket.SHUT_WR)
    except OSError:
        # One side went away: the other must not wait for it.
        for end in (source, sink):
            try:
                end.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def join(client: socket.socket, gateway: str) -> None:
    """Serve one connection to its end."""
    with client, socket.socket(socket.AF_UNIX) as server:
        try:
            server.connect(gateway)
        except OSError:
            return
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        back = threading.Thread(target=pump, args=(server, client), daemon=True)
        back.start()
        pump(client, server)
        back.join()


def serve(listener: socket.socket, gateway: str) -> None:
    while True:
        try:
            client, _ = listener.accept()
            threading.Thread(target=join, args=(client, gateway), daemon=True).start()
        except (OSError, RuntimeError):
            # No descriptor or thread left: the command used them up; it may free some.
            threading.Event().wait(0.05)


def become(command: list[str]) -> None:
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"upkeep-sandbox: cannot run {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        os._exit(NOT_FOUND)


def main(limits: str, gateway: str, port: str, command: list[str]) -> int:
    # Nothing that whoever started us had open is for the command.
    os.closerange(3, 4096)
    if gateway == "-":
        bound(limits)
        become(command)
    listener = socket.create_server(("127.0.0.1", int(port)), backlog=64)
    child = os.fork()
    if child == 0:
        listener.close()
        bound(limits)
        become(command)
    threading.Thread(target=serve, args=(listener, gateway), daemon=True).start()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    return status if status >= 0 else 128 - status


if __name__ == "__main__":
    code = main(sys.argv[1], sys.argv[2], sys.argv[3], sys.argv[4:])
    # Not sys.exit: threads may hold a lock of the interpreter that its own end would wait for.
    os._exit(code)
