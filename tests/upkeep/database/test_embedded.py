"""The embedded server and its users, as real processes: who starts it, who may die, and what is left afterwards."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psycopg
import pytest

from tests.support.tools import unavailable
from tests.support.waiting import until
from upkeep.database import binaries, locks, schema, supervisor
from upkeep.database.embedded import Embedded
from upkeep.database.server import connect
from upkeep.errors import DatabaseError, DatabaseUnavailable, LockLost

USER = """
import sys
from pathlib import Path
from upkeep.database.embedded import Embedded
share = Embedded(Path(sys.argv[1]))
share.join()
print("joined", flush=True)
sys.stdin.read()
share.leave()
"""


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A home with a cluster in it that was made once: making one takes a second."""
    home = tmp_path_factory.mktemp("cluster")
    share = Embedded(home)
    share.join()
    share.leave()
    return home


@pytest.fixture
def home(cluster: Path, tmp_path: Path) -> Iterator[Path]:
    """A home of the test's own with a cluster that nobody serves; afterwards nobody may."""
    copy = tmp_path / "home"
    shutil.copytree(cluster, copy, symlinks=True)
    for path in (copy, *copy.rglob("*")):
        status = (cluster / path.relative_to(copy)).stat()
        os.chown(path, status.st_uid, status.st_gid)
    yield copy
    until(lambda: not servers(copy))


