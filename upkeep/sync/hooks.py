"""The post-commit hook: a block of shell in whatever hook a repository has.

What belongs here: where the effective hook is, and putting our block in and taking it out without touching the rest.
What does not: what the hook starts (`cli/sync.py`) and markers (`markers.py`).

The folder is what `git rev-parse --git-path hooks` says: worktrees share one, and `core.hooksPath` wins (githooks(5)).
A folder outside of the repository's own git folder may serve several repositories, so there each has a block of its
own that looks where it is run. The block forks once and starts nothing that it waits for.
"""

from __future__ import annotations

import os
import re
import stat
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from shlex import quote
from typing import Literal

from upkeep.errors import RepositoryNotReady, UpkeepError
from upkeep.plumbing.command import run_git
from upkeep.reaper import OWNER_VARIABLE
from upkeep.sync import markers
from upkeep.sync.workingtree import WorkingTree

MARK = "# upkeep-sync-hook"
_NOT_OURS = ("PYTHONPATH", "PYTHONHOME", OWNER_VARIABLE)
"""Variables of whoever commits that must not reach the sync. The last would let it be ended with a commit that Upkeep
itself made."""
_SHEBANG = "#!/bin/sh\n"
_SHELL = re.compile(r"#![ \t]*(?:\S*/)?(?:env[ \t]+(?:-S[ \t]+)?)?(?:\S*/)?(?:ba|da|z|k|mk|a)?sh(?=[ \t\r\n]|\Z)")

HookState = Literal["installed", "outdated", "absent", "foreign"]


@dataclass(frozen=True)
class HookStatus:
    """`foreign`: the hook is nothing that a block could be put into, and `remedy` says what to do. `changed`: an
    install or uninstall wrote something. `note`: something that a person should know."""

    repository: str
    path: Path
    state: HookState
    changed: bool = False
    remedy: str = ""
    note: str = ""


