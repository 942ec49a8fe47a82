"""From the name of a CLI to what has to be shown in a sandbox for it to run there.

What belongs here: native programs, Node packages, and version managers' links in front of both. What does not: what one
CLI needs beside its own files (that engine's module).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from upkeep.errors import AgentError

_ELF = b"\x7fELF"


@dataclass(frozen=True)
class Program:
    """How a program is called inside (`argv`, to which its arguments are added), and the files and folders that it
    needs there (`files`, read-only; nothing that lies below /usr, which is there anyway)."""

    argv: tuple[str, ...]
    files: tuple[Path, ...] = ()


def locate(name: str, *, agent: str, remedy: str = "") -> Program:
    """Find a program by name or path. A native one needs itself, a Node script its `node_modules` and Node.

    Raises AgentError `agent.not_installed` (there is none), or `agent.program` for a script of another kind, such as a
    version manager's shim: what it starts cannot be known without running it.
    """
    found = shutil.which(name)
    if found is None:
        raise AgentError(
            f"agent {agent}: there is no program {name}",
            code="agent.not_installed",
            remedy=remedy or f"install it, or set agents.{agent}.bin to its path",
        )
    path = Path(found).resolve()
    with path.open("rb") as file:
        head = file.read(256)
    if head.startswith(_ELF):
        return native(path)
    if head.startswith(b"#!") and b"node" in head.partition(b"\n")[0]:
        node = locate("node", agent=agent, remedy="install Node.js 20 or newer")
        return Program((*node.argv, str(path)), (*node.files, *_outside_usr(_package_root(path))))
    raise AgentError(
        f"agent {agent}: {path} is a script in front of the program",
        code="agent.program",
        remedy=f"set agents.{agent}.bin to the program itself: in the sandbox nothing else of this machine exists",
    )


def native(path: Path) -> Program:
    """A compiled program, with its folder's parent where that is an installation of its own (`…/bin/node`)."""
    prefix = path.parent.parent
    whole = path.parent.name == "bin" and not _holds_a_home(prefix)
    return Program((str(path),), _outside_usr(prefix if whole else path))


def _holds_a_home(folder: Path) -> bool:
    """Whether more may lie there than one program: a home (`~/bin`, `~/.local/bin`), or the root."""
    home = Path.home().resolve()
    return folder in (home / ".local", home, *home.parents)


def _package_root(script: Path) -> Path:
    """The outermost `node_modules` around a script, for its dependencies lie beside it; else the script's folder."""
    around = [folder for folder in script.parents if folder.name == "node_modules"]
    return around[-1] if around else script.parent


def _outside_usr(path: Path) -> tuple[Path, ...]:
    return () if path.is_relative_to("/usr") else (path,)
