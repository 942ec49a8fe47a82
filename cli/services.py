"""The services of `upkeep up`, in the order in which they need each other.

What belongs here: database, code server, webserver and daemon with their arguments, what happens before the first
starts, and what is printed. What does not: keeping them alive (`supervise.py`).
"""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from dagster import DagsterInstance

from cli.supervise import Service, Supervisor
from orchestration.home import ROOT, open_instance
from orchestration.reconcile import Reconciled, reconcile
from upkeep import process
from upkeep.config import Settings
from upkeep.cron import machine_zone
from upkeep.database import schema
from upkeep.database.server import Database, connect
from upkeep.errors import ConfigError, ProcessError
from upkeep.settings.web import WebSettings
from upkeep.sync import configured, registry
from web.serving import address_of

HOST = "127.0.0.1"
FIRST_PORT = 3000
FIRST_WEB_PORT = WebSettings().port
PORTS_TRIED = 100
LOCATION = "upkeep"
START_SECONDS = 180.0
CHECK_SECONDS = 0.5
SOCKET_PATH_LIMIT = 100
"""sun_path holds 108 bytes; gRPC adds a scheme of its own."""

Say = Callable[[str], None]


def serve(settings: Settings, *, port: int | None, web_port: int | None = None, say: Say) -> None:
    """Run everything until a signal asks us to end. Raises ConfigError (port taken, already running), DatabaseError,
    ServiceFailed."""
    stop = _Stop()
    stop.listen()
    address_of(settings.web.host, 0, public=settings.web.public)  # refuses what the service would refuse later
    with ExitStack() as stack:
        stack.enter_context(_only_one(settings.home))
        swept = process.record_in(settings.home / "processes")
        database = stack.enter_context(connect(settings.home, settings.database_url))
        before, now = schema.upgrade(database)
        instance = stack.enter_context(open_instance(settings))
        _tell_start(say, swept, before, now, reconcile(database, instance))
        chosen = stack.enter_context(reserved_port(port))
        wanted = web_port or (settings.web.port if "port" in settings.web.model_fields_set else None)
        web = stack.enter_context(reserved_port(wanted, first=FIRST_WEB_PORT, option="--web-port"))
        supervisor = stack.enter_context(Supervisor(say))
        stop.hurry = supervisor
        folder = stack.enter_context(_socket_folder(settings.home))
        code, *others = services(settings, folder, chosen, lambda: _recover(database, instance, say))
        api = web_service(settings, web)
        supervisor.start(api)
        supervisor.start(code)
        _wait(supervisor, stop, lambda: _accepts(folder / "code.sock"), code)
        for service in others:
            supervisor.start(service)
        _wait(supervisor, stop, lambda: _answers(f"http://{HOST}:{chosen}/server_info"), others[0])
        _wait(supervisor, stop, lambda: _answers(f"{web_url(settings, web)}/state/health"), api)
        if not stop.asked:
            _tell_ready(say, settings, chosen, web, _repositories(database, settings))
        while not stop.wait(CHECK_SECONDS):
            supervisor.check()
        say("stopping…")
    say("stopped")


def services(settings: Settings, folder: Path, port: int, recover: Callable[[], None]) -> list[Service]:
    """Code server first: the others ask it for everything."""
    environment = {
        **os.environ,
        # Nothing of the current folder on sys.path: it may hold an `assets` of its own.
        "PYTHONSAFEPATH": "1",
        "DAGSTER_SENSOR_GRPC_TIMEOUT_SECONDS": "60",
        "DAGSTER_DISABLE_TELEMETRY": "1",
    }
    code_socket, workspace, logs = folder / "code.sock", folder / "workspace.yaml", settings.home / "logs"
    workspace.write_text(f'load_from:\n  - grpc_server: {{socket: "{code_socket}", location_name: {LOCATION}}}\n')
    code_socket.unlink(missing_ok=True)
    code = [
        *(_program("dagster"), "code-server", "start", "--socket", str(code_socket), "--location-name", LOCATION),
        *("--module-name", "orchestration.definitions", "--working-directory", str(ROOT), "--log-level", "warning"),
        "--inject-env-vars-from-instance",
    ]
    web = [
        *(_program("dagster-webserver"), "--host", HOST, "--port", str(port), "--workspace", str(workspace)),
        *("--log-level", "warning", "--dagster-log-level", "warning"),
    ]
    daemon = [_program("dagster-daemon"), "run", "--workspace", str(workspace), "--log-level", "warning"]
    return [
        # Its group holds the workers of runs: they need a moment to record that they were cancelled.
        Service("code server", code, environment, logs / "code-server.log", grace=10.0, before_restart=recover),
        Service("webserver", web, environment, logs / "webserver.log"),
        Service("daemon", daemon, environment, logs / "daemon.log", grace=10.0),
    ]


def web_service(settings: Settings, port: int) -> Service:
    """The REST API. It needs nothing of Dagster."""
    chosen = settings.web
    argv = [_program("upkeep"), "web", "--host", chosen.host, "--port", str(port)]
    argv += ["--public"] if chosen.public else []
    # What it is answering when it is asked to end may take ten seconds (web/serving.py).
    return Service("web", argv, {**os.environ, "PYTHONSAFEPATH": "1"}, settings.home / "logs" / "web.log", grace=12.0)


def web_url(settings: Settings, port: int) -> str:
    """Where the service can be asked from this machine."""
    host = settings.web.host
    host = {"0.0.0.0": HOST, "::": "::1"}.get(host, host)
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


def _program(name: str) -> str:
    """A console script of the environment that we run in."""
    path = Path(sys.executable).parent / name
    if not path.exists():
        raise ProcessError(
            f"{path} is missing",
            code="process.not_installed",
            remedy="Install Upkeep's dependencies into the environment that it runs in (`make install`).",
        )
    return str(path)


