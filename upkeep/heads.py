"""Where do many branches stand now? All remotes are asked at once, none is cloned, one that hangs costs only itself.

What belongs here: asking, and falling back. What does not: what a moved head means (`content/`, sensors), fetching it
(`git.py`), and what git's errors mean (`plumbing/command.py`).

Three ways, quickest first; each hands over to the next what it cannot answer with certainty:

1. a repository on this machine (a path or `file://`): its ref files are read;
2. smart HTTP: one `ls-refs` request of protocol version 2 (gitprotocol-v2(5)) over a kept-open connection. A server
   that does not speak it is asked the way older clients do (`info/refs`);
3. everything else: `git ls-remote`, with the user's own credential helpers, proxies and ssh.
"""

from __future__ import annotations

import asyncio
import os
import re
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import unquote, urlsplit

import aiohttp

from upkeep.errors import BranchGone, RemoteUnavailable, UpkeepError
from upkeep.plumbing.command import display_url, separate_credentials
from upkeep.plumbing.transfer import remote_heads

CONCURRENCY = 64
# More git processes at once than this gain nothing: each costs some 10 ms of processor time.
_GIT_POOL = 16
# No single answer may take more than this part of the whole deadline, so that slots taken by remotes that hang come
# free for the others.
_SHARE = 1 / 4
_CONNECT_SECONDS = 5.0
# Answers hold one ref, or all refs of a server of the old kind.
_MAX_ANSWER = 32 << 20

_SHA = re.compile(r"[0-9a-f]{40}(?:[0-9a-f]{24})?")
_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
# Some servers tell git from browsers by this name.
_USER_AGENT = "git/2 (upkeep)"
_RESULT = "application/x-git-upload-pack-result"
_ADVERTISEMENT = "application/x-git-upload-pack-advertisement"
_PROXIES = ("http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY")


@dataclass(frozen=True)
class HeadRequest:
    """A branch to ask for. `key` is the caller's name for it; `config` and `env` as for Repository.fetch."""

    key: str
    url: str
    branch: str
    config: Mapping[str, str] = field(default_factory=dict)
    env: Mapping[str, str] = field(default_factory=dict)

    @property
    def ref(self) -> str:
        return f"refs/heads/{self.branch}"


@dataclass(frozen=True)
class HeadResult:
    """Either the branch's SHA or the reason why it is not known. `seconds` is what this one took."""

    sha: str | None
    error: UpkeepError | None
    seconds: float


def poll(requests: Sequence[HeadRequest], *, deadline: float, concurrency: int = CONCURRENCY) -> dict[str, HeadResult]:
    """Ask for all heads at once and return an answer for every key, in at most `deadline` seconds.

    Raises nothing for a remote: its result then holds BranchGone, RemoteUnavailable or GitError (code
    `git.authentication`, `git.remote_not_found`, …). Starts an event loop of its own: not to be called inside of one.
    """
    return asyncio.run(_poll(requests, time.monotonic() + deadline, deadline * _SHARE, concurrency))


async def _poll(requests: Sequence[HeadRequest], ends: float, share: float, concurrency: int) -> dict[str, HeadResult]:
    pool = ThreadPoolExecutor(max_workers=min(_GIT_POOL, concurrency), thread_name_prefix="heads")
    connector = aiohttp.TCPConnector(limit=0, ttl_dns_cache=300)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS)
    headers = {"User-Agent": _USER_AGENT, "Git-Protocol": "version=2"}
    try:
        async with aiohttp.ClientSession(
            connector=connector, timeout=timeout, headers=headers, cookie_jar=aiohttp.DummyCookieJar()
        ) as session:
            asker = _Asker(session, pool, asyncio.Semaphore(concurrency), ends, share)
            tasks = {request.key: asyncio.create_task(asker.ask(request)) for request in requests}
            if tasks:
                await asyncio.wait(tasks.values(), timeout=max(0.0, ends - time.monotonic()))
            late = [task for task in tasks.values() if task.cancel()]
            await asyncio.gather(*late, return_exceptions=True)
            return {request.key: _result(tasks[request.key], request) for request in requests}
    finally:
        # Threads that still wait for git end with its deadline; nobody waits for them.
        pool.shutdown(wait=False, cancel_futures=True)


