"""What a sandboxed program sees and may use: mounts, environment, limits, as one value that can be printed.

What belongs here: the description, its translation into bubblewrap's arguments, and which files of a repository are
hidden. What does not: starting anything (`sandbox.py`), and what one engine needs (that engine's module).

Paths inside are the paths outside: a prompt names files as the host knows them. Everything that is not listed does not
exist inside. bubblewrap's options: https://github.com/containers/bubblewrap, bwrap(1).
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from upkeep.agents import syscalls
from upkeep.errors import AgentError

MIB, GIB = 1 << 20, 1 << 30

RELAY_PORT = 8317
GATEWAY_URL = f"http://127.0.0.1:{RELAY_PORT}"
"""Where a program inside reaches the gateway. The port is free: the network namespace is the sandbox' own."""

GATEWAY_SOCKET = Path("/run/upkeep/gateway.sock")
RELAY = Path("/run/upkeep/relay.py")

AGENT_FILES = frozenset(
    {
        *(".claude", ".claude.json", "CLAUDE.md", "CLAUDE.local.md", ".mcp.json"),
        *(".codex", ".agents", "AGENTS.md", "AGENTS.override.md"),
        *(".opencode", "opencode.json", "opencode.jsonc"),
    }
)
"""Names by which a repository configures or instructs the three CLIs, at any depth: they read nested ones too."""

MAX_HIDDEN = 400
"""bubblewrap reads the table of mounts again for each, so their number counts squared (400: 60 ms)."""

_HERE = Path(__file__).parent
_JAIL = _HERE / "jail"
_USER = 1000
_SYSTEM = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
# What programs need of /etc to load libraries, find commands, tell the time. /etc/ssl/private is not among it.
_ETC = ("ld.so.cache", "ld.so.conf", "ld.so.conf.d", "alternatives", "localtime", "nsswitch.conf", "ssl/openssl.cnf")
_ETC_NETWORK = ("resolv.conf", "hosts", "gai.conf", "ssl/certs", "pki/tls/certs", "pki/ca-trust", "ca-certificates")

Kind = Literal["read", "write", "memory", "empty", "proc", "dev", "link"]


@dataclass(frozen=True)
class Limits:
    """Bounds of one sandbox. `processes` counts threads too. Bytes: `memory` of all its processes together, `file` of
    one file, `disk` by which its writable folders may grow, `temp` of each private folder in memory."""

    processes: int = 1024
    memory: int = 4 * GIB
    file: int = GIB
    disk: int = 4 * GIB
    temp: int = 512 * MIB
    open_files: int = 4096


@dataclass(frozen=True)
class Mount:
    """One place inside. `source` is a path of the host (for `link`: where the link points to)."""

    kind: Kind
    target: Path
    source: Path | None = None
    size: int | None = None

    def arguments(self) -> list[str]:
        target = str(self.target)
        match self.kind:
            case "read":
                return ["--ro-bind", str(self.source), target]
            case "write":
                return ["--bind", str(self.source), target]
            case "memory":
                return ["--size", str(self.size), "--tmpfs", target]
            case "empty":
                return ["--size", "4096", "--tmpfs", target, "--remount-ro", target]
            case "proc":
                # bubblewrap leaves /proc/sys as it is, whose files root may write whatever its capabilities are:
                # /proc/sys/kernel/core_pattern names a program that the kernel runs on the host.
                return ["--proc", target, "--remount-ro", target]
            case "dev":
                return ["--dev", target]
            case "link":
                return ["--symlink", str(self.source), target]

    def describe(self) -> str:
        source = f" (from {self.source})" if self.source not in (None, self.target) else ""
        size = f" up to {self.size // MIB} MiB" if self.size is not None else ""
        return f"{self.kind:<7} {self.target}{source}{size}"