@dataclass(frozen=True)
class Hook:
    """The hook of one repository. `command` starts the sync in the background, `environment` is set for it."""

    repository: str
    tree: WorkingTree
    home: Path
    command: Sequence[str]
    environment: dict[str, str]

    @property
    def file(self) -> Path:
        # Our own calls of git turn hooks off by configuration; here the user's own is what is asked for.
        done = run_git(
            ["rev-parse", "--git-path", "hooks"], cwd=self.tree.root, personal=True, env={"GIT_CONFIG_COUNT": "0"}
        )
        return Path(os.path.normpath(self.tree.root / done.text.removesuffix("\n"))) / "post-commit"

    def block(self) -> str:
        """The lines of our block, markers included."""
        guard = ""
        if not self.file.parent.resolve().is_relative_to(self.tree.common):
            guard = f'[ "$(pwd -P)" != {quote(str(self.tree.root))} ] || '
        marker = markers.inbox(self.home, self.repository)
        settings = " ".join(f"{name}={quote(value)}" for name, value in sorted(self.environment.items()))
        start = " ".join(map(quote, self.command))
        return (
            f"{MARK} begin {self.repository}\n"
            f"# Tells Upkeep of the commit and does not wait. Remove: upkeep hooks uninstall {self.repository}\n"
            f"{guard}{{\n"
            f'    {{ : > {quote(str(marker))}/"$$"; }} 2>/dev/null || :\n'
            "    ( trap '' HUP INT QUIT\n"
            f"      unset $(git rev-parse --local-env-vars) {' '.join(_NOT_OURS)}\n"
            f"      cd / && exec env {settings} {start} ) </dev/null >/dev/null 2>&1 &\n"
            "}\n"
            f"{MARK} end {self.repository}\n"
        )

    def status(self) -> HookStatus:
        """What is there now."""
        file, text = self.file, self._text()
        if text is None or (foreign := self._foreign(text)) is not None:
            state: HookState = "absent" if text is None else "foreign"
            return HookStatus(self.repository, file, state, remedy="" if text is None else foreign or "")
        found = _span(text, self.repository)
        if found is None:
            return HookStatus(self.repository, file, "absent")
        runs = os.access(file, os.X_OK)
        same = text[found[0] : found[1]] == self.block()
        return HookStatus(self.repository, file, "installed" if same and runs else "outdated")

    def install(self) -> HookStatus:
        """Put the block at the head, after the shebang; what is there stays. Idempotent. A hook that is no shell script
        is left alone, and the status is `foreign`."""
        file, text = self.file, self._text()
        before = self.status()
        markers.prepare(self.home, self.repository)
        if before.state in ("foreign", "installed"):
            return before
        found = _span(text or "", self.repository)
        if found is not None and text is not None:
            new = text[: found[0]] + self.block() + text[found[1] :]
        else:
            there = text or _SHEBANG
            head = _head(there)
            line_end = "" if not head or head.endswith("\n") else "\n"
            new = head + line_end + self.block() + there[len(head) :]
        self._write(file, new)
        notes = []
        if text is not None and not os.access(file, os.X_OK):
            notes.append("the hook did not run before, because its run bit was off; now all of it does")
        if file.is_relative_to(self.tree.root) and not file.is_relative_to(self.tree.git_dir):
            notes.append("the hook lies in the working tree, so git shows it as a change")
        self._set_run_bit(file)
        return HookStatus(self.repository, file, "installed", changed=True, note="; ".join(notes))

    def uninstall(self) -> HookStatus:
        """Take the block out; a hook that held nothing else goes. Idempotent."""
        file, text = self.file, self._text()
        found = _span(text, self.repository) if text is not None and self._foreign(text) is None else None
        if text is None or found is None:
            return HookStatus(self.repository, file, "absent")
        rest = text[: found[0]] + text[found[1] :]
        if rest == _SHEBANG:
            file.unlink()
        else:
            self._write(file, rest)
        return HookStatus(self.repository, file, "absent", changed=True)

    def _text(self) -> str | None:
        """The hook as text, other bytes as surrogates; None: there is none."""
        try:
            return self.file.read_bytes().decode(errors="surrogateescape")
        except FileNotFoundError:
            # A link that leads nowhere is there, and is nothing of ours.
            return "" if self.file.is_symlink() else None
        except OSError as error:
            raise _refused(self.file, f"it cannot be read: {error.strerror}") from error

    def _foreign(self, text: str) -> str | None:
        """Why the block cannot be put into this hook, as what to do; None: it can."""
        by_hand = f"Let it run `{' '.join(self.command)}` in the background itself."
        if self.file.is_symlink():
            return f"The hook is a link to {self.file.readlink()}, which other hooks may share. {by_hand}"
        if "\0" in text:
            return f"The hook is a program. {by_hand}"
        if text.startswith("#!") and not _SHELL.match(text):
            return f"The hook is no shell script ({text.splitlines()[0]}). {by_hand}"
        begins, ends = (text.count(f"{MARK} {word} {self.repository}\n") for word in ("begin", "end"))
        if begins != ends or begins > 1:
            return f"Lines of our block are missing or there twice: remove those between `{MARK} …` by hand."
        return None

    def _write(self, file: Path, text: str) -> None:
        """Replace the hook in one step: git may start it at any time."""
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            mode = stat.S_IMODE(file.stat().st_mode) if file.exists() else 0o777 & ~_umask()
            descriptor, name = tempfile.mkstemp(prefix=".post-commit-", dir=file.parent)
            try:
                with os.fdopen(descriptor, "wb") as new:
                    new.write(text.encode(errors="surrogateescape"))
                Path(name).chmod(mode)
                Path(name).replace(file)
            finally:
                Path(name).unlink(missing_ok=True)
        except OSError as error:
            raise _refused(file, f"it cannot be written: {error.strerror}") from error

    def _set_run_bit(self, file: Path) -> None:
        mode = stat.S_IMODE(file.stat().st_mode)
        file.chmod(mode | (mode & 0o444) >> 2)


def _span(text: str, repository: str) -> tuple[int, int] | None:
    """Where our block is, from the first character of its first line to the one behind its last."""
    begin, end = (f"{MARK} {word} {repository}\n" for word in ("begin", "end"))
    first = text.find(begin)
    last = text.find(end, first)
    return None if first < 0 or last < 0 else (first, last + len(end))


def _head(text: str) -> str:
    """The line with the shebang, if there is one."""
    if not text.startswith("#!"):
        return ""
    line, end, _ = text.partition("\n")
    return line + end


def _umask() -> int:
    # There is no other way to ask for it.
    old = os.umask(0o077)
    os.umask(old)
    return old


def _refused(file: Path, why: str) -> UpkeepError:
    return RepositoryNotReady(
        f"the hook {file}: {why}",
        code="sync.hook",
        remedy="Let the folder belong to the user that runs Upkeep, and try again.",
        path=str(file),
    )