def _result(task: asyncio.Task[HeadResult], request: HeadRequest) -> HeadResult:
    if task.cancelled():
        return HeadResult(None, _unavailable(request, "no answer before the deadline"), 0.0)
    return task.result()


def _unavailable(request: HeadRequest, why: str) -> RemoteUnavailable:
    shown = display_url(request.url)
    return RemoteUnavailable(
        f"{shown} did not answer: {why}", remedy="It is asked again at the next poll.", remote=shown
    )


class _Unanswered(Exception):
    """This way has no certain answer; the next one is tried."""


class _Asker:
    """One poll: its connections, its threads and its time."""

    def __init__(
        self,
        session: aiohttp.ClientSession,
        pool: ThreadPoolExecutor,
        slots: asyncio.Semaphore,
        ends: float,
        share: float,
    ) -> None:
        self._session, self._pool, self._slots = session, pool, slots
        self._ends, self._share = ends, share

    async def ask(self, request: HeadRequest) -> HeadResult:
        started = time.monotonic()
        error: UpkeepError | None = None
        sha = None
        try:
            sha = await self._find(request)
            if sha is None:
                error = _gone(request)
        except UpkeepError as caught:
            error = caught
        return HeadResult(sha, error, time.monotonic() - started)

    def _left(self) -> float:
        return max(0.1, min(self._share, self._ends - time.monotonic()))

    async def _find(self, request: HeadRequest) -> str | None:
        if urlsplit(request.url).scheme in ("http", "https"):
            # Slots are for connections alone: what waits for a git process must not keep others from theirs.
            async with self._slots:
                try:
                    async with asyncio.timeout(self._left()):
                        return await self._ask_http(request)
                except TimeoutError as error:
                    raise _unavailable(request, "the time for one remote is over") from error
                except _Unanswered:
                    pass
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, self._ask_git, request)

    def _ask_git(self, request: HeadRequest) -> str | None:
        path = _local_path(request.url)
        found = None if path is None else _read_ref(path, request.ref)
        if found is not None:
            return found
        if self._ends <= time.monotonic():
            raise _unavailable(request, "no time was left to ask")
        return remote_heads(request.url, [request.ref], request.config, request.env, self._left()).get(request.ref)

    async def _ask_http(self, request: HeadRequest) -> str | None:
        url, login = separate_credentials(request.url)
        headers = _extra_headers(url, {**request.config, **login})
        try:
            return await self._ls_refs(url.rstrip("/"), request.ref, headers)
        except (aiohttp.ClientConnectorCertificateError, aiohttp.ClientConnectorSSLError, aiohttp.InvalidURL) as error:
            # git may know a certificate authority or a rewritten address that we do not.
            raise _Unanswered from error
        except aiohttp.ClientConnectorDNSError as error:
            raise _unavailable(request, "its name is not known") from error
        except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError) as error:
            if any(os.environ.get(name) for name in _PROXIES):
                raise _Unanswered from error
            raise _unavailable(request, str(error) or type(error).__name__) from error
        except aiohttp.ClientError as error:
            raise _Unanswered from error
        except _Busy as error:
            raise _unavailable(request, f"HTTP status {error.status}") from error

    async def _ls_refs(self, url: str, ref: str, headers: Mapping[str, str]) -> str | None:
        """One `ls-refs` at once: a server of version 2 needs no look at its capabilities before (it is stateless)."""
        body = _pkt("command=ls-refs\n") + b"0001" + _pkt(f"ref-prefix {ref}\n") + b"0000"
        send = {"Content-Type": "application/x-git-upload-pack-request", "Accept": _RESULT, **headers}
        status, kind, answer = await self._request("POST", f"{url}/git-upload-pack", send, body)
        if status == 200 and kind == _RESULT:
            refs = _refs(answer)
            if refs is not None:
                return refs.get(ref)
        if status in (401, 403, 407) or 300 <= status < 400:
            raise _Unanswered
        send = {"Accept": "*/*", **headers, "Git-Protocol": "version=0"}
        status, kind, answer = await self._request("GET", f"{url}/info/refs?service=git-upload-pack", send, None)
        refs = _refs(answer) if status == 200 and kind == _ADVERTISEMENT else None
        if refs is None:
            raise _Unanswered
        return refs.get(ref)

    async def _request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, str, bytes]:
        async with self._session.request(method, url, headers=headers, data=body, allow_redirects=False) as response:
            if response.status in (408, 429) or response.status >= 500:
                raise _Busy(response.status)
            answer = await response.content.read(_MAX_ANSWER) if response.status == 200 else b""
            while response.status == 200 and not response.content.at_eof():
                answer += await response.content.read(_MAX_ANSWER)
                if len(answer) > _MAX_ANSWER:
                    raise _Unanswered
            return response.status, response.content_type, answer


