"""Commit objects as bytes: reading one, and writing the one that `git rebase` would write in its place.

What belongs here: the text of a commit object, byte for byte. What does not: where it is stored (`quarantine.py`) and
which tree it gets (`engine.py`).

What the sequencer does to a commit that it picks, as of git 2.26 to 2.50 (sequencer.c `do_pick_commit`, commit.c
`commit_tree_extended`): the author line is copied, the committer is new, every other header goes (signatures,
encoding), the text is converted to UTF-8, blank lines before the subject go, and bytes that are no UTF-8 are taken for
Latin-1.
"""

from __future__ import annotations

import codecs
import re
from dataclasses import dataclass
from datetime import UTC, datetime

_IDENTITY = re.compile(rb"(?P<name>[^<\n]*?) ?<(?P<address>[^>\n]*)> (?P<when>-?\d+) (?P<zone>[+-]\d{4})")
_BLANK_LINES = re.compile(rb"(?:[ \t\v\f\r]*\n)+")
# Valid for Python, not for git (utf8.c `find_invalid_utf8`): noncharacters.
_NONCHARACTER = re.compile(
    "[\ufdd0-\ufdef" + "".join(chr(plane << 16 | low) for plane in range(17) for low in (0xFFFE, 0xFFFF)) + "]"
)
# Encodings that Python and every iconv convert alike.
_KNOWN_ENCODINGS = ("utf-8", "iso8859-1", "ascii")


@dataclass(frozen=True)
class Committer:
    """Who a rebase is made by, and when: `git rebase` stamps each commit with the time at which it was made."""

    name: str
    address: str
    when: datetime

    @property
    def line(self) -> bytes:
        moment = self.when.astimezone(UTC)
        return f"{self.name} <{self.address}> {int(moment.timestamp())} +0000".encode()


@dataclass(frozen=True)
class RawCommit:
    """A commit as it is stored. `headers` holds those that are neither tree, parent, author nor committer, by name."""

    sha: str
    tree: str
    parents: tuple[str, ...]
    author: bytes
    committer: bytes
    headers: dict[str, bytes]
    message: bytes

    @property
    def subject(self) -> str:
        return (self.text.split("\n\n", 1)[0].replace("\n", " ").strip()) or "(no subject)"

    @property
    def first_line(self) -> str:
        """The first line as git has it, bytes that are no UTF-8 as surrogates."""
        return self._body.partition(b"\n")[0].decode(errors="surrogateescape")

    @property
    def text(self) -> str:
        """The message for people."""
        return self._body.decode(self._codec or "utf-8", errors="replace")

    @property
    def _body(self) -> bytes:
        blank = _BLANK_LINES.match(self.message)
        return self.message[blank.end() :] if blank else self.message

    @property
    def author_name(self) -> str:
        found = _IDENTITY.match(self.author)
        return (found["name"] if found else self.author).decode(self._codec or "utf-8", errors="replace")

    @property
    def authored_at(self) -> datetime:
        return _moment(self.author)

    @property
    def committed_seconds(self) -> int:
        found = _IDENTITY.match(self.committer)
        return max(0, int(found["when"])) if found else 0

    @property
    def signed(self) -> bool:
        return "gpgsig" in self.headers or "gpgsig-sha256" in self.headers

    @property
    def _codec(self) -> str | None:
        """The Python codec of its text; None where we do not know how git would convert it."""
        name = self.headers.get("encoding", b"utf-8").decode(errors="replace").strip()
        try:
            found = codecs.lookup(name).name
        except LookupError:
            return None
        return found if found in _KNOWN_ENCODINGS else None

    @property
    def portable(self) -> bool:
        """Whether `rewritten` gives what git would give. Else git itself has to write the commit."""
        return self._codec is not None and b"\0" not in self.message and len(self.parents) == 1

    def rewritten(self, tree: str, parent: str, committer: Committer) -> bytes:
        """The body of the commit object that `git rebase` writes when it picks this one onto `parent`."""
        author, message = self.author, self._body
        if self._codec not in (None, "utf-8"):
            author, message = (part.decode(str(self._codec)).encode() for part in (author, message))
        head = b"tree %s\nparent %s\nauthor %s\ncommitter %s\n\n"
        return _as_utf8(head % (tree.encode(), parent.encode(), author, committer.line) + message)


def parse(sha: str, body: bytes) -> RawCommit:
    """Read a commit object."""
    head, _, message = body.partition(b"\n\n")
    tree, author, committer = "", b"", b""
    parents: list[str] = []
    headers: dict[str, bytes] = {}
    # A header that goes on begins its next lines with a blank.
    for line in re.split(rb"\n(?! )", head):
        name, _, value = line.partition(b" ")
        match name:
            case b"tree":
                tree = value.decode()
            case b"parent":
                parents.append(value.decode())
            case b"author":
                author = value
            case b"committer":
                committer = value
            case _:
                headers[name.decode(errors="replace")] = value
    return RawCommit(sha, tree, tuple(parents), author, committer, headers, message)


def synthetic(tree: str, parent: RawCommit, theirs: RawCommit) -> bytes:
    """A commit that has `tree` and whose merge base with `theirs` is `parent`, its parent.

    It is younger than both: a walk from a commit of the year 1970 visits the whole history before it finds the merge
    base (45 ms a pick in git.git, not 4).
    """
    when = max(parent.committed_seconds, theirs.committed_seconds) + 1
    line = f"Upkeep <upkeep@localhost> {when} +0000"
    return f"tree {tree}\nparent {parent.sha}\nauthor {line}\ncommitter {line}\n\nverification\n".encode()


def _as_utf8(body: bytes) -> bytes:
    """What git makes of a commit that is no UTF-8: each byte that does not fit is taken for Latin-1."""
    parts = []
    while True:
        try:
            text = body.decode()
            bad = _NONCHARACTER.search(text)
            if bad is None:
                parts.append(body)
                return b"".join(parts)
            at = len(text[: bad.start()].encode())
        except UnicodeDecodeError as error:
            # A noncharacter may stand before it.
            before = _NONCHARACTER.search(body[: error.start].decode())
            at = error.start if before is None else len(body[: error.start].decode()[: before.start()].encode())
        parts += [body[:at], chr(body[at]).encode()]
        body = body[at + 1 :]


def _moment(identity: bytes) -> datetime:
    found = _IDENTITY.match(identity)
    try:
        return datetime.fromtimestamp(int(found["when"]) if found else 0, UTC)
    except (ValueError, OverflowError, OSError):
        return datetime.fromtimestamp(0, UTC)