@contextmanager
def _only_one(home: Path) -> Iterator[None]:
    """One `upkeep up` a home: two daemons would start every run twice."""
    home.mkdir(parents=True, exist_ok=True)
    with (home / "up.lock").open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            raise ConfigError(
                f"`upkeep up` runs already for {home} (pid {file.read().strip() or 'unknown'})",
                code="up.running",
                remedy="Stop that one with Ctrl-C, or give this one another UPKEEP_HOME.",
            ) from None
        file.truncate(0)
        file.write(f"{os.getpid()}\n")
        file.flush()
        yield


@contextmanager
def _socket_folder(home: Path) -> Iterator[Path]:
    """A private folder whose path is short enough for a socket: whoever may connect may run code as us."""
    folder = home / "up"
    if len(os.fsencode(folder / "code.sock")) <= SOCKET_PATH_LIMIT:
        folder.mkdir(mode=0o700, exist_ok=True)
        folder.chmod(0o700)
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="upkeep-") as short:
        yield Path(short)


@contextmanager
def reserved_port(wanted: int | None, *, first: int = FIRST_PORT, option: str = "--port") -> Iterator[int]:
    """`wanted`, or the first free port from `first` on, kept from other `upkeep up` until the end of the block. Raises
    ConfigError `up.port` where it is taken; `option` chooses another."""
    for port in [wanted] if wanted else range(first, first + PORTS_TRIED):
        with socket.socket(socket.AF_UNIX) as mark:
            if _is_free(port, mark):
                yield port
                return
    raise ConfigError(
        f"port {wanted or f'{first} to {first + PORTS_TRIED - 1}'} of {HOST} is taken",
        code="up.port",
        remedy=f"Choose another with {option}.",
    )


def _is_free(port: int, mark: socket.socket) -> bool:
    """Seconds pass until the service listens. Until then an abstract socket (unix(7)), gone with our process, says
    that the port is promised."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            mark.bind(f"\0upkeep up {port}")
            probe.bind((HOST, port))
        except OSError:
            return False
    return True


class _Stop:
    """Asked to end by a signal: in order the first time, at once the second."""

    def __init__(self) -> None:
        self._asked = threading.Event()
        self.hurry: Supervisor | None = None
        """Whose services are killed by a second signal."""

    @property
    def asked(self) -> bool:
        return self._asked.is_set()

    def listen(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._handle)

    def wait(self, seconds: float) -> bool:
        return self._asked.wait(seconds)

    def _handle(self, number: int, frame: object) -> None:
        if self.asked:
            if self.hurry is None:
                raise KeyboardInterrupt
            self.hurry.stop(grace=0.0)
        self._asked.set()


def _wait(supervisor: Supervisor, stop: _Stop, ready: Callable[[], bool], service: Service) -> None:
    """Until `ready`, or until we are asked to end."""
    deadline = time.monotonic() + START_SECONDS
    while not stop.asked and not ready():
        if time.monotonic() > deadline:
            raise ProcessError(
                f"{service.name} did not answer within {START_SECONDS:.0f} s",
                code="up.not_ready",
                remedy=f"Read {service.log}.",
            )
        supervisor.check()
        stop.wait(0.1)


def _accepts(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            return False
        return True


def _answers(url: str) -> bool:
    here = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # whatever proxy leads to other machines
    try:
        with here.open(url, timeout=5) as response:
            return bool(response.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _recover(database: Database, instance: DagsterInstance, say: Say) -> None:
    """The code server took its workers with it."""
    closed = reconcile(database, instance)
    if closed.dagster:
        say(f"closed {len(closed.dagster)} runs that ended with the code server")


def _tell_start(say: Say, swept: int, before: str | None, now: str, closed: Reconciled) -> None:
    if swept:
        say(f"ended {swept} processes that an earlier start had left behind")
    if before != now:
        say(f"database: {'set up' if before is None else f'migrated from {before}'} at {now}")
    if closed.dagster:
        say(f"closed {len(closed.dagster)} runs that an earlier start had left open")
    if closed.requests:
        say(f"booked {closed.requests} requests to models in full: their gateways died before the figures came")


def _repositories(database: Database, settings: Settings) -> int:
    """How many are managed, with those that upkeep.yaml has."""
    with database.session() as session:
        configured.refresh(session, settings)
        return len(registry.slugs(session))


def _tell_ready(say: Say, settings: Settings, port: int, web: int, repositories: int) -> None:
    url = f"http://{HOST}:{port}"
    say(f"Upkeep is up.    {url}")
    say(f"  lineage        {url}/locations/{LOCATION}/asset-groups/content")
    say(f"  runs           {url}/runs")
    say(f"  API            {web_url(settings, web)} (`upkeep token create` lets in)")
    say(f"  home           {settings.home}")
    say(f"  logs           {settings.home / 'logs'}")
    for name, watch in sorted(settings.watches.items()):
        upstream = watch.upstream.url or watch.upstream.path
        say(f"  watch          {name}: {upstream} every {watch.poll_minutes:g} min")
    for name, fork in sorted(settings.forks.items()):
        when = f"rebased by `{fork.schedule}` ({fork.time_zone or machine_zone()})" if fork.schedule else "by hand only"
        say(f"  fork           {name}: {when}")
    if settings.forks:
        say(f"  forks          {url}/locations/{LOCATION}/asset-groups/forks")
    if not settings.watches and not settings.forks:
        say("  watches        none; `upkeep init` writes a commented upkeep.yaml")
    if repositories:
        say(f"  repositories   {repositories}: {url}/locations/{LOCATION}/asset-groups/sync")
    say("Ctrl-C stops everything.")