class _Busy(Exception):
    """The server says that it cannot answer now."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def _gone(request: HeadRequest) -> BranchGone:
    shown = display_url(request.url)
    return BranchGone(
        f"{shown} has no branch {request.branch}",
        remedy="Set the branch that exists in upkeep.yaml, or restore it on the remote.",
        remote=shown,
        branch=request.branch,
    )


def _extra_headers(url: str, config: Mapping[str, str]) -> dict[str, str]:
    """The headers that git would send to `url` by `http.extraHeader` and `http.<url>.extraHeader` (git-config(1))."""
    headers = {}
    for key, value in config.items():
        if key.lower().startswith("http.") and key.lower().endswith(".extraheader"):
            scope = key[len("http.") : -len(".extraheader")] if key.count(".") > 1 else ""
            # At the end of a path's part only: what is for `https://host` is not for `https://host.example`.
            if not scope or f"{url}/".startswith(scope.rstrip("/") + "/"):
                name, _, content = value.partition(":")
                headers[name.strip()] = content.strip()
    return headers


def _pkt(line: str) -> bytes:
    data = line.encode(errors="surrogateescape")
    return b"%04x" % (len(data) + 4) + data


def _refs(answer: bytes) -> dict[str, str] | None:
    """The refs in an answer to `ls-refs` or in an advertisement of the old kind (gitprotocol-common(5), -pack(5)).

    None for everything that is neither: an error line, a list of capabilities, an answer that was cut off.
    """
    refs: dict[str, str] = {}
    at, ended = 0, False
    while at < len(answer):
        if not _LENGTH.fullmatch(answer, at, at + 4):
            return None
        size = int(answer[at : at + 4], 16)
        if size < 4:
            at, ended = at + 4, size == 0
            continue
        if size == 4 or at + size > len(answer):
            return None
        line = answer[at + 4 : at + size].decode(errors="surrogateescape").partition("\0")[0].rstrip("\n")
        at, ended = at + size, False
        if line.startswith("# service="):
            continue
        sha, _, name = line.partition(" ")
        if not _SHA.fullmatch(sha):
            return None
        refs[name.partition(" ")[0]] = sha
    return refs if ended else None


def _local_path(url: str) -> Path | None:
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in ("", "localhost"):
        return Path(unquote(parts.path))
    if parts.scheme or not url.startswith(("/", "~", ".")):
        return None
    return Path(url).expanduser()


def _read_ref(path: Path, ref: str) -> str | None:
    """Read a branch as gitrepository-layout(5) has it; None for whatever is not plain (git is asked then)."""
    try:
        git_dir = path / ".git" if (path / ".git").is_dir() else path
        if not (git_dir / "HEAD").is_file() or (git_dir / "reftable").exists() or ".." in ref.split("/"):
            return None
        try:
            loose = (git_dir / ref).read_text().strip()
            return loose if _SHA.fullmatch(loose) else None
        except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
            packed = (git_dir / "packed-refs").read_text(errors="surrogateescape")
    except (OSError, UnicodeDecodeError):
        return None
    found = re.search(rf"^([0-9a-f]{{40,64}}) {re.escape(ref)}$", packed, re.MULTILINE)
    return found[1] if found else None
