"""Reading and feeding a child's pipes: bounded memory, a file, a callback per line, redacted on the way, in time.

What belongs here: pipes and bytes. What does not: starting and ending processes (`process.py`).
"""

from __future__ import annotations

import contextlib
import errno
import os
import selectors
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self

Outcome = Literal["exited", "deadline", "idle", "final"]

_CHUNK = 1 << 18

_DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class LineCutter:
    """Cuts a stream into lines (with their newline) and never holds more than `limit` + `overlap` bytes of one.

    Of a longer line the beginning is given out once; the rest is dropped up to its newline, and `cut` is set. The
    overlap lets a caller see a secret whole that lies across the limit.
    """

    def __init__(self, limit: int, overlap: int = 0) -> None:
        self._limit = limit
        self._hold = limit + overlap
        self._line = bytearray()
        self._dropping = False
        self.cut = False

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        start = 0
        while start < len(chunk):
            newline = chunk.find(b"\n", start)
            end = newline + 1 or len(chunk)
            if not self._dropping:
                self._line += chunk[start : min(end, start + self._hold + 1 - len(self._line))]
                if len(self._line) > self._hold or (newline >= 0 and len(self._line) > self._limit + 1):
                    self.cut = self._dropping = True
                    yield self._take()
            if newline >= 0:
                if not self._dropping:
                    yield self._take()
                self._dropping = False
            start = end

    def finish(self) -> Iterator[bytes]:
        """Give out a last line that has no newline."""
        if self._line:
            yield self._take()

    def _take(self) -> bytes:
        line = bytes(self._line)
        self._line.clear()
        return line


