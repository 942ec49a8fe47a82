"""Install the programs that pip cannot.

gh, bubblewrap and chromium come from Debian's packages, the Mermaid checker and the agent CLIs from npm. Only the
standard library is used, so that this runs before anything else is there. As root it uses apt-get; as anybody else it
unpacks the Debian package into `.tools/` inside the checkout. What cannot be installed is said in one line each and is
no error: the tests that need it are skipped with that reason, and `upkeep doctor` names it.

Usage: python ops/install_tools.py [mermaid] [gh] [agents] [sandbox] [browser]      (default: all)
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TOOLS = ROOT / ".tools"
NPM_FOLDERS = {"mermaid": ROOT / "upkeep/content/mermaid_check", "agents": ROOT / "tests/tools"}
DEBIAN_PACKAGES = {"gh": ("gh", "gh"), "sandbox": ("bwrap", "bubblewrap"), "browser": ("chromium", "chromium")}
"""Group → (program, package)."""


def _run(*argv: str, cwd: Path = ROOT) -> str | None:
    """Run quietly; return None for success, else the last line of what it said."""
    try:
        done = subprocess.run(argv, cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=900)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if done.returncode == 0:
        return None
    lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()]
    return lines[-1] if lines else f"{argv[0]} ended with {done.returncode}"


def npm(group: str) -> str | None:
    """Install one npm folder from its lock file, unless that very lock file is installed already."""
    folder = NPM_FOLDERS[group]
    lock, mark = folder / "package-lock.json", folder / "node_modules" / ".installed-lock"
    if mark.is_file() and mark.read_bytes() == lock.read_bytes():
        return None
    if shutil.which("npm") is None:
        return "npm is not on this machine (install Node.js 20 or later)"
    quiet = ("--no-audit", "--no-fund", "--loglevel=error")
    # `npm ci` refuses a lock file that lacks optional packages for other systems, which npm leaves out where the
    # registry did not have them; `npm install` takes the same versions and hashes, and with --no-save writes nothing.
    if _run("npm", "ci", *quiet, cwd=folder) and (fault := _run("npm", "install", "--no-save", *quiet, cwd=folder)):
        return fault
    mark.write_bytes(lock.read_bytes())
    return None


def debian(group: str) -> str | None:
    """Install one Debian package: for the system as root, unpacked under .tools/ as anybody else."""
    program, package = DEBIAN_PACKAGES[group]
    if shutil.which(program) or (TOOLS / "bin" / program).exists():
        return None
    if shutil.which("apt-get") is None:
        return f"this machine has no apt-get; install {program} by its own means"
    if os.geteuid() == 0:
        _run("apt-get", "update", "-qq")
        return _run("apt-get", "install", "-y", "-qq", "--no-install-recommends", package)
    with tempfile.TemporaryDirectory() as folder:
        if fault := _run("apt-get", "download", package, cwd=Path(folder)):
            return f"{fault} (or ask an administrator for: apt-get install {package})"
        (deb,) = Path(folder).glob("*.deb")
        if fault := _run("dpkg", "-x", str(deb), str(TOOLS / package)):
            return fault
    (TOOLS / "bin").mkdir(parents=True, exist_ok=True)
    link = TOOLS / "bin" / program
    link.unlink(missing_ok=True)
    link.symlink_to(Path("..") / package / "usr/bin" / program)
    return _run(str(link), "--version")


def main(groups: list[str]) -> None:
    everything = {**dict.fromkeys(NPM_FOLDERS, npm), **dict.fromkeys(DEBIAN_PACKAGES, debian)}
    unknown = set(groups) - set(everything)
    if unknown:
        sys.exit(f"unknown group {', '.join(sorted(unknown))}; there are {', '.join(everything)}")
    for group in groups or everything:
        if fault := everything[group](group):
            print(f"not installed: {group}: {fault}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])