@contextmanager
def user(home: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that uses the server. It leaves when its standard input closes."""
    process = subprocess.Popen(
        [sys.executable, "-c", USER, str(home)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "joined\n"
        yield process
    finally:
        process.communicate()


def servers(home: Path) -> set[int]:
    """Processes of PostgreSQL and supervisors that belong to a home."""
    found = set()
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            arguments = (entry / "cmdline").read_bytes().split(b"\0")
            if os.fsencode(home) in arguments and b"hold" in arguments:
                found.add(int(entry.name))
            if (entry / "exe").readlink().name == "postgres":
                folder = (entry / "cwd").readlink()
                if folder == home / "database" / "data":
                    found.add(int(entry.name))
        except OSError:
            continue
    return found


def supervisor_of(home: Path) -> int:
    return int((home / supervisor.SUPERVISOR_LOCK).read_text())


def postmaster_of(home: Path) -> int:
    return int((home / "database" / "data" / "postmaster.pid").read_text().split("\n")[0])


def ask(home: Path, question: str = "SELECT 1") -> object:
    with psycopg.connect(host=str(home / "database"), user="upkeep", dbname="upkeep") as connection:
        row = connection.execute(question).fetchone()  # type: ignore[arg-type]
        return row and row[0]


def test_a_new_home_gets_a_server_and_the_last_one_out_leaves_no_process(tmp_path: Path) -> None:
    home = tmp_path / "new" / "home"
    with connect(home) as first, connect(home) as second:
        assert ask(home, "SELECT current_setting('max_connections')") == "200"
        assert ask(home, "SELECT current_setting('listen_addresses')") == ""
        first.close()
        assert second.is_embedded
        assert ask(home) == 1
    assert servers(home) == set()
    for path in (home, home / "database", home / "database" / "data"):
        assert path.stat().st_mode & 0o777 == 0o700


def test_of_many_that_need_it_at_once_one_starts_it(home: Path) -> None:
    with ExitStack() as stack:
        command = [sys.executable, "-c", USER, str(home)]
        users = [
            stack.enter_context(subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
            for _ in range(4)
        ]
        for process in users:
            assert process.stdout is not None
            assert process.stdout.readline() == "joined\n"
        assert ask(home) == 1
        starts = (home / "database.log").read_text().count("starting PostgreSQL")
        assert starts == 2, "once to make the cluster, once for all of the four"
    assert servers(home) == set()


def test_the_first_may_leave_while_others_go_on(home: Path) -> None:
    with user(home) as first, user(home):
        pid = postmaster_of(home)
        first.communicate()
        assert ask(home) == 1
        assert postmaster_of(home) == pid


def test_the_first_may_be_killed_while_others_go_on(home: Path) -> None:
    with user(home) as first:
        with user(home):
            pid = postmaster_of(home)
            first.kill()
            first.wait()
            assert ask(home) == 1
            assert postmaster_of(home) == pid
        assert servers(home) == set(), "the second was the last one out"


def test_the_server_ends_when_its_only_user_is_killed(home: Path) -> None:
    with user(home) as only:
        only.kill()
        only.wait()
        until(lambda: not servers(home))
    assert "database system is shut down" in (home / "database.log").read_text().splitlines()[-1]


def test_a_killed_supervisor_takes_the_server_along_cleanly_and_both_come_back(home: Path) -> None:
    with connect(home) as database:
        with database.engine.connect() as connection:
            connection.exec_driver_sql("SELECT 1")
        before = postmaster_of(home)
        os.kill(supervisor_of(home), signal.SIGKILL)
        until(lambda: not servers(home))
        log = (home / "database.log").read_text()
        assert "database system is shut down" in log.splitlines()[-1]
        with database.session() as session:
            assert session.connection().exec_driver_sql("SELECT 1").scalar() == 1
        assert postmaster_of(home) != before
        assert "was not properly shut down" not in (home / "database.log").read_text()


def test_a_killed_server_recovers_for_the_next_who_asks(home: Path) -> None:
    with connect(home) as database:
        with database.session() as session:
            session.connection().exec_driver_sql("CREATE TABLE kept AS SELECT 42 AS value")
        os.kill(postmaster_of(home), signal.SIGKILL)
        until(lambda: not servers(home))
        with database.session() as session:
            assert session.connection().exec_driver_sql("SELECT value FROM kept").scalar() == 42


def test_a_server_that_is_killed_in_the_middle_of_a_transaction_is_an_error_of_ours(home: Path) -> None:
    with connect(home) as database:

        def work() -> None:
            with database.session() as session:
                session.connection().exec_driver_sql("SELECT 1")
                os.kill(postmaster_of(home), signal.SIGQUIT)
                until(lambda: not servers(home))
                session.connection().exec_driver_sql("SELECT 1")

        with pytest.raises(DatabaseUnavailable) as gone:
            work()
        assert gone.value.transient
        assert gone.value.remedy


def test_a_lock_is_lost_with_the_server_and_free_afterwards(home: Path) -> None:
    with connect(home) as database:
        schema.ensure(database)
        with locks.hold(database, "content:a") as lock:
            os.kill(postmaster_of(home), signal.SIGKILL)
            until(lambda: not servers(home))
            with pytest.raises(LockLost):
                lock.check()
        assert locks.holder_of(database, "content:a") is None
        with locks.hold(database, "content:a") as again:
            again.check()


def test_a_supervisor_that_is_asked_to_end_ends_the_server(home: Path) -> None:
    with connect(home):
        os.kill(supervisor_of(home), signal.SIGTERM)
        until(lambda: not servers(home))
        with connect(home):
            assert ask(home) == 1


@pytest.mark.parametrize("whose", ["of this process", "of init", "of nobody"])
def test_a_stale_pid_file_and_socket_are_no_obstacle(home: Path, whose: str) -> None:
    pid = {"of this process": os.getpid(), "of init": 1, "of nobody": 2**22 + 1}[whose]
    folder = home / "database"
    marks = f"{pid}\n/proc/self/cwd\n1795258885\n5432\n..\n\n 10010866         4\nready   \n"
    (folder / "data" / "postmaster.pid").write_text(marks)
    (folder / ".s.PGSQL.5432.lock").write_text(f"{pid}\n")
    (folder / ".s.PGSQL.5432").touch()
    with connect(home):
        assert ask(home) == 1


def test_a_half_made_cluster_is_made_again(tmp_path: Path) -> None:
    half = tmp_path / "database" / "data.new"
    half.mkdir(parents=True)
    (half / "PG_VERSION").write_text("18\n")
    with connect(tmp_path):
        assert ask(tmp_path) == 1
    assert not half.exists()


def test_a_home_deeper_than_a_socket_path_may_be_long(home: Path) -> None:
    deep = home.parent / ("d" * 60) / ("e" * 60)
    deep.parent.mkdir()
    home.rename(deep)
    with connect(deep) as database, connect(deep) as second:
        for each in (database, second):
            with each.session() as session:
                assert session.connection().exec_driver_sql("SELECT 1").scalar() == 1
    assert servers(deep) == set()
    deep.rename(home)


def test_data_of_another_version_is_refused_and_left_alone(home: Path) -> None:
    (home / "database" / "data" / "PG_VERSION").write_text("16\n")
    with pytest.raises(DatabaseError, match="PostgreSQL 16") as refused:
        connect(home)
    assert refused.value.reason == "database.other_version"


def test_damaged_data_is_reported_in_the_words_of_the_server(home: Path) -> None:
    (home / "database" / "data" / "global" / "pg_control").unlink()
    with pytest.raises(DatabaseUnavailable, match="pg_control") as failed:
        connect(home)
    assert failed.value.reason == "database.not_started"
    assert "database.log" in failed.value.remedy


def test_a_home_that_is_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    with pytest.raises(DatabaseError, match=str(file)) as refused:
        connect(file)
    assert refused.value.reason == "database.folder"
    assert "UPKEEP_HOME" in refused.value.remedy


def test_a_full_disk_at_the_start_is_said_and_leaves_nothing(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        unavailable("only root may mount a small file system to fill")
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1M,mode=0700", "none", disk], check=False)
    if mounted.returncode != 0:
        unavailable("no file system can be mounted here")
    try:
        with pytest.raises(DatabaseUnavailable, match="full") as full:
            connect(disk / "home")
        assert full.value.reason == "database.disk_full"
        assert servers(disk / "home") == set()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_as_root_the_server_runs_as_somebody_else_below_a_folder_that_only_root_may_enter(home: Path) -> None:
    if os.geteuid() != 0:
        unavailable("only root can give a process to another user")
    home.parent.chmod(0o700)
    with connect(home):
        assert ask(home) == 1
        owner = (Path("/proc") / str(postmaster_of(home))).stat().st_uid
        assert owner != 0
        assert (home / "database").stat().st_uid == owner
        assert (home.stat().st_uid, home.parent.stat().st_mode & 0o777) == (0, 0o700)


@pytest.fixture
def as_nobody() -> Iterator[tuple[Path, Callable[[Path], subprocess.CompletedProcess[str]]]]:
    """A folder of the user `nobody`, and a way to use the server of a home as that user."""
    if os.geteuid() != 0:
        unavailable("only root can start a process as another user; the other tests run without root already")
    account = pwd.getpwnam("nobody")
    folder = Path(tempfile.mkdtemp(prefix="upkeep-nobody-"))
    folder.chmod(0o755)
    # Neither this repository nor the interpreter of its environment need be readable for others.
    shutil.copytree(Path(supervisor.__file__).parents[1], folder / "upkeep")
    programs = binaries.reachable(binaries.installation(), account.pw_uid, account.pw_gid, shared=folder / "shared")
    path = f"{folder}:{programs.parent.parent}"

    def run(home: Path) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [python, "-c", USER, str(home)],
            env={"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            cwd="/",
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            check=False,
        )

    python = shutil.which("python3", path="/usr/local/bin:/usr/bin")
    if python is None or subprocess.run([python, "-c", "import enum; enum.StrEnum"], check=False).returncode != 0:
        unavailable("there is no Python 3.11 that every user can run")
    own = folder / "own"
    own.mkdir()
    os.chown(own, account.pw_uid, account.pw_gid)
    yield own, run
    shutil.rmtree(folder)


AsNobody = tuple[Path, Callable[[Path], subprocess.CompletedProcess[str]]]


def test_a_user_who_is_not_root_serves_himself(as_nobody: AsNobody) -> None:
    folder, run = as_nobody
    done = run(folder / "home")
    assert (done.returncode, done.stdout) == (0, "joined\n"), done.stderr
    assert servers(folder / "home") == set()
    assert run(folder / "home").stdout == "joined\n", "a second time, on the cluster that is there"


def test_a_folder_of_somebody_else_is_named(as_nobody: AsNobody, home: Path) -> None:
    _, run = as_nobody
    home.parent.chmod(0o700)
    done = run(home)
    assert done.returncode != 0
    assert "DatabaseError: the folder of the database cannot be used: Permission denied: /" in done.stderr


def test_programs_that_the_account_cannot_reach_are_copied_once(tmp_path: Path) -> None:
    if os.geteuid() != 0:
        unavailable("only root can give a process to another user")
    account = pwd.getpwnam("nobody")
    hidden = Path(tempfile.mkdtemp(prefix="upkeep-hidden-"))
    try:
        package = hidden / binaries.PACKAGE
        package.mkdir()
        shutil.copytree(binaries.installation(), package / binaries.INSTALLATION, symlinks=True)
        for libraries in binaries.installation().parent.parent.glob(f"{binaries.PACKAGE}.libs"):
            shutil.copytree(libraries, hidden / libraries.name)
        shared = hidden.with_name(hidden.name + "-shared")
        copies = [
            binaries.reachable(package / binaries.INSTALLATION, account.pw_uid, account.pw_gid, shared=shared)
            for _ in range(2)
        ]
        assert copies[0] == copies[1]
        assert copies[0].is_relative_to(shared)
        said = subprocess.run(
            [copies[0] / "bin" / "initdb", "--version"],
            user=account.pw_uid,
            group=account.pw_gid,
            extra_groups=[],
            capture_output=True,
            text=True,
            check=True,
        )
        assert said.stdout.startswith("initdb (PostgreSQL) 18.")
        assert shared.stat().st_uid == 0
        assert not shared.stat().st_mode & 0o022
    finally:
        shutil.rmtree(hidden)
        shutil.rmtree(shared, ignore_errors=True)