@dataclass(frozen=True)
class Profile:
    """One sandbox.

    `write`: folders that may be changed, such as the work tree. `read`: folders and files that may only be read.
    `private`: writable folders of our own making, such as the one that holds `home` (HOME of the program inside).
    `programs`: the tool's own files, read-only. `environment` is added to PATH, HOME, TMPDIR, LANG and USER, and wins.
    `directory`: where the program starts.
    `gateway`: the unix socket that GATEWAY_URL leads to; None: there is no way out at all. `network` shares the host's
    network and is for preparing gates alone. `uncounted_memory`: memory that belongs to no process may be had, which is
    for gates. `hide`: names hidden in `write` and `read`, at any depth; `.git` is hidden too, or with `git="read"`
    shown read-only. `hidden`: further files and folders, by path.

    All paths are absolute; those of folders and files exist.
    """

    directory: Path
    home: Path
    write: tuple[Path, ...] = ()
    private: tuple[Path, ...] = ()
    read: tuple[Path, ...] = ()
    programs: tuple[Path, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    gateway: Path | None = None
    network: bool = False
    uncounted_memory: bool = False
    hide: frozenset[str] = AGENT_FILES
    hidden: tuple[Path, ...] = ()
    git: Literal["hidden", "read"] = "hidden"
    limits: Limits = Limits()

    @property
    def writable(self) -> tuple[Path, ...]:
        return (*self.private, *self.write)

    def variables(self) -> dict[str, str]:
        """The whole environment inside."""
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        own = {"PATH": path, "HOME": str(self.home), "TMPDIR": "/tmp", "LANG": "C.UTF-8", "USER": "agent"}  # noqa: S108
        return {**own, **self.environment}

    def mounts(self) -> tuple[Mount, ...]:
        """Every mount in order. Looks at the host: what is hidden depends on what the folders hold.

        Raises AgentError (code `agent.sandbox.hidden`) where more than MAX_HIDDEN files would have to be hidden.
        """
        limits = self.limits
        fixed = (
            *_system(network=self.network),
            Mount("proc", Path("/proc")),
            Mount("dev", Path("/dev")),
            Mount("memory", Path("/dev/shm"), size=limits.temp),  # noqa: S108
            Mount("memory", Path("/tmp"), size=limits.temp),  # noqa: S108
            Mount("read", RELAY, _HERE / "relay.py"),
            *([Mount("read", GATEWAY_SOCKET, self.gateway)] if self.gateway else []),
        )
        named = {
            **dict.fromkeys(_interpreter(), "read"),
            **{path: "read" for path in self.programs if not path.is_relative_to("/usr")},
            **dict.fromkeys(self.read, "read"),
            **dict.fromkeys(self.writable, "write"),
        }
        own = [Mount(kind, path, path) for path, kind in sorted(named.items())]  # type: ignore[arg-type]
        return (*fixed, *own, *self._hidden())

    def arguments(self) -> list[str]:
        """bubblewrap's arguments, without its name and without the command."""
        unshare = ["--unshare-all", "--unshare-user", "--disable-userns", *(["--share-net"] if self.network else [])]
        return [
            *unshare,
            *("--die-with-parent", "--new-session", "--cap-drop", "ALL", "--clearenv", "--hostname", "sandbox"),
            # No program inside is root, not even in name: some refuse to run as root, and none needs it.
            *("--uid", str(_USER), "--gid", str(_USER)),
            *(part for mount in self.mounts() for part in mount.arguments()),
            # What bubblewrap made itself lies in memory without bound.
            *("--remount-ro", "/dev", "--remount-ro", "/"),
            *(part for name, value in sorted(self.variables().items()) for part in ("--setenv", name, value)),
            *("--chdir", str(self.directory)),
        ]

    def system_calls(self) -> bytes | None:
        """The filter of system calls; None on a machine for which there is none."""
        return syscalls.program(platform.machine(), uncounted=self.uncounted_memory)

    def as_record(self) -> dict[str, Any]:
        """Plain JSON values: mounts, environment, limits, network."""
        return {
            "mounts": [
                {key: str(value) if isinstance(value, Path) else value for key, value in asdict(mount).items()}
                for mount in self.mounts()
            ],
            "environment": self.variables(),
            "limits": asdict(self.limits),
            "network": self._network(),
            "directory": str(self.directory),
            "hidden_names": sorted(self._names()),
            "user": _USER,
            "capabilities": [],
            "user_namespaces": False,
            "system_calls": self._calls(),
        }

    def summary(self) -> dict[str, Any]:
        """The same in short: what is of this run, without the system's own mounts and without any value of the
        environment."""
        hidden = self._hidden()
        return {
            "network": self._network(),
            "writable": [str(path) for path in self.writable],
            "readable": [str(path) for path in (*self.read, *self.programs)],
            "hidden": len(hidden),
            "environment": sorted(self.variables()),
            "limits": asdict(self.limits),
            "system_calls": self._calls(),
        }

    def describe(self) -> str:
        """The whole for people."""
        limits = self.limits
        return "\n".join(
            [
                f"network     {self._network()}",
                f"user        {_USER}, no capabilities, no new privileges, no user namespaces",
                f"calls       {self._calls()}",
                f"limits      {limits.processes} processes, {limits.memory // MIB} MiB memory, files of "
                f"{limits.file // MIB} MiB, growth of {limits.disk // MIB} MiB, {limits.open_files} open files",
                f"starts in   {self.directory}",
                f"hidden      {self._hidden_names()}",
                "environment",
                *(f"  {name}={value}" for name, value in sorted(self.variables().items())),
                "mounts (nothing else exists)",
                *(f"  {mount.describe()}" for mount in self.mounts()),
            ]
        )

    def _network(self) -> str:
        if self.network:
            return "the host's"
        return "none" if self.gateway is None else f"none, but {GATEWAY_URL} leads to the gateway"

    def _calls(self) -> str:
        if self.system_calls() is None:
            return f"all system calls may be made: there is no filter for {platform.machine()}"
        refused = "namespaces, mounts, keys, kernel programs, io_uring, sockets but unix, inet and netlink"
        return f"refused are {refused}" + ("" if self.uncounted_memory else ", memory of no process")

    def _hidden_names(self) -> str:
        names = f"{' '.join(sorted(self._names()))}, at any depth" if self._names() else "nothing by its name"
        return names if self.git == "hidden" else f"{names}; .git is read-only"

    def _names(self) -> frozenset[str]:
        return self.hide | {".git"} if self.git == "hidden" else self.hide

    def _hidden(self) -> list[Mount]:
        """What stands over files of the same name, so that a program finds them empty and cannot change them."""
        found = {path: _nothing_at(path) for path in self.hidden}
        for root in (*self.write, *(self.read if self._names() else ())):
            for path in find(root, self._names() | {".git"}):
                shown = path.name == ".git" and self.git == "read"
                found[path] = Mount("read", path, path) if shown else _nothing_at(path)
                if len(found) > MAX_HIDDEN:
                    raise AgentError(
                        f"{root} holds more than {MAX_HIDDEN} files that configure agents",
                        code="agent.sandbox.hidden",
                        remedy=f"remove them from the repository: {', '.join(sorted(AGENT_FILES))}",
                    )
        return [found[path] for path in sorted(found)]


def _nothing_at(path: Path) -> Mount:
    return Mount("empty", path) if path.is_dir() else Mount("read", path, _JAIL / "empty")


def find(root: Path, names: Iterable[str]) -> Iterator[Path]:
    """Files and folders of these names below `root`, without following links to folders, and what links of these names
    lead to where that lies below `root`. Folders that cannot be read are left out: inside they cannot be read either.
    """
    names, root = frozenset(names), root.resolve()
    pending = [root] if root.is_dir() else []
    while pending:
        try:
            with os.scandir(pending.pop()) as listing:
                entries = list(listing)
        except OSError:
            continue
        for entry in entries:
            is_folder = entry.is_dir(follow_symlinks=False)
            if entry.name not in names:
                pending += [Path(entry.path)] if is_folder else []
            elif not entry.is_symlink():
                yield Path(entry.path)
            elif (target := Path(os.path.realpath(entry.path))).exists() and root in target.parents:
                yield target


def _system(*, network: bool) -> Iterator[Mount]:
    yield Mount("read", Path("/usr"), Path("/usr"))
    for name in _SYSTEM:
        path = Path("/") / name
        if path.is_symlink():
            yield Mount("link", path, path.readlink())
        elif path.is_dir():
            yield Mount("read", path, path)
    for name in (*_ETC, *(_ETC_NETWORK if network else ())):
        path = Path("/etc") / name
        if path.exists():
            yield Mount("read", path, path.resolve())
    for name in ("passwd", "group"):
        yield Mount("read", Path("/etc") / name, _JAIL / name)


def interpreter() -> Path:
    """The Python that runs Upkeep, which runs the relay inside too: it is sure to be there."""
    return Path(getattr(sys, "_base_executable", sys.executable)).resolve()


def _interpreter() -> list[Path]:
    prefix = Path(sys.base_prefix).resolve()
    return [] if prefix.is_relative_to("/usr") else [prefix]