class Sink:
    """One stream's destination.

    `keep` bytes stay in memory, the first or (`tail`) the last; `file` gets all of it up to `file_limit` bytes. With a
    redactor or a line callback the stream is handled line by line, each at most `max_line` bytes long. A full disk ends
    the writing of the file and nothing else: a child must not hang or die because its log cannot be kept.
    `truncated` says that something was left out.
    """

    def __init__(
        self,
        *,
        keep: int,
        tail: bool = False,
        file: Path | None = None,
        file_limit: int,
        max_line: int,
        redact: Callable[[bytes], bytes] | None = None,
        overlap: int = 0,
        on_line: Callable[[str], bool | None] | None = None,
    ) -> None:
        self._keep, self._tail = keep, tail
        self._kept = bytearray()
        self._file: IO[bytes] | None = None
        self._file_left = file_limit
        self._redact, self._on_line = redact, on_line
        self._max_line = max_line
        by_line = redact is not None or on_line is not None
        self._cutter = LineCutter(max_line, overlap) if by_line else None
        self.truncated = False
        self.final = False
        if file is not None:
            with self._file_is_optional():
                self._file = file.open("wb", buffering=0)

    def feed(self, chunk: bytes) -> None:
        if self._cutter is None:
            self._store(chunk)
            return
        for line in self._cutter.feed(chunk):
            self._line(line)

    def finish(self) -> bytes:
        """End the stream, close the file, and return what was kept."""
        try:
            if self._cutter is not None:
                for line in self._cutter.finish():
                    self._line(line)
                self.truncated |= self._cutter.cut
        finally:
            self.close()
        if self._tail and len(self._kept) > self._keep:
            del self._kept[: -self._keep]
        return bytes(self._kept)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None

    def _line(self, line: bytes) -> None:
        if self._redact is not None:
            line = self._redact(line)
        if len(line.removesuffix(b"\n")) > self._max_line:
            line = line[: self._max_line] + b"\n"
        self._store(line)
        if self._on_line is not None and self._on_line(line.removesuffix(b"\n").decode(errors="replace")):
            self.final = True

    def _store(self, chunk: bytes) -> None:
        self._write(chunk)
        if self._tail:
            self._kept += chunk
            if len(self._kept) > 2 * self._keep:
                self.truncated = True
                del self._kept[: -self._keep]
            return
        room = self._keep - len(self._kept)
        self.truncated |= len(chunk) > room
        self._kept += chunk[:room]

    def _write(self, chunk: bytes) -> None:
        if self._file is None:
            return
        part = chunk[: self._file_left]
        self.truncated |= len(part) < len(chunk)
        self._file_left -= len(part)
        with self._file_is_optional():
            while part:
                part = part[self._file.write(part) or 0 :]

    @contextlib.contextmanager
    def _file_is_optional(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            if error.errno not in _DISK_FULL:
                raise
            self.truncated = True
            self.close()


@dataclass(frozen=True)
class Limits:
    """How long a child may take, in seconds: `deadline` after `started` (monotonic clock), `idle` without output,
    `after_final` after its final line."""

    started: float
    deadline: float
    idle: float | None
    after_final: float | None


class Pump:
    """Moves bytes between a child's pipes and the sinks, without threads. It owns the pipes and closes them.

    `has_ended` tells whether the child has; `ended_fd` becomes readable when it does (None: it is asked often instead).
    """

    def __init__(
        self,
        stdin: IO[bytes] | None,
        stdout: IO[bytes],
        stderr: IO[bytes],
        has_ended: Callable[[], bool],
        ended_fd: int | None,
        out: Sink,
        err: Sink,
        data: bytes | None,
    ) -> None:
        self._stdin, self._has_ended, self._ended, self._out = stdin, has_ended, ended_fd, out
        self._data = memoryview(data or b"")
        self._selector = selectors.DefaultSelector()
        self._heard = time.monotonic()
        self._files = [file for file in (stdin, stdout, stderr) if file is not None]
        for file, sink in ((stdout, out), (stderr, err)):
            os.set_blocking(file.fileno(), False)
            self._selector.register(file, selectors.EVENT_READ, sink)
        self._open = 2
        if stdin is not None:
            os.set_blocking(stdin.fileno(), False)
            self._selector.register(stdin, selectors.EVENT_WRITE, None)
        if ended_fd is not None:
            self._selector.register(ended_fd, selectors.EVENT_READ, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._forget_end()
        self._selector.close()
        for file in self._files:
            file.close()

    def until_it_ends(self, limits: Limits) -> Outcome:
        """Serve until the leader has ended or a limit is passed; say which."""
        self._heard = time.monotonic()
        end = limits.started + limits.deadline
        final_at: float | None = None
        while True:
            now = time.monotonic()
            if final_at is None and self._out.final and limits.after_final is not None:
                final_at = now + limits.after_final
            silent_at = None if limits.idle is None else self._heard + limits.idle
            until = min(moment for moment in (end, silent_at, final_at) if moment is not None)
            if self.serve(until, once=True):
                return "exited"
            now = time.monotonic()
            if final_at is not None and now >= final_at:
                return "final"
            if now >= end:
                return "deadline"
            if limits.idle is not None and now >= self._heard + limits.idle:
                return "idle"

    def serve(self, until: float, *, once: bool = False) -> bool:
        """Move bytes until the leader has ended (True) or the moment has come (False); `once`: after one wake-up."""
        while not self._has_ended():
            left = until - time.monotonic()
            if left <= 0:
                return False
            # Not for ever in one go: an exception for this thread is only raised between two waits.
            self._move(min(left, 0.5 if self._ended is not None else 0.05))
            if once:
                return self._has_ended()
        return True

    def drain(self, seconds: float) -> bool:
        """Take what is still in the pipes after the end; True when both were closed by the other side."""
        self._forget_end()
        until = time.monotonic() + seconds
        while self._open and (left := until - time.monotonic()) > 0:
            self._move(left)
        return not self._open

    def _forget_end(self) -> None:
        if self._ended is not None:
            self._selector.unregister(self._ended)
            os.close(self._ended)
            self._ended = None

    def _move(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if isinstance(key.data, Sink):
                self._read(key.fileobj, key.fd, key.data)
            elif self._stdin is not None and key.fileobj is self._stdin:
                self._write(self._stdin)

    def _read(self, file: Any, fd: int, sink: Sink) -> None:
        try:
            chunk = os.read(fd, _CHUNK)
        except BlockingIOError:
            return
        if chunk:
            self._heard = time.monotonic()
            sink.feed(chunk)
            return
        self._selector.unregister(file)
        self._open -= 1

    def _write(self, file: IO[bytes]) -> None:
        try:
            written = os.write(file.fileno(), self._data[:_CHUNK])
        except BlockingIOError:
            return
        except BrokenPipeError:  # It does not want the rest; its status says whether that matters.
            written = len(self._data)
        self._data = self._data[written:]
        if not self._data:
            self._selector.unregister(file)
            file.close()
